"""Writes the transactions of :mod:`sluiceway.data.fraud_rows` as one commit, and says how good a model can get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sluiceway.core.errors import DataError
from sluiceway.data import commit, history
from sluiceway.data.fraud_rows import DRIFTED, ORDINARY, SCHEMA, blocks

SOURCE = "sluiceway data generate fraud"


@dataclass(frozen=True)
class FraudReport:
    """What was written, and the best that any model can expect on it.

    Attributes:
        rows: transactions in all.
        version: version of the table that holds them.
        positives: frauds among them.
        best_auc: expected area under the ROC curve of the true chances.
        best_precision: expected precision at ``best_threshold``.
        best_recall: expected recall at ``best_threshold``.
        best_f1: expected F1 there, the largest of all thresholds.
        best_threshold: on the true chance.
        skipped: the table held these rows already, and nothing was written.
    """

    rows: int
    version: int
    positives: int
    best_auc: float
    best_precision: float
    best_recall: float
    best_f1: float
    best_threshold: float
    skipped: bool = False


def generate(uri: str, *, rows: int = 1_000_000, seed: int = 42, drift: bool = False) -> FraudReport:
    """Write transactions as one commit; the same call again writes nothing.

    Args:
        uri: the table; it may exist, with rows of other seeds or without drift.
        rows: how many.
        seed: decides every byte.
        drift: fraudsters behave in another way and are harder to tell; the year after, with keys of its own.

    Raises:
        DataError: no rows are asked for, or the table holds another number of rows of this seed.
    """
    if rows < 1:
        raise DataError(f"{rows} rows cannot be generated", hint="ask for at least one")
    family = f"fraud-1-{seed}-{'drift' if drift else 'plain'}-"
    _refuse_same_keys(uri, family=family, batch_id=f"{family}{rows}")
    chances: list[np.ndarray] = []
    labels: list[np.ndarray] = []

    def stream() -> Iterator[pa.RecordBatch]:
        for batch, chance in blocks(rows=rows, seed=seed, behaviour=DRIFTED if drift else ORDINARY):
            chances.append(chance)
            labels.append(batch.column("is_fraud").to_numpy())
            yield batch

    written = commit.append(
        uri,
        pa.RecordBatchReader.from_batches(SCHEMA, stream()),
        message=f"{rows:,} transactions, seed {seed}{', with drift' if drift else ''}",
        source=SOURCE,
        batch_id=f"{family}{rows}",
    )
    if written.skipped:
        chances.clear()
        labels.clear()
        for _ in stream():
            pass
    best = attainable(np.concatenate(chances))
    positives = int(sum(int(part.sum()) for part in labels))
    return FraudReport(rows, written.version, positives, **best, skipped=written.skipped)


def attainable(chances: np.ndarray) -> dict[str, float]:
    """What ranking by the true chances can be expected to give; nothing can be expected to do better.

    Args:
        chances: chance of the positive class of each row, shape (n,).

    Returns:
        ``best_auc`` (ties count half), and ``best_precision``, ``best_recall``, ``best_f1`` at ``best_threshold``,
        the threshold of the largest expected F1.
    """
    levels, first = np.unique(-chances, return_index=False, return_inverse=True)
    positive = np.bincount(first, weights=chances)
    rows = np.bincount(first)
    negative = rows - positive
    above = np.cumsum(negative) - negative
    total, others = positive.sum(), negative.sum()
    auc = 1 - float(np.sum(positive * (above + negative / 2)) / (total * others))
    hits, taken = np.cumsum(positive), np.cumsum(rows)
    f1 = 2 * hits / (taken + total)
    best = int(np.argmax(f1))
    return {
        "best_auc": auc,
        "best_precision": float(hits[best] / taken[best]),
        "best_recall": float(hits[best] / total),
        "best_f1": float(f1[best]),
        "best_threshold": float(-levels[best]),
    }


def _refuse_same_keys(uri: str, *, family: str, batch_id: str) -> None:
    held = [info.batch_id for info in history.log_or_empty(uri) if info.batch_id and info.batch_id.startswith(family)]
    if any(name != batch_id for name in held):
        raise DataError(
            f"{uri} already holds another number of transactions of this seed, with the same keys",
            hint="choose another folder or another seed",
        )
