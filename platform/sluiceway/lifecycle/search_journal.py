"""What is left of a search when its process is gone: its trials, and the time that it took, in the catalog."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict

from sluiceway.catalog.pipeline import DONE, FAILED, PipelineStore
from sluiceway.core.clock import Clock
from sluiceway.core.references import TableVersion
from sluiceway.training.trials import Trial

DATA, SPENT, TRIAL = "data", "spent", "trial "


class SearchJournal:
    """The trials of one search, each written down when it is over.

    The search is known by its content: another process that searches the same goes on with what is here, also where
    it may try more, or longer.

    Args:
        store: the catalog's.
        key: digest of everything that a trial's result depends on.
        clock: gives the times that are written down.
    """

    def __init__(self, store: PipelineStore, key: str, *, clock: Clock) -> None:
        self._store, self._clock, self.key = store, clock, key
        known = store.newest(key)
        self.run_id = known.run_id if known else ""
        steps = store.steps(known.run_id) if known else []
        trials = (Trial.from_dict(s.result) for s in steps if s.status == DONE and s.name.startswith(TRIAL))
        self.known = tuple(sorted(trials, key=lambda trial: trial.number))
        self._spent = next((float(s.result["seconds"]) for s in steps if s.name == SPENT and s.status == DONE), 0.0)
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Time of searching, of all tries together: of earlier ones up to the last trial that was written down."""
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)

    def open(self, version: TableVersion, config: str) -> None:
        """Begin the search, or go on with it, also where it had ended: it may have been given more.

        Until it has ended no vacuum deletes the rows of the version, for a week after its last trial.

        Args:
            version: whose rows are trained on.
            config: as YAML, for people.
        """
        self._began = time.monotonic()
        if self.run_id:
            self._store.reopen(self.run_id)
        else:
            now = self._now()
            self.run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{uuid.uuid4().hex[:6]}"
            self._store.create(self.run_id, config_digest=self.key, config=config, now=now)
        self._write(DATA, asdict(version))

    def keep(self, trial: Trial) -> None:
        """Write down a trial that is over; one that is not settled will be tried again."""
        self._write(SPENT, {"seconds": self.seconds})
        self._write(f"{TRIAL}{trial.number:04d}", trial.to_dict(), status=DONE if trial.is_settled else FAILED)

    def close(self, *, status: str = DONE) -> None:
        """The search has ended.

        What came after the last trial was no searching: the best is trained, or known trials are told again.

        Args:
            status: ``FAILED`` where it has found nothing.
        """
        self._store.finish(self.run_id, status=status, now=self._now())

    def _write(self, name: str, result: dict[str, object], *, status: str = DONE) -> None:
        now = self._now()
        self._store.begin_step(self.run_id, name, key=self.key, now=now)
        self._store.end_step(self.run_id, name, status=status, result=result, now=now)

    def _now(self) -> float:
        return self._clock.now().timestamp()
