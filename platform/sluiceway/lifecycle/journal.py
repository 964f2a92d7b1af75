"""Steps that are done stay done: each step is written down before it starts and after it ended."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sluiceway.catalog.pipeline import DONE, FAILED, PipelineStore
from sluiceway.core.clock import Clock


@dataclass(frozen=True)
class Outcome:
    """A step's result and where it came from.

    Attributes:
        result: JSON-ready.
        seconds: wall time of the work, of the earlier run where ``reused``.
        reused: True where the result was found and not made again.
    """

    result: dict[str, Any]
    seconds: float
    reused: bool


class Journal:
    """Performs the steps of one run, once each.

    Args:
        store: where steps are written down.
        run_id: the run.
        clock: gives the times that are written down.
        prepare: called once, before the first work that is really done and before it is written down.
    """

    def __init__(
        self, store: PipelineStore, run_id: str, *, clock: Clock, prepare: Callable[[], None] = lambda: None
    ) -> None:
        self.run_id = run_id
        self._store = store
        self._clock = clock
        self._prepare = functools.cache(prepare)

    def perform(
        self,
        name: str,
        work: Callable[[], dict[str, Any]],
        *,
        key: str,
        across_runs: bool = False,
        again: Callable[[dict[str, Any]], bool] = lambda result: False,
        usable: Callable[[dict[str, Any]], bool] = lambda result: True,
    ) -> Outcome:
        """Do a step, unless its result is there.

        Args:
            name: unique in the run.
            work: does it and gives a JSON-ready result; an exception is written down and raised.
            key: digest of everything that the result depends on.
            across_runs: True also takes the result of another run with the same key; only for steps whose result is
                a value, not an effect.
            again: whether a result is none that a later run may take: it is written down as failed, and made again.
            usable: whether what a known result names is still there; where it is not, the step is done again.
        """
        earlier = self._store.step(self.run_id, name)
        if earlier is None or earlier.status != DONE or earlier.key != key:
            earlier = self._store.done(key) if across_runs else None
        if earlier is not None and usable(earlier.result):
            if earlier.run_id != self.run_id or earlier.name != name:
                self._write(name, key, earlier.result)
            return Outcome(earlier.result, earlier.seconds, reused=True)
        self._prepare()
        began = time.monotonic()
        self._store.begin_step(self.run_id, name, key=key, now=self._now())
        try:
            result = work()
        except BaseException as error:
            self._store.end_step(
                self.run_id, name, status=FAILED, result={"error": f"{type(error).__name__}: {error}"}, now=self._now()
            )
            raise
        status = FAILED if again(result) else DONE
        self._store.end_step(self.run_id, name, status=status, result=result, now=self._now())
        return Outcome(result, time.monotonic() - began, reused=False)

    def recorded(self, name: str) -> dict[str, Any] | None:
        """The result of a step of this run that is done, or None."""
        step = self._store.step(self.run_id, name)
        return step.result if step is not None and step.status == DONE else None

    def _write(self, name: str, key: str, result: dict[str, Any]) -> None:
        now = self._now()
        self._store.begin_step(self.run_id, name, key=key, now=now)
        self._store.end_step(self.run_id, name, status=DONE, result=result, now=now)

    def _now(self) -> float:
        return self._clock.now().timestamp()
