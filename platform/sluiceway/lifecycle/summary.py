"""What a run says at its end: for each step what happened, the numbers, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sluiceway.core.verdict import EXIT_CODES, Status


@dataclass(frozen=True)
class StepSummary:
    """One step as a person reads it.

    Attributes:
        name: e.g. ``release three quarters: gates``.
        status: PASS when it ended as the configuration expects.
        headline: what happened, one line.
        details: the numbers, a line each.
        seconds: wall time of the work; of an earlier run where ``reused``.
        reused: True where an earlier result with the same content was taken.
        waits: True where it has not ended: the same run, given again, goes on with it.
    """

    name: str
    status: Status
    headline: str
    details: tuple[str, ...] = ()
    seconds: float = 0.0
    reused: bool = False
    waits: bool = False

    def to_result(self) -> dict[str, Any]:
        """JSON for the pipeline journal."""
        return {"status": str(self.status), "headline": self.headline, "details": list(self.details)}


@dataclass(frozen=True)
class RunSummary:
    """A whole run.

    Attributes:
        run_id: names the run in the catalog.
        steps: in order.
        seconds: wall time, without what was skipped.
        places: where to look, e.g. ``{"report": "...", "MLflow UI": "mlflow ui --backend-store-uri ..."}``.
        going_on: commands that make sense next.
    """

    run_id: str
    steps: tuple[StepSummary, ...]
    seconds: float
    places: dict[str, str] = field(default_factory=dict)
    going_on: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 only when every step ended as expected (docs/decisions/0015)."""
        statuses = [step.status for step in self.steps]
        for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE):
            if status in statuses:
                return EXIT_CODES[status]
        return 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "run_id": self.run_id,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "steps": [{"name": s.name, "seconds": s.seconds, "reused": s.reused, **s.to_result()} for s in self.steps],
            "places": self.places,
            "going_on": list(self.going_on),
        }
