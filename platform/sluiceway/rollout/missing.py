"""What a verdict would have needed to be another one: the same counts are judged again with more or fewer in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from sluiceway.core.verdict import Direction, Status, Verdict
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.evidence import LATENCY, ArmSeen, Observations
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.plan import RolloutPlan

# Where a thousand times as much would not do, nobody waits for it.
MOST = 1000
# Metrics that have pairs with an outcome behind them, and not requests.
PAIRED = ("accuracy", "accuracy_limit")
# Those whose counts can be made more of.
MADE_OF_COUNTS = ("error_rate", "error_rate_limit", *LATENCY, *PAIRED)


def more_needed(plan: RolloutPlan, seen: Observations, verdict: Verdict) -> int | None:
    """How many more requests (pairs, of the accuracy) make a metric pass if all shares stay as they are.

    Args:
        plan: judges.
        seen: what the verdict is about.
        verdict: one that is INCONCLUSIVE.

    Returns:
        at least 1; None where no number would do, as for a value that is itself beyond its limit.
    """
    n, name = verdict.measurement.n, verdict.measurement.name
    own = seen.pairs_step.n if name in PAIRED else seen.steps[-1].challenger.requests
    if name not in MADE_OF_COUNTS or not own:
        # A mean knows by its spread how many would do.
        needed = verdict.enough or (verdict.threshold.n_needed if verdict.threshold else 0)
        return needed - n if needed > n else None

    def passes(total: int) -> bool:
        return _judged(plan, _grown(seen, own, total - n), name).status is Status.PASS

    high = max(1, 2 * n)
    while not passes(high):
        high *= 2
        if high > MOST * max(n, verdict.threshold.n_needed if verdict.threshold else 1):
            return None
    return _first(passes, max(n, high // 2), high) - n


def allowed(plan: RolloutPlan, seen: Observations, verdict: Verdict) -> int | None:
    """With how many failed requests, or wrong decisions that the champion had right, a metric would not have failed.

    Args:
        plan: judges.
        seen: what the verdict is about.
        verdict: one that is a FAIL.

    Returns:
        the largest such number, on as many requests or pairs; None where it is not a matter of a number of them.
    """
    name, limit = verdict.measurement.name, verdict.threshold.limit if verdict.threshold else math.nan
    if name == "total_errors":
        return math.floor(limit)
    if name == "error_rate_limit":
        return math.floor(limit * verdict.measurement.n)
    if name not in ("error_rate", "accuracy"):
        return None
    change = _with_errors if name == "error_rate" else _with_lost
    now = seen.steps[-1].challenger.errors if name == "error_rate" else seen.pairs_rollout.only_champion

    def fails(number: int) -> bool:
        return _judged(plan, change(seen, number), name).status is Status.FAIL

    return None if fails(0) else _first(fails, 0, now) - 1


def distance(verdict: Verdict) -> float | None:
    """How far the number that decides is from its limit, in its unit: above 0 on the good side, below on the bad one.

    Of a PASS and of what is undecided that is the bound that the limit is held against; of a FAIL the value, and of a
    step that goes on with its share of the evidence (:func:`by_share`).
    """
    m, t = verdict.measurement, verdict.threshold
    if t is None:
        return None
    bound = m.low if t.direction is Direction.AT_LEAST else m.high
    by_bound = t.use_interval and verdict.status is not Status.FAIL and not by_share(verdict)
    decides = bound if by_bound else m.value
    if decides is None or not math.isfinite(decides) or not math.isfinite(t.limit):
        return None
    return decides - t.limit if t.direction is Direction.AT_LEAST else t.limit - decides


def by_share(verdict: Verdict) -> bool:
    """Whether it passed although its bound is still beyond the limit: on a step's share of the rollout's evidence."""
    m, t = verdict.measurement, verdict.threshold
    if verdict.status is not Status.PASS or t is None or not t.use_interval:
        return False
    if t.direction is Direction.AT_LEAST:
        return m.low is None or m.low < t.limit
    return m.high is None or m.high > t.limit


def judged_again(plan: RolloutPlan, seen: Observations, verdict: Verdict) -> bool:
    """Whether these counts alone give this verdict: not that of a test's other version, of Prometheus or a query."""
    found = (*judge_step(plan, seen), *judge_limits(plan, seen)) if seen.steps else ()
    return any(one.measurement == verdict.measurement and one.status is verdict.status for one in found)


def _judged(plan: RolloutPlan, seen: Observations, name: str) -> Verdict:
    verdicts = (*judge_step(plan, seen), *judge_limits(plan, seen))
    return next(verdict for verdict in verdicts if verdict.measurement.name == name)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number above ``low`` of which something holds that holds of ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _grown(seen: Observations, own: int, more: int) -> Observations:
    """As seen, with so many more in the present step, which has ``own`` of them."""
    step, factor = seen.steps[-1], 1 + more / own
    grown = replace(step, champion=_arm_scaled(step.champion, factor), challenger=_arm_scaled(step.challenger, factor))
    now = _pairs_scaled(seen.pairs_step, factor)
    whole = _pairs_added(seen.pairs_rollout, now, seen.pairs_step)
    return replace(seen, steps=(*seen.steps[:-1], grown), pairs_step=now, pairs_rollout=whole)


def _pairs_added(whole: Pairs, now: Pairs, before: Pairs) -> Pairs:
    names = ("both", "only_champion", "only_challenger", "neither")
    return Pairs(*(getattr(whole, name) + getattr(now, name) - getattr(before, name) for name in names))


def _arm_scaled(arm: ArmSeen, factor: float) -> ArmSeen:
    latency = tuple(round(count * factor) for count in arm.latency)
    return ArmSeen(round(arm.requests * factor), round(arm.errors * factor), latency, arm.errors_in_row)


def _pairs_scaled(pairs: Pairs, factor: float) -> Pairs:
    return Pairs(
        round(pairs.both * factor),
        round(pairs.only_champion * factor),
        round(pairs.only_challenger * factor),
        round(pairs.neither * factor),
    )


def _with_errors(seen: Observations, errors: int) -> Observations:
    step = seen.steps[-1]
    arm = replace(step.challenger, errors=errors)
    return replace(seen, steps=(*seen.steps[:-1], replace(step, challenger=arm)))


def _with_lost(seen: Observations, lost: int) -> Observations:
    pairs = seen.pairs_rollout
    both = pairs.both + pairs.only_champion - lost
    return replace(seen, pairs_rollout=replace(pairs, both=both, only_champion=lost))
