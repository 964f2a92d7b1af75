"""One algebra of judging, the same in gates, canary and monitoring.

A :class:`Measurement` held against a :class:`Threshold` gives a :class:`Verdict`. No data is never a PASS.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class Status(enum.StrEnum):
    """The four values, in the order in which they win when verdicts are combined."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"
    FAIL = "FAIL"


class Direction(enum.StrEnum):
    """Which side of the limit is good."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True)
class Measurement:
    """A number with what is needed to believe it.

    Attributes:
        name: what was measured, e.g. ``auc_roc`` or ``auc gap by carrier``.
        value: the point estimate; NaN or None means that it could not be taken.
        n: rows, pairs or requests behind the value.
        low: lower bound of the interval, or None where there is none.
        high: upper bound of the interval, or None.
        unit: ``""`` for ratios, otherwise ``s``, ``ms``, ``rows`` ...
        detail: names the cause for a person: the column, the group, the worst case.
    """

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Threshold:
    """A limit, the good side of it, and how much evidence it wants.

    Attributes:
        limit: in the unit of the measurement.
        direction: which side is good; the limit itself is good.
        n_needed: fewer than this is INCONCLUSIVE, whatever the value.
        use_interval: judge by the interval: PASS when all of it is on the good side, FAIL when none is,
            INCONCLUSIVE between. False judges by the point value.
    """

    limit: float
    direction: Direction
    n_needed: int = 1
    use_interval: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a check says, and the numbers why."""

    check: str
    status: Status
    measurement: Measurement
    threshold: Threshold | None = None
    reason: str = ""

    def line(self) -> str:
        """The verdict in one line for a person."""
        m, t = self.measurement, self.threshold
        value = "no value" if m.value is None or math.isnan(m.value) else f"{m.value:.4g}{m.unit}"
        interval = f" [{m.low:.4g}, {m.high:.4g}]" if m.low is not None and m.high is not None else ""
        limit = f" (limit {t.direction} {t.limit:.4g}{m.unit})" if t else ""
        needed = f" of {t.n_needed:,} needed" if t and t.n_needed > 1 else ""
        why = f"; {self.reason}" if self.reason else ""
        detail = f", {m.detail}" if m.detail else ""
        return f"{self.check} {m.name} {value}{interval}{limit}, n={m.n:,}{needed}{detail} -> {self.status}{why}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; NaN becomes None."""
        return {"line": self.line(), **_without_nan(asdict(self))}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_dict`; a NaN comes back as None."""
        limit = document["threshold"]
        return cls(
            document["check"],
            Status(document["status"]),
            Measurement(**document["measurement"]),
            None if limit is None else Threshold(**{**limit, "direction": Direction(limit["direction"])}),
            document["reason"],
        )


def judge(check: str, measurement: Measurement, threshold: Threshold) -> Verdict:
    """Hold one measurement against one threshold."""
    m, t = measurement, threshold
    if m.value is None or math.isnan(m.value):
        return Verdict(check, Status.INCONCLUSIVE if m.n == 0 else Status.FAIL, m, t, "no value")
    if m.n < t.n_needed:
        return Verdict(check, Status.INCONCLUSIVE, m, t, "too few")
    worst, best = m.value, m.value
    if t.use_interval:
        if m.low is None or m.high is None:
            return Verdict(check, Status.INCONCLUSIVE, m, t, "no interval")
        worst, best = (m.low, m.high) if t.direction is Direction.AT_LEAST else (m.high, m.low)
    if _good(worst, t):
        return Verdict(check, Status.PASS, m, t)
    if not _good(best, t):
        return Verdict(check, Status.FAIL, m, t)
    return Verdict(check, Status.INCONCLUSIVE, m, t, "the interval spans the limit")


def combine(verdicts: Iterable[Verdict]) -> Status:
    """The status of many: FAIL before ERROR before INCONCLUSIVE before PASS; of none: INCONCLUSIVE."""
    statuses = {v.status for v in verdicts}
    for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS):
        if status in statuses:
            return status
    return Status.INCONCLUSIVE


EXIT_CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3, Status.ERROR: 4}


@dataclass(frozen=True)
class GateResult:
    """One gate's verdicts.

    Attributes:
        gate: ``performance``, ``fairness``, ``robustness`` or ``data_quality``.
        verdicts: what it checked; never empty.
        seconds: wall time of the task.
        waiver: who let a failed gate pass and why, or "".
    """

    gate: str
    verdicts: tuple[Verdict, ...]
    seconds: float = 0.0
    waiver: str = ""
    status: Status = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", combine(self.verdicts))

    @property
    def blocks(self) -> bool:
        """True where the model must not go on."""
        return self.status is not Status.PASS and not self.waiver

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "gate": self.gate,
            "status": str(self.status),
            "seconds": self.seconds,
            "waiver": self.waiver,
            "verdicts": [v.to_dict() for v in self.verdicts],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> GateResult:
        """The inverse of :meth:`to_dict`."""
        verdicts = tuple(Verdict.from_dict(v) for v in document["verdicts"])
        return cls(document["gate"], verdicts, document["seconds"], document["waiver"])


def _good(value: float, threshold: Threshold) -> bool:
    return value >= threshold.limit if threshold.direction is Direction.AT_LEAST else value <= threshold.limit


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, enum.StrEnum) else value
