"""An A/B/n test: what to do next while several versions have fixed weights beside the champion. Pure.

Each version is judged against the champion as in a step, at an error that is shared out over the versions: one that
fails gets no more requests, and the others go on. At the end a version wins that is better than the champion in the
declared metric, by a test that may be looked at at any time, and no worse in all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluiceway.config.deployment import MarginsSection
from sluiceway.config.stages import AbSection
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.proportions import Pairs, independent_difference, paired_difference
from sluiceway.gates.statistics.sequential import crossed, error_excess_log_e, sign_log_e
from sluiceway.rollout.dry_run import decides, softened
from sluiceway.rollout.evidence import CHECK, Observations, lost_outcomes
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import RolloutState


@dataclass(frozen=True)
class Standing:
    """How a test stands.

    Attributes:
        living: versions that still get requests.
        verdicts: of these, against the champion, of the limits, and whether each is better.
        failed: (version, metric or ``breaker``, sentence) of the first one that has to be stopped, or None.
        winner: the version that is better than the champion, by the most where there are several; "" while none is, or
            the test is not over.
        reason: one sentence.
        fewest: requests of the living version with the fewest.
    """

    living: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, str, str] | None
    winner: str
    reason: str
    fewest: int


@dataclass(frozen=True)
class _Judged:
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, str] | None
    gain: Verdict
    better: bool


def look_at(plan: RolloutPlan, state: RolloutState, stage: AbSection, seen: Observations, now: float) -> Standing:
    """Judge every version that still gets requests.

    Args:
        plan: of the test.
        state: who is stopped, and when it began.
        stage: how long it takes, and what is to be better.
        seen: of the first version, with ``others``.
        now: UTC epoch seconds.
    """
    of = dict(zip(plan.versions, (seen, *seen.others), strict=True))
    living = tuple(version for version in plan.versions if version not in state.stopped)
    shared = _shared(plan)
    judged = {version: _judged(shared, stage, version, of[version]) for version in living}
    failed = next(((version, *one.failed) for version, one in judged.items() if one.failed), None)
    fewest = min(of[version].steps[-1].challenger.requests for version in living)
    over = now - state.since >= stage.min_seconds and fewest >= stage.min_requests
    better = {version: one.gain.measurement.value or 0.0 for version, one in judged.items() if one.better and over}
    winner = max(better, key=better.__getitem__, default="")
    told = [judged[winner].gain] if winner else [one.gain for one in judged.values()]
    verdicts = tuple(verdict for one in judged.values() for verdict in one.verdicts)
    return Standing(living, verdicts, failed, winner, "; ".join(verdict.line() for verdict in told), fewest)


def shared_out(margins: MarginsSection, versions: int) -> MarginsSection:
    """Of each of so many versions: together they err as seldom as one."""
    update = {"alpha": margins.alpha / versions, "rollback_alpha": margins.rollback_alpha / versions}
    return margins.model_copy(update=update)


def _shared(plan: RolloutPlan) -> RolloutPlan:
    return replace(plan, margins=shared_out(plan.margins, len(plan.versions)))


def _judged(plan: RolloutPlan, stage: AbSection, version: str, seen: Observations) -> _Judged:
    metrics = [softened(plan, verdict) for verdict in judge_step(plan, seen)]
    verdicts = [*metrics, *judge_limits(plan, seen)]
    deciding = [verdict for verdict in verdicts if decides(verdict)]
    failed = next(((v.measurement.name, v.line()) for v in deciding if v.status is Status.FAIL), None)
    if failed is None and seen.breakers:
        failed = ("breaker", f"endpoint replicas ask it no more: {'; '.join(seen.breakers)}")
    gain = _named(version, _gain(plan, stage, seen))
    better = gain.status is Status.PASS and all(verdict.status is Status.PASS for verdict in deciding)
    return _Judged((*(_named(version, verdict) for verdict in verdicts), gain), failed, gain, better)


def _gain(plan: RolloutPlan, stage: AbSection, seen: Observations) -> Verdict:
    """Whether a version is better than the champion; its value is by how much, more is better."""
    step, alpha = seen.steps[-1], plan.margins.alpha
    if stage.metric == "accuracy":
        pairs = seen.pairs_rollout
        value, low, high = paired_difference(pairs, alpha=alpha)
        n, log_e = pairs.n, sign_log_e(Pairs(pairs.both, pairs.only_challenger, pairs.only_champion, pairs.neither))
        lost = bool(lost_outcomes(seen))
    else:
        champion, challenger = ((arm.errors, arm.requests) for arm in (step.champion, step.challenger))
        value, low, high = independent_difference(challenger, champion, alpha=alpha)
        n, log_e, lost = challenger[1], error_excess_log_e(challenger, champion), False
    measured = Measurement(
        f"better in {stage.metric}", value if n else None, n, low if n else None, high if n else None
    )
    threshold = Threshold(0.0, Direction.AT_LEAST, n_needed=1, use_interval=True)
    certain = n > 0 and value > 0 and crossed(log_e, alpha) and not lost
    return Verdict(CHECK, Status.PASS if certain else Status.INCONCLUSIVE, measured, threshold, _why(certain, lost))


def _why(certain: bool, lost: bool) -> str:
    return "" if certain else "outcomes find no prediction" if lost else "it may be chance"


def _named(version: str, verdict: Verdict) -> Verdict:
    return replace(verdict, measurement=replace(verdict.measurement, name=f"{version} {verdict.measurement.name}"))
