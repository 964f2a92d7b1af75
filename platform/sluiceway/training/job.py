"""What an engine is given and gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sluiceway.training.loop import LoopSpec
from sluiceway.training.report import FoldReport, ScoredRows

MOST_VALIDATION_ROWS = 200_000  # more do not move a threshold, and the driver holds them
MOST_SAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class Job:
    """What a worker needs beside the rows.

    Attributes:
        spec: of the loop.
        width: number of features.
        oof_uri: where out-of-fold predictions go, or empty.
        version: the rows that are trained on, for people.
        fold_cuts: for exactly balanced folds, by class where the folds begin in the order of the folds; else empty.
        seed: of the folds' order.
        checkpoints: folder of this run's checkpoints, or empty for none.
        retries: how often lost workers are replaced.
        disk_rows: see :class:`sluiceway.training.plan.Plan`.
        weighted: whether rows have weights.
        together: see :class:`sluiceway.training.plan.Plan`.
    """

    spec: LoopSpec
    width: int
    oof_uri: str
    version: str
    fold_cuts: dict[int, list[int]] = field(default_factory=dict)
    seed: int = 0
    checkpoints: str = ""
    retries: int = 0
    disk_rows: int = 0
    weighted: bool = False
    together: bool = False


@dataclass(frozen=True)
class Outcome:
    """What an engine gives back to the driver: the model and small things.

    Attributes:
        model: UBJSON.
        rounds: of the final fit.
        folds: reports.
        validation: scored rows, at most 200,000.
        rows: ``train`` and ``validation``.
        seconds: ``start``, ``load``, ``build``, ``folds``, ``final``, ``oof``.
        restarts: how often lost workers were replaced.
        oof_version: of the table of the out-of-fold predictions, or None.
    """

    model: bytes
    rounds: int
    folds: tuple[FoldReport, ...]
    validation: ScoredRows
    rows: dict[str, int]
    seconds: dict[str, float]
    restarts: int = 0
    oof_version: int | None = None


def scored_rows(labels: np.ndarray, scores: np.ndarray, features: np.ndarray) -> ScoredRows:
    """As many of the validation rows as a driver can hold."""
    most = MOST_VALIDATION_ROWS
    return ScoredRows(labels[:most], scores[:most], np.array(features[:MOST_SAMPLE_ROWS], np.float32))
