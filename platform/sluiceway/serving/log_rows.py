"""What becomes of a batch of answers in the log: a table; and the keyed hash of what arms were drawn by."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.serving.record_batches import CATEGORY, HASHED, NUMERIC, About, row_ids

HASH_BYTES = 16
US = 1e6
# The columns that every log has, in their order; behind them come the features.
LOG_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("endpoint", pa.string()),
        ("generation", pa.int64()),
        ("arm", pa.string()),
        ("version", pa.string()),
        ("key_hash", pa.string()),
        ("score", pa.float64()),
        ("decision", pa.float64()),
        ("class", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
        ("latency_seconds", pa.float64()),
        ("champion_version", pa.string()),
        ("champion_score", pa.float64()),
        ("champion_decision", pa.float64()),
    ]
)
PARTITION = "day"


class KeyedHash:
    """Equal values have equal hashes; who has not the key can neither undo one nor try values out.

    Args:
        key: secret, 32 bytes.
        name: of what is hashed; the same value elsewhere has another hash.
    """

    def __init__(self, key: bytes, name: str) -> None:
        self._key = hashlib.blake2b(name.encode(), key=key, digest_size=32).digest()

    def text(self, value: str) -> str:
        """32 hex digits."""
        return hashlib.blake2b(value.encode(), key=self._key, digest_size=HASH_BYTES).hexdigest()

    def column(self, values: pa.Array) -> pa.Array:
        """The hash of each value of a column of texts or numbers; null stays null."""
        encoded = values.dictionary_encode()
        told = [None if value is None else self.text(_spelled(value)) for value in encoded.dictionary.to_pylist()]
        return pa.array(told, pa.string()).take(encoded.indices)


def log_table(
    batch: pa.RecordBatch, *, endpoint: str, keys: KeyedHash, hashed: Collection[str], secret: bytes
) -> pa.Table:
    """A batch as the log has it.

    Args:
        batch: as ``record_batches`` makes it, with features.
        endpoint: its name.
        keys: hashes what arms were drawn by.
        hashed: features of which the hash is kept and not the value.
        secret: that their hashes are keyed with.

    Returns:
        ``LOG_SCHEMA`` and behind it ``numeric_<name>`` (float32), ``category_<name>`` and ``hashed_<name>`` (text).
    """
    about, rows = About.of(batch), batch.num_rows

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), rows)

    time = pa.array((np.asarray(batch.column("time")) * US).astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    made = {
        "request_id": row_ids(batch),
        "time": time,
        "day": time.cast(pa.timestamp("us")).cast(pa.date32()),
        "endpoint": same(endpoint, pa.string()),
        "generation": same(about.generation, pa.int64()),
        "arm": same(about.arm, pa.string()),
        "version": same(about.version, pa.string()),
        "key_hash": key_hashes(batch, keys),
        "latency_seconds": batch.column("seconds"),
        "champion_version": same(about.champion, pa.string()),
    }
    present = set(batch.schema.names)
    columns = {
        field.name: made.get(field.name, batch.column(field.name) if field.name in present else None)
        for field in LOG_SCHEMA
    }
    columns = {name: pa.nulls(rows, LOG_SCHEMA.field(name).type) if c is None else c for name, c in columns.items()}
    for name in batch.schema.names:
        feature = _feature_of(name)
        if feature is None:
            continue
        if feature in hashed:
            columns[HASHED + feature] = KeyedHash(secret, f"feature {feature}").column(batch.column(name))
        else:
            columns[name] = batch.column(name)
    return pa.table(columns)


def key_hashes(batch: pa.RecordBatch, keys: KeyedHash) -> pa.Array:
    """The hash of what each row's arm was drawn by; null where it was drawn by chance."""
    if "key" not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    return keys.column(batch.column("key"))


def _spelled(value: Any) -> str:
    """One spelling of a value: a whole number is the same as a float and as a text."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _feature_of(column: str) -> str | None:
    """The feature that a column of a batch holds, or None."""
    prefix = next((p for p in (NUMERIC, CATEGORY) if column.startswith(p)), None)
    return None if prefix is None else column.removeprefix(prefix)
