"""Accuracy in production: decisions against outcomes, in the catalog and in the archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sluiceway.catalog.outcomes import OutcomeStore, VersionAccuracy
from sluiceway.data.aggregate import grouped_counts
from sluiceway.data.tables import is_table
from sluiceway.gates.statistics.intervals import wilson


@dataclass(frozen=True)
class ObservedAccuracy:
    """How often one version's decisions were right, with the 95 % Wilson interval.

    Attributes:
        endpoint: where it served.
        version: the model version.
        arm: ``champion`` or ``challenger``.
        predictions: recorded ones.
        with_outcome: those whose outcome is known.
        accuracy: share of right ones among these; None where there is none, and always of a regression.
        low: lower bound, None where there is none.
        high: upper bound, None where there is none.
    """

    endpoint: str
    version: str
    arm: str
    predictions: int
    with_outcome: int
    accuracy: float | None
    low: float | None
    high: float | None


def observed_accuracy(
    store: OutcomeStore, archives: Path, *, regression: Callable[[str, str], bool] = lambda endpoint, version: False
) -> list[ObservedAccuracy]:
    """Accuracy per endpoint, version and arm, over the catalog's records and the archived ones.

    Args:
        store: the catalog's side.
        archives: folder with one Delta table of records an endpoint; it need not exist.
        regression: whether a version, of an endpoint, is one.
    """
    counts: dict[tuple[str, str, str], list[int]] = {}
    for row in [*store.accuracy(), *_archived(archives)]:
        found = counts.setdefault((row.endpoint, row.version, row.arm), [0, 0, 0])
        for i, value in enumerate((row.predictions, row.with_outcome, row.right)):
            found[i] += value
    return [_observed(key, values, judged=not regression(key[0], key[1])) for key, values in sorted(counts.items())]


def _archived(archives: Path) -> list[VersionAccuracy]:
    if not archives.exists():
        return []
    return [
        VersionAccuracy(endpoint.name, str(version), str(arm), rows, known, right)
        for endpoint in sorted(archives.iterdir())
        if endpoint.is_dir() and is_table(str(endpoint))
        for (version, arm), (rows, known, right) in grouped_counts(
            str(endpoint), by=("version", "arm"), known="outcome", equal=("decision", "outcome")
        ).items()
    ]


def _observed(key: tuple[str, str, str], values: list[int], *, judged: bool) -> ObservedAccuracy:
    predictions, with_outcome, right = values
    if not with_outcome or not judged:
        return ObservedAccuracy(*key, predictions, with_outcome, None, None, None)
    low, high = wilson(right, with_outcome)
    return ObservedAccuracy(*key, predictions, with_outcome, right / with_outcome, low, high)
