"""Progress events as lines for people."""

from __future__ import annotations

from sluiceway.core.doors import Progress
from sluiceway.training.loop import Event


class Shown:
    """Shows events: one line each, and the share of the work that is done; the final fit counts as a fold.

    Args:
        progress: where they are shown.
        metric: that is watched.
        folds: how many.
    """

    def __init__(self, progress: Progress, metric: str, folds: int) -> None:
        self._progress, self._metric, self._folds = progress, metric, folds
        self._within: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event of the loop or of an engine."""
        if "restart" in event:
            told = f"a worker was lost; going on from the last checkpoint (restart {event['restart']})"
            self._progress.advance(told, self._share())
            return
        if "waiting" in event:
            told = f"no worker has begun yet, {event['waiting']}; `ray status` shows who holds the cluster"
            self._progress.advance(told, self._share())
            return
        fold, done = event.get("fold"), event.get("round", 0)
        if fold is None:
            total = event.get("final")
            text = f"final model, {total} rounds" if total else f"final model round {done}"
            self._within = dict.fromkeys(range(self._folds), 1.0)
        else:
            self._within[fold] = 1.0 if event.get("done") else done / event["rounds"]
            text = f"fold {fold + 1}/{self._folds}" + (f" round {done}" if done else "")
        if "value" in event:
            text += f" {self._metric} {event['value']:.3f}"
        if event.get("done"):
            text += ", done"
        self._progress.advance(text, self._share())

    def _share(self) -> float:
        return sum(self._within.values()) / (self._folds + 1)
