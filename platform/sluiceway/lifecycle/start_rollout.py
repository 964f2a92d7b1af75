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
from sluiceway.core.errors import ConflictError, InputError, ModelError
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.deployment import EnvironmentRollout
from sluiceway.lifecycle.incremental import version_of
from sluiceway.lifecycle.retirement import refuse_retired
from sluiceway.registry.bundle import Bundle
from sluiceway.rollout.journal import Journal, unfinished

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
        """``promoted``, ``rolled_back`` or ``paused``."""
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

    A rollout of the same version that is under way is gone on with.

    Args:
        context: what to work with.
        version: its number or an alias.
        environments: in this order.
        supersede: True: another rollout that is under way is aborted first; False: it is in the way.
        ungated: True: roll out what no gate has judged, or has not let pass.

    Raises:
        ModelError: there is no such version, it is retired, or its gates do not let it.
        ConflictError: another rollout is under way, or somebody else moves the traffic.
        InputError: it is the champion already.
    """
    name = context.experiment.name
    refuse_retired(context.registry, name, version)
    number, bundle = context.registry.bundle(name, version)
    if not ungated:
        for one in (number, *_others(context, environments)):
            _check_gates(context, one)
    context.connect()
    done: list[Started] = []
    for environment in environments:
        rollout_id = _rollout_id(context, number, environment, supersede=supersede)
        rollout = _rollout(context, number, bundle, environment)
        done.append(Started(environment, rollout.run(rollout_id)))
        if done[-1].status != "promoted":
            break
    return tuple(done)


def _others(context: Context, environments: Sequence[str]) -> list[str]:
    """Numbers of the further versions that A/B/n tests have in these environments."""
    policies = [context.deployment.of(environment) for environment in environments]
    named = dict.fromkeys(name for policy in policies if policy.strategy == "ab" for name in policy.ab.others)
    return [context.registry.bundle(context.experiment.name, name)[0] for name in named]


def _check_gates(context: Context, version: str) -> None:
    name = context.experiment.name
    said = context.registry.version(name, version).gates
    if not said:
        raise ModelError(
            f"no gate has judged version {version} of {name}",
            hint=f"sluiceway gates run {name}@{version}, or roll it out with --ungated",
        )
    bad = [f"{gate} {value}" for gate, value in said.items() if value.startswith(("FAIL", "ERROR"))]
    if bad:
        raise ModelError(
            f"gates do not let version {version} of {name} pass: {', '.join(bad)}", hint="roll it out with --ungated"
        )


def _rollout(context: Context, version: str, bundle: Bundle, environment: str) -> EnvironmentRollout:
    # Replayed requests are rows that the model has not learned from: those of its own version, where it says which.
    trained_on = version_of(bundle) if "data" in bundle.lineage else context.version()
    candidate = Candidate(trained_on, context.bundles.put(bundle), bundle.digest, {})
    step = ReleaseStep(step="release", name=f"{context.experiment.name} {version}")
    return EnvironmentRollout(context, step, candidate, version, environment)


def _rollout_id(context: Context, version: str, environment: str, *, supersede: bool) -> str:
    """That of the version's rollout that is under way, or a new one; nothing else is under way afterwards."""
    endpoint, rollouts = endpoint_name(context.experiment.name, environment), context.stores.rollouts
    for known in unfinished(rollouts, endpoint):
        journal = Journal.open(rollouts, known)
        if journal.plan.version == version:
            return known
        if not supersede:
            raise ConflictError(
                f"rollout {known} of version {journal.plan.version} to {endpoint} has not ended",
                hint=f"`sluiceway rollout abort {known}`, or begin with --supersede",
            )
        _end(context, known, environment)
    newest = context.stores.traffic.newest(endpoint)
    if newest is not None and newest.champion.version == version:
        raise InputError(f"version {version} is the champion of {endpoint} already", hint="roll out another version")
    moment = datetime.fromtimestamp(context.now(), UTC).strftime("%Y%m%dT%H%M%S")
    return f"{context.experiment.name}@{version}/{environment}/{moment}"


def _end(context: Context, rollout_id: str, environment: str) -> None:
    """Abort another rollout: by whoever runs it, or here."""
    rollouts = context.stores.rollouts
    plan = Journal.open(rollouts, rollout_id).plan
    if holder(context.stores.leases, f"rollout:{plan.endpoint}", now=context.clock.now()) is not None:
        rollouts.command(rollout_id, Order.ABORT, who="sluiceway", reason="superseded", now=context.now())
        ends = time.monotonic() + SUPERSEDE_SECONDS
        while time.monotonic() < ends:
            if Journal.open(rollouts, rollout_id).state.terminal:
                return
            time.sleep(POLL_SECONDS)
        raise ConflictError(f"rollout {rollout_id} has not obeyed for {SUPERSEDE_SECONDS:g} s", hint="see who runs it")
    candidate = Candidate(context.version(), plan.bundle, plan.digest, {})
    step = ReleaseStep(step="release", name="superseded")
    other = EnvironmentRollout(context, step, candidate, plan.version, environment)
    other.abort(rollout_id, reason="superseded")
