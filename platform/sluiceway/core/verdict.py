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


class Severity(enum.StrEnum):
    """What comes of a verdict that is no PASS."""

    BLOCK = "block"
    WARN = "warn"
    INFO = "info"


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

    def __post_init__(self) -> None:
        # NumPy's numbers are no JSON, and what is told is one line.
        for name in ("value", "low", "high"):
            given = getattr(self, name)
            if given is not None and type(given) is not float:
                object.__setattr__(self, name, float(given))
        object.__setattr__(self, "n", int(self.n))
        if self.n < 0 or "\n" in self.name:
            raise ValueError(f"a measurement {self.name!r} of n={self.n}: the name is one line, and n is 0 or more")


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
    """What a check says, and the numbers why.

    Attributes:
        check: the gate, or what else judges.
        status: one of the four values.
        measurement: what was judged.
        threshold: what it was held against; None for a number that is only shown.
        reason: why it is not a PASS, or what a person has to know beside the numbers.
        enough: of an INCONCLUSIVE one, about how many rows (pairs, requests) would settle it; None where unknown.
        severity: what comes of it.
        waiver: who let it pass, why and until when, or "".
    """

    check: str
    status: Status
    measurement: Measurement
    threshold: Threshold | None = None
    reason: str = ""
    enough: int | None = None
    severity: Severity = Severity.BLOCK
    waiver: str = ""

    @property
    def blocks(self) -> bool:
        """True where nothing may go on because of it."""
        return self.status is not Status.PASS and self.severity is Severity.BLOCK and not self.waiver

    def line(self) -> str:
        """The verdict in one line for a person."""
        m, t = self.measurement, self.threshold
        value = "no value" if m.value is None or math.isnan(m.value) else f"{m.value:.4g}{m.unit}"
        interval = f" [{m.low:.4g}, {m.high:.4g}]" if m.low is not None and m.high is not None else ""
        limit = f" limit {t.direction} {t.limit:.4g}{m.unit}" if t else ""
        needed = f" of {t.n_needed:,} needed" if t and t.n_needed > 1 else ""
        detail = f", {m.detail}" if m.detail else ""
        said = f"{self.status}{self._aside()}"
        told = f"{self.check} {m.name} {value}{interval}{limit}, n={m.n:,}{needed}{detail} -> {said}"
        # A detail may hold what came with the rows: a line break, or a code that colours the terminal.
        return "".join(letter if letter.isprintable() else " " for letter in told)

    def _aside(self) -> str:
        """What stands behind the status."""
        softened = self.status is not Status.PASS and self.severity is not Severity.BLOCK
        severity = f" ({self.severity} only)" if softened else ""
        reason = f"; {self.reason}" if self.reason else ""
        enough = f"; about {self.enough:,} would be enough" if self.enough else ""
        waiver = f"; WAIVED by {self.waiver}" if self.waiver else ""
        return f"{severity}{reason}{enough}{waiver}"

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
            document["enough"],
            Severity(document["severity"]),
            document["waiver"],
        )


def judge(check: str, measurement: Measurement, threshold: Threshold) -> Verdict:
    """Hold one measurement against one threshold."""
    m, t = measurement, threshold
    if m.value is None or math.isnan(m.value):
        return Verdict(check, Status.INCONCLUSIVE if m.n == 0 else Status.FAIL, m, t, "no value")
    if m.n < t.n_needed:
        return Verdict(check, Status.INCONCLUSIVE, m, t, "too few", enough=t.n_needed)
    worst, best = m.value, m.value
    if t.use_interval:
        if m.low is None or m.high is None or math.isnan(m.low) or math.isnan(m.high):
            return Verdict(check, Status.INCONCLUSIVE, m, t, "no interval")
        worst, best = (m.low, m.high) if t.direction is Direction.AT_LEAST else (m.high, m.low)
    if _good(worst, t):
        return Verdict(check, Status.PASS, m, t)
    if not _good(best, t):
        return Verdict(check, Status.FAIL, m, t)
    return Verdict(
        check, Status.INCONCLUSIVE, m, t, "the interval spans the limit", enough=_enough(m.value, worst, m.n, t)
    )


def tells_apart(check: str, measurement: Measurement, threshold: Threshold) -> Verdict:
    """As :func:`judge` by the point value, but beyond the limit only a FAIL where all of the interval is.

    For gaps and losses, which are above 0 by chance alone: at or within the limit is a PASS, beyond it the interval
    has to say that it is no chance; otherwise INCONCLUSIVE. Both block.
    """
    m, t = measurement, threshold
    verdict = judge(check, m, t)
    if verdict.status is not Status.FAIL or m.value is None or m.low is None or m.high is None:
        return verdict
    best = m.high if t.direction is Direction.AT_LEAST else m.low
    if not _good(best, t):
        return verdict
    why = "beyond the limit, but it may be chance"
    return Verdict(check, Status.INCONCLUSIVE, m, t, why, enough=_enough(m.value, best, m.n, t))


def _enough(value: float, bound: float, n: int, threshold: Threshold) -> int | None:
    """Rows with which an interval of this kind would end at the limit: its width falls with the root of the rows."""
    distance = abs(value - threshold.limit)
    return math.ceil(n * ((bound - value) / distance) ** 2 - 1e-6) if distance and math.isfinite(bound) else None


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
        gate: its name, e.g. ``performance``.
        verdicts: what it checked; a gate without any is INCONCLUSIVE and blocks.
        seconds: wall time of its tasks, the longest of them.
        cached: taken from an earlier run on the same content.
    """

    gate: str
    verdicts: tuple[Verdict, ...]
    seconds: float = 0.0
    cached: bool = False
    status: Status = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", combine(self.verdicts))

    @property
    def blocks(self) -> bool:
        """True where the model must not go on."""
        return not self.verdicts or any(verdict.blocks for verdict in self.verdicts)

    @property
    def waivers(self) -> tuple[str, ...]:
        """Who let some of it pass, each once."""
        return tuple(dict.fromkeys(v.waiver for v in self.verdicts if v.waiver))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "gate": self.gate,
            "status": str(self.status),
            "seconds": self.seconds,
            "cached": self.cached,
            "blocks": self.blocks,
            "verdicts": [v.to_dict() for v in self.verdicts],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> GateResult:
        """The inverse of :meth:`to_dict`."""
        verdicts = tuple(Verdict.from_dict(v) for v in document["verdicts"])
        return cls(document["gate"], verdicts, document["seconds"], document["cached"])


def _good(value: float, threshold: Threshold) -> bool:
    return value >= threshold.limit if threshold.direction is Direction.AT_LEAST else value <= threshold.limit


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, enum.StrEnum) else value
