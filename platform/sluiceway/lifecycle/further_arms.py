"""What a rollout brings up beside its version: a fresh baseline, or the further versions of an A/B/n test."""

from __future__ import annotations

from dataclasses import replace

from sluiceway.config.deployment import PolicySection
from sluiceway.core.errors import InputError, ModelError
from sluiceway.core.traffic import Arm
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.retirement import refuse_retired
from sluiceway.rollout.plan import fresh_baseline
from sluiceway.serving.specs import ChallengerSpec


def further_arms(
    context: Context, policy: PolicySection, *, endpoint: str, champion: Arm, gated: bool
) -> tuple[Arm, ...]:
    """The arms beside the version that is rolled out, as the registry has them.

    Args:
        context: what to work with.
        policy: of the environment.
        endpoint: name of the endpoint.
        champion: the arm that answers today.
        gated: gates have to let the versions of a test pass.

    Raises:
        ModelError: a version of the test is not registered, it is retired, or its gates do not let it.
        InputError: a fresh baseline is wanted where challengers have no deployments.
    """
    beside = context.serving.isolation == "process"
    found: list[Arm] = []
    if policy.baseline == "fresh":
        if not beside:
            raise InputError(
                "deployment.baseline fresh is a second deployment, and challengers have none here",
                hint="platform.serving.isolation: process, or deployment.baseline: champion",
            )
        found.append(fresh_baseline(champion))
    if policy.strategy == "ab":
        for name in policy.ab.others:
            refuse_retired(context.registry, context.experiment.name, name)
            version, bundle = context.registry.bundle(context.experiment.name, name)
            if gated:
                check_gates(context, version, otherwise="take it out of deployment.ab.others")
            found.append(Arm(version, 0.0, context.bundles.put(bundle), bundle.digest))
    if not beside:
        return tuple(found)
    return tuple(replace(arm, application=spec_of(context, endpoint, arm).application) for arm in found)


def spec_of(context: Context, endpoint: str, arm: Arm) -> ChallengerSpec:
    """The deployment of such an arm."""
    return ChallengerSpec(endpoint, arm.version, arm.bundle, arm.digest, None, context.serving)


def check_gates(context: Context, version: str, *, otherwise: str) -> None:
    """Refuse a version that no gate has judged, or that gates do not let pass.

    Args:
        context: what to work with.
        version: its number.
        otherwise: what else can be done, for the hint.

    Raises:
        ModelError: it is such a one.
    """
    name = context.experiment.name
    said = context.registry.version(name, version).gates
    if not said:
        raise ModelError(
            f"no gate has judged version {version} of {name}",
            hint=f"sluiceway gates run {name}@{version}, or {otherwise}",
        )
    bad = [f"{gate} {value}" for gate, value in said.items() if value.startswith(("FAIL", "ERROR"))]
    if bad:
        raise ModelError(f"gates do not let version {version} of {name} pass: {', '.join(bad)}", hint=otherwise)
