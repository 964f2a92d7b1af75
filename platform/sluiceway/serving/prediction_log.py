"""The log of an endpoint's predictions: a Delta table that only its recorder appends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from sluiceway.config.serving import PredictionLogSection
from sluiceway.data import tables
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.commit_numbered import NewTable, Numbered, append_numbered
from sluiceway.serving.log_rows import PARTITION, KeyedHash, log_table

# A commit every few seconds for years: its versions are kept as long as somebody may ask for one, and no longer.
NEW_TABLE = NewTable((PARTITION,), {"delta.logRetentionDuration": "interval 30 days"})
# Name of the catalog's key that hashes are keyed with, and of what arms are drawn by among what is hashed.
SECRET, KEYS = "predictions", "routing key"


@dataclass(frozen=True)
class ForLog:
    """Rows that a replica has sent.

    Attributes:
        replica: its id.
        number: of the batch.
        rows: the batch; None where none of it is for the log.
    """

    replica: str
    number: int
    rows: pa.RecordBatch | None

    @property
    def count(self) -> int:
        """How many rows."""
        return self.rows.num_rows if self.rows is not None else 0

    @property
    def nbytes(self) -> int:
        """What they take."""
        return int(self.rows.nbytes) if self.rows is not None else 0


class PredictionLog:
    """Appends what replicas send.

    Args:
        uri: of the table; made with the first rows.
        endpoint: name of the endpoint.
        section: which features are hashed.
        secret: that hashes are keyed with.
    """

    def __init__(self, uri: str, *, endpoint: str, section: PredictionLogSection, secret: bytes) -> None:
        self.uri = uri
        self._endpoint, self._hashed, self._secret = endpoint, frozenset(section.hash), secret
        self._keys = KeyedHash(secret, KEYS)

    def append(self, entries: Sequence[ForLog]) -> CommitResult:
        """Append rows in one commit; those that an earlier try has brought are left out.

        Args:
            entries: in the order of their numbers, replica by replica.

        Raises:
            DataError: the table cannot be written, or has other types.
            ConflictError: other writers won every race.
        """
        deliveries = [
            Numbered(one.replica, one.number, self._table(one.rows)) for one in entries if one.rows is not None
        ]
        rows = sum(one.rows.num_rows for one in deliveries)
        return append_numbered(
            self.uri,
            deliveries,
            message=f"{rows:,} predictions of {self._endpoint}",
            source=f"endpoint {self._endpoint}",
            new=NEW_TABLE,
        )

    def _table(self, rows: pa.RecordBatch) -> pa.Table:
        return log_table(rows, endpoint=self._endpoint, keys=self._keys, hashed=self._hashed, secret=self._secret)


def log_uri(section: PredictionLogSection, *, root: str | None, endpoint: str) -> str | None:
    """Where an endpoint's log is, or None where it has none.

    Args:
        section: ``serving.log``.
        root: folder or URI of the logs that are not placed elsewhere; None: there is none.
        endpoint: name of the endpoint.

    Returns:
        an absolute path or a URI.
    """
    if not section.enabled or section.sample == 0 or (section.table is None and root is None):
        return None
    return tables.absolute(section.table or f"{str(root).rstrip('/')}/{endpoint}")
