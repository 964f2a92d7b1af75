"""What became of the trials of a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Status = Literal["running", "finished", "stopped", "failed", "cut"]


@dataclass(frozen=True)
class Trial:
    """One set of parameters and how it did.

    Attributes:
        number: 0 is the configured model itself.
        params: what was drawn, by scikit-learn's names; empty for number 0.
        scores: the metric on each fold that was trained, in the order of the folds.
        status: it is not over; all folds were trained; ASHA stopped it before; it could not be trained; the time of
            the search was over.
        seconds: of training.
        error: why it failed, for people.
        lost: whether the machine failed it and not what was tried: its worker died, or had no memory, disk or GPU.
    """

    number: int
    params: dict[str, Any]
    scores: tuple[float, ...]
    status: Status
    seconds: float
    error: str = ""
    lost: bool = False

    @property
    def score(self) -> float:
        """Mean over the folds that were trained; NaN where none was."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def is_settled(self) -> bool:
        """Whether another try would only find the same."""
        return self.status in ("finished", "stopped") or (self.status == "failed" and not self.lost)

    def to_dict(self) -> dict[str, Any]:
        """JSON for the pipeline journal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Trial:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**document, "scores": tuple(document["scores"])})


def ranked(trials: Iterable[Trial], *, maximise: bool) -> list[Trial]:
    """The trials, the best first: those with all folds, then those that were stopped late, then early, then the rest.

    Folds differ, so only means over the same folds are compared. Of equal ones the earlier trial comes first: the
    configured model is beaten only by a better one.
    """

    def order(trial: Trial) -> tuple[bool, int, float, int]:
        known = bool(np.isfinite(trial.score))
        score = trial.score if known else 0.0
        return trial.status != "finished" or not known, -len(trial.scores), -score if maximise else score, trial.number

    return sorted(trials, key=order)


def gain(trial: Trial, configured: Trial) -> float:
    """How much more a trial's mean is than the configured model's over the same folds; NaN where they share none."""
    shared = min(len(trial.scores), len(configured.scores))
    if shared == 0:
        return float("nan")
    return float(np.mean(trial.scores[:shared]) - np.mean(configured.scores[:shared]))
