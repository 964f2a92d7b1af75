"""Rolls a registered version out, environment after environment, without training anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sluiceway.catalog.claim import holder
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.command import Order
from sluiceway.core.errors import ConflictError, InputError
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.deployment import EnvironmentRollout
from sluiceway.lifecycle.further_arms import check_gates
from sluiceway.lifecycle.incremental import version_of
from sluiceway.lifecycle.retirement import refuse_retired
from sluiceway.rollout.journal import Journal, unfinished
from sluiceway.rollout.outcome import outcome_of
from sluiceway.rollout.plan import RolloutPlan

SUPERSEDE_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Started:
    """How a rollout to one environment ended.

    Attributes:
        environment: its name.
        result: as the pipeline's journal keeps it: ``rollout``, ``load`` and ``url``.
    """

    environment: str
    result: dict[str, Any]

    @property
    def status(self) -> str:
        """``promoted``, ``rolled_back`` or ``paused``; ``skipped`` where the version was the champion already."""
        return str(self.result["rollout"]["status"])


def start_rollout(
    context: Context,
    version: str,
    *,
    environments: Sequence[str],
    supersede: bool = False,
    ungated: bool = False,
) -> tuple[Started, ...]:
    """Roll a version of ``experiment.name`` out; the next environment begins when the one before has promoted it.

    A rollout of the same version that is under way is gone on with; an environment whose champion it is is left out.

    Args:
        context: what to work with.
        version: its number or an alias.
        environments: in this order.
        supersede: True: another rollout that is under way is aborted first; False: it is in the way.
        ungated: True: roll out what no gate has judged, or has not let pass.

    Raises:
        ModelError: there is no such version, it is retired, or its gates do not let it.
        ConflictError: another rollout is under way, or somebody else moves the traffic.
        InputError: it is the champion of all of them already.
    """
    number = startable(context, version, environments=environments, ungated=ungated)
    wanted = without_champion(context, number, environments)
    context.connect()
    done: list[Started] = []
    for environment in environments:
        if environment not in wanted:
            done.append(_skipped(context, number, environment))
            continue
        rollout_id = name_rollout(context, number, environment, supersede=supersede)
        done.append(go_on(context, number, environment, rollout_id=rollout_id, supersede=supersede))
        if done[-1].status != "promoted":
            break
    return tuple(done)


def startable(context: Context, version: str, *, environments: Sequence[str], ungated: bool) -> str:
    """The number of a version that may be rolled out.

    Args:
        context: what to work with.
        version: its number or an alias.
        environments: where to; an A/B/n test of theirs has further versions.
        ungated: as for :func:`start_rollout`.

    Raises:
        ModelError: there is no such version, it is retired, or its gates do not let it.
    """
    name = context.experiment.name
    refuse_retired(context.registry, name, version)
    number, _ = context.registry.bundle(name, version)
    others = _others(context, environments)
    for other in others:
        refuse_retired(context.registry, name, other)
    if not ungated:
        for one in (number, *others):
            check_gates(context, one, otherwise="roll it out with --ungated")
    return number


def without_champion(context: Context, version: str, environments: Sequence[str]) -> tuple[str, ...]:
    """The environments that a version is still to be rolled out to, in the same order.

    Args:
        context: what to work with.
        version: its number.
        environments: that are wanted; one whose champion it is, and in which no rollout is under way, is left out.

    Raises:
        InputError: it is the champion of all of them already.
    """
    left = tuple(one for one in environments if not _has_champion(context, version, one))
    if not left:
        endpoints = ", ".join(endpoint_name(context.experiment.name, one) for one in environments)
        raise InputError(f"version {version} is the champion of {endpoints} already", hint="roll out another version")
    return left


def name_rollout(context: Context, version: str, environment: str, *, supersede: bool) -> str:
    """That of the version's rollout that is under way, or the name of a new one; nothing is changed.

    Args:
        context: what to work with.
        version: its number.
        environment: where to.
        supersede: True: others that are under way are not in the way.

    Raises:
        ConflictError: another version's is under way.
        InputError: it is the champion already.
    """
    endpoint = endpoint_name(context.experiment.name, environment)
    for known in unfinished(context.stores.rollouts, endpoint):
        other = Journal.open(context.stores.rollouts, known).plan.version
        if other == version:
            return known
        if not supersede:
            raise ConflictError(
                f"rollout {known} of version {other} to {endpoint} has not ended",
                hint=f"`sluiceway rollout abort {known}`, or begin with --supersede",
            )
    newest = context.stores.traffic.newest(endpoint)
    if newest is not None and newest.champion.version == version:
        raise InputError(f"version {version} is the champion of {endpoint} already", hint="roll out another version")
    moment = datetime.fromtimestamp(context.now(), UTC).strftime("%Y%m%dT%H%M%S")
    return f"{context.experiment.name}@{version}/{environment}/{moment}"


def go_on(
    context: Context, version: str, environment: str, *, rollout_id: str, supersede: bool, stays: bool = False
) -> Started:
    """Begin, or go on with, a rollout of an id; one that has ended is only told.

    Args:
        context: what to work with, connected to Ray.
        version: its number.
        environment: where to.
        rollout_id: from :func:`name_rollout`.
        supersede: True: other versions' rollouts that are under way are aborted first.
        stays: True: a pause is waited out for a command.

    Raises:
        ConflictError: another rollout is under way, or somebody else moves the traffic.
    """
    rollouts = context.stores.rollouts
    if rollouts.get(rollout_id) is not None:
        journal = Journal.open(rollouts, rollout_id)
        if journal.state.terminal:
            told = outcome_of(journal.plan, journal.entries).to_dict()
            return Started(environment, {"rollout": told, "load": None, "url": ""})
    if supersede:
        end_others(context, version, environment, but=rollout_id)
    return Started(environment, _rollout(context, version, environment).run(rollout_id, stays=stays))


def end_others(context: Context, version: str, environment: str, *, but: str) -> None:
    """Abort what is under way in an environment, by whoever runs it, or here, once what takes its place can begin.

    Args:
        context: what to work with, connected to Ray.
        version: number of what takes its place.
        environment: where.
        but: the rollout of that, which is not aborted.

    Raises:
        SluicewayError: that one cannot begin; nothing is aborted.
        ConflictError: what is in the way does not obey.
    """
    endpoint = endpoint_name(context.experiment.name, environment)
    others = [known for known in unfinished(context.stores.rollouts, endpoint) if known != but]
    if others:
        _rollout(context, version, environment).check(but)
    for known in others:
        _end(context, known, environment)


def _has_champion(context: Context, version: str, environment: str) -> bool:
    endpoint = endpoint_name(context.experiment.name, environment)
    newest = context.stores.traffic.newest(endpoint)
    is_champion = newest is not None and newest.champion.version == version
    # On probation it is the champion, too, and that rollout has not ended.
    return is_champion and not any(unfinished(context.stores.rollouts, endpoint))


def _skipped(context: Context, version: str, environment: str) -> Started:
    endpoint = endpoint_name(context.experiment.name, environment)
    told = {"status": "skipped", "cause": None, "reason": f"version {version} is the champion of {endpoint} already"}
    return Started(environment, {"rollout": {**told, "seconds": 0.0}, "load": None, "url": ""})


def _others(context: Context, environments: Sequence[str]) -> list[str]:
    """Numbers of the further versions that A/B/n tests have in these environments."""
    policies = [context.deployment.of(environment) for environment in environments]
    named = dict.fromkeys(name for policy in policies if policy.strategy == "ab" for name in policy.ab.others)
    return [context.registry.bundle(context.experiment.name, name)[0] for name in named]


def _rollout(context: Context, version: str, environment: str) -> EnvironmentRollout:
    _, bundle = context.registry.bundle(context.experiment.name, version)
    # Replayed requests are rows that the model has not learned from: those of its own version, where it says which.
    trained_on = version_of(bundle) if "data" in bundle.lineage else context.version()
    candidate = Candidate(trained_on, context.bundles.put(bundle), bundle.digest, {})
    step = ReleaseStep(step="release", name=f"{context.experiment.name} {version}")
    return EnvironmentRollout(context, step, candidate, version, environment)


def _end(context: Context, rollout_id: str, environment: str) -> None:
    """Abort another rollout: by whoever runs it, or here; nobody runs it any more after that."""
    rollouts = context.stores.rollouts
    plan = Journal.open(rollouts, rollout_id).plan
    if _is_run(context, plan):
        rollouts.command(rollout_id, Order.ABORT, who="sluiceway", reason="superseded", now=context.now())
        _wait_until_free(context, plan)
    if Journal.open(rollouts, rollout_id).state.terminal:
        return
    candidate = Candidate(context.version(), plan.bundle, plan.digest, {})
    step = ReleaseStep(step="release", name="superseded")
    other = EnvironmentRollout(context, step, candidate, plan.version, environment)
    other.abort(rollout_id, reason="superseded")


def _wait_until_free(context: Context, plan: RolloutPlan) -> None:
    """Wait for whoever runs a rollout to end with it, or to die: what takes its place needs the lease."""
    ends = time.monotonic() + SUPERSEDE_SECONDS
    while _is_run(context, plan):
        if time.monotonic() >= ends:
            raise ConflictError(
                f"rollout {plan.rollout_id} has not obeyed for {SUPERSEDE_SECONDS:g} s", hint="see who runs it"
            )
        time.sleep(POLL_SECONDS)


def _is_run(context: Context, plan: RolloutPlan) -> bool:
    return holder(context.stores.leases, f"rollout:{plan.endpoint}", now=context.clock.now()) is not None
