"""What a person can do about a rollout, in commands."""

from __future__ import annotations

from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.source_verdicts import SOURCE
from sluiceway.rollout.state import Phase, RolloutState

# How the reasons of the journal begin that say nothing against the version.
TOO_LITTLE = "not enough evidence"
NO_BETTER = "no version is better"


def what_next(plan: RolloutPlan, state: RolloutState, *, runner: str | None) -> tuple[str, ...]:
    """One sentence each, the most likely one first.

    Args:
        plan: of the rollout.
        state: where it is.
        runner: who runs it, or None.
    """
    rollout, start = plan.rollout_id, f"sluiceway rollout start {plan.model}@{plan.version} --config CONFIG"
    if state.phase is Phase.PROMOTED:
        return (f"Nothing. Should it turn out bad: sluiceway rollout undo {plan.endpoint}",)
    if state.phase is Phase.ROLLED_BACK:
        return _after_rollback(plan, state, start)
    idle = () if runner else (f"Nobody runs it, so nothing happens. Go on with it: {start}",)
    if state.waits:
        return (*idle, *_in_pause(plan, state))
    watch = f"Watch it: sluiceway rollout watch {rollout}"
    back = f"Back to the champion at once: sluiceway rollout abort {rollout}"
    if state.phase is Phase.STEP and not plan.is_test:
        onward = f"Go on without the evidence: sluiceway rollout promote {rollout}"
        return (*idle, watch, back, onward)
    return (*idle, watch, back) if state.judged else (*idle, watch)


def _after_rollback(plan: RolloutPlan, state: RolloutState, start: str) -> tuple[str, ...]:
    champion = plan.champion.version if plan.champion else "none"
    safe = f"Nothing at once: version {champion} answers all requests."
    if state.cause == SOURCE:
        return (
            safe,
            f"Nothing was found against version {plan.version}: Prometheus did not answer. See deployment.prometheus.",
            f"Then: {start}",
        )
    if state.cause:
        return (
            safe,
            f"Find out what is wrong with {state.cause} of version {plan.version}, and roll out a better one.",
            f"What other margins would have done: sluiceway rollout replay {plan.rollout_id} --policy OTHER.yaml",
        )
    if state.reason.startswith(TOO_LITTLE):
        return (
            safe,
            f"Nothing was found against version {plan.version}: its steps need more time (max_seconds) or traffic.",
            "How much: sluiceway rollout plan CONFIG",
            f"Then: {start}",
        )
    if plan.is_test and state.reason.startswith(NO_BETTER):
        return (safe, f"No version was found to be better. To test them longer (deployment.ab): {start}")
    return (safe, f"To try it again: {start}")


def _in_pause(plan: RolloutPlan, state: RolloutState) -> tuple[str, ...]:
    rollout, promoted = plan.rollout_id, state.phase is Phase.PROBATION
    told = [
        f"Judge the {'probation' if promoted else 'step'} again: sluiceway rollout resume {rollout}",
        f"Back to the champion: sluiceway rollout abort {rollout}",
    ]
    if promoted:
        told.append(f"Let the promotion stand all the same: sluiceway rollout promote {rollout}")
    elif state.cause in ("", SOURCE) and not plan.is_test:
        told.append(f"Go on without the evidence: sluiceway rollout promote {rollout}")
    return tuple(told)
