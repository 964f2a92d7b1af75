"""One metric in a sentence: which test decided, on how much, how far from its limit, and what it would have needed."""

from __future__ import annotations

from dataclasses import dataclass

from sluiceway.core.verdict import Severity, Status, Verdict
from sluiceway.rollout.evidence import LATENCY, Observations
from sluiceway.rollout.missing import PAIRED, allowed, by_share, distance, judged_again, more_needed
from sluiceway.rollout.plan import RolloutPlan

NON_INFERIORITY = "the test that it is no worse than the champion by more than the margin"
ANYTIME = "the test over the whole rollout, that it is worse than the champion"
SHARE = "its step's share of the evidence, on which it looks good"
FIXED = "its fixed limit"
REQUESTED = ("error_rate", "error_rate_limit", *LATENCY, "total_errors", "consecutive_errors")


@dataclass(frozen=True)
class MetricStory:
    """What a metric said, and what would have changed it.

    Attributes:
        metric: its name.
        status: PASS, FAIL or INCONCLUSIVE.
        decides: False in a dry run.
        test: that decided, for people.
        n: requests, or pairs with an outcome.
        n_needed: of these, at least.
        value: measured.
        limit: held against it.
        distance: of the deciding number from the limit; above 0 on the good side.
        more: that many more requests or pairs would be enough at these shares; None where that is not the matter, or
            no number would do.
        allowed: with so many errors, or decisions lost to the champion, it would not have failed; None where that is
            not the matter.
        told: all of it, one sentence.
    """

    metric: str
    status: str
    decides: bool
    test: str
    n: int
    n_needed: int
    value: float | None
    limit: float | None
    distance: float | None
    more: int | None
    allowed: int | None
    told: str


def story_of(
    plan: RolloutPlan, verdict: Verdict, seen: Observations | None, *, seconds: float | None = None
) -> MetricStory:
    """Tell a verdict.

    Args:
        plan: judged.
        verdict: of one metric.
        seen: what it is about; None where that was not kept: then no more is told than the verdict itself has, as of
            what these counts alone do not say (another version of a test, Prometheus, a query of one's own).
        seconds: that gathering took so far, to tell how long more will take; None does not tell.
    """
    m, t = verdict.measurement, verdict.threshold
    more = allowed_errors = None
    seen = None if seen is None or not judged_again(plan, seen, verdict) else seen
    if verdict.status is Status.INCONCLUSIVE:
        more = more_needed(plan, seen, verdict) if seen else (t.n_needed - m.n if t and t.n_needed > m.n else None)
    elif verdict.status is Status.FAIL and seen:
        allowed_errors = allowed(plan, seen, verdict)
    decided = SHARE if by_share(verdict) else NON_INFERIORITY
    test = FIXED if t and not t.use_interval else ANYTIME if verdict.status is Status.FAIL else decided
    return MetricStory(
        metric=m.name,
        status=str(verdict.status),
        decides=verdict.severity is Severity.BLOCK,
        test=test,
        n=m.n,
        n_needed=t.n_needed if t else 0,
        value=m.value,
        limit=t.limit if t else None,
        distance=distance(verdict),
        more=more,
        allowed=allowed_errors,
        told=_sentence(verdict, test, more, allowed_errors, complete=seen is not None, seconds=seconds),
    )


def _sentence(
    verdict: Verdict, test: str, more: int | None, allowed_errors: int | None, *, complete: bool, seconds: float | None
) -> str:
    m, t, name = verdict.measurement, verdict.threshold, verdict.measurement.name
    of = _counted(name)
    parts = [f"{name} {_said(verdict)} on {m.n:,} {of}"]
    away = distance(verdict)
    if t is not None and m.value is not None:
        side = "within" if away is None or away >= 0 else "beyond"
        parts.append(f"{_number(name, m.value, m.unit)} against {t.direction} {_number(name, t.limit, m.unit)}")
        if away is not None:
            by_bound = t.use_interval and verdict.status is not Status.FAIL and not by_share(verdict)
            bound = " at its bound" if by_bound else ""
            parts.append(f"{_number(name, abs(away), m.unit)} {side} it{bound}")
    if verdict.status is not Status.INCONCLUSIVE:
        parts.append(f"decided by {test}")
    if verdict.reason:
        parts.append(verdict.reason)
    if verdict.status is Status.INCONCLUSIVE:
        parts += _would_do(more, m.n, of, complete=complete, seconds=seconds)
    if allowed_errors is not None:
        lost = "lost to the champion" if name in PAIRED else "failed"
        parts.append(f"with {allowed_errors:,} of them {lost} or fewer it would not have gone back")
    return "; ".join(parts) + "."


def _counted(name: str) -> str:
    """What a metric is made of; that of a test's version begins with the version."""
    last = name.split()[-1]
    if last == "champion_requests":
        return "requests of the champion"
    if last in ("accuracy", "accuracy_limit", "loss"):
        return "pairs with an outcome"
    if last in ("score_shift", "business"):
        return "pairs" if last == "score_shift" else "values"
    return "requests" if last in REQUESTED else "samples"


def _said(verdict: Verdict) -> str:
    said = {Status.PASS: "passed", Status.FAIL: "failed", Status.INCONCLUSIVE: "is not decided", Status.ERROR: "broke"}
    dry = "" if verdict.severity is Severity.BLOCK else " (dry run, decides nothing)"
    return said[verdict.status] + dry


def _would_do(more: int | None, n: int, of: str, *, complete: bool, seconds: float | None) -> list[str]:
    if more is None:
        return ["no number of them will do as it stands"] if complete else []
    told = f"about {more:,} more {of} would do if it goes on like this"
    if seconds and n:
        told += f", {more / n * seconds:,.0f} s at the present pace"
    return [told]


def _number(name: str, value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:,.1f} ms"
    if name == "total_errors":
        return f"{value:,.0f}"
    if name.startswith(("error_rate", "accuracy")):
        return f"{value:.2%}"
    return f"{value:.4g}{unit}"
