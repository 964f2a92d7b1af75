"""What a rollout brings up beside its version: a fresh baseline, or the further versions of an A/B/n test."""

from __future__ import annotations

from dataclasses import replace

from sluiceway.config.deployment import PolicySection
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm
from sluiceway.lifecycle.context import Context
from sluiceway.rollout.plan import fresh_baseline
from sluiceway.serving.specs import ChallengerSpec


def further_arms(context: Context, policy: PolicySection, *, endpoint: str, champion: Arm) -> tuple[Arm, ...]:
    """The arms beside the version that is rolled out, as the registry has them.

    Args:
        context: what to work with.
        policy: of the environment.
        endpoint: name of the endpoint.
        champion: the arm that answers today.

    Raises:
        ModelError: a version of the test is not registered.
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
            version, bundle = context.registry.bundle(context.experiment.name, name)
            found.append(Arm(version, 0.0, context.bundles.put(bundle), bundle.digest))
    if not beside:
        return tuple(found)
    return tuple(replace(arm, application=spec_of(context, endpoint, arm).application) for arm in found)


def spec_of(context: Context, endpoint: str, arm: Arm) -> ChallengerSpec:
    """The deployment of such an arm."""
    return ChallengerSpec(endpoint, arm.version, arm.bundle, arm.digest, None, context.serving)
