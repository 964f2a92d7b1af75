"""What a rollout of a regression cannot be judged by."""

from __future__ import annotations

from sluiceway.config.deployment import PolicySection
from sluiceway.core.errors import InputError


def refuse_accuracy(policy: PolicySection, endpoint: str) -> None:
    """Refuse what would judge numbers by how often they equal their outcome: no step would end well by that.

    Args:
        policy: of a rollout between two regressions.
        endpoint: for the message.

    Raises:
        InputError: the accuracy would decide, as a metric, as a limit, or in an A/B/n test.
    """
    told = f"{endpoint} answers with numbers, which have no accuracy"
    if policy.strategy == "ab" and policy.ab.metric == "accuracy":
        raise InputError(
            f"{told} to be better in",
            hint="set deployment.ab.metric to error_rate, or take a canary with deployment.margins.loss",
        )
    if policy.limits.accuracy is not None:
        raise InputError(f"{told} to be held to", hint="leave deployment.limits.accuracy out")
    if policy.margins.loss is None and "accuracy" not in policy.dry_run:
        raise InputError(
            f"{told} to be judged by",
            hint="set deployment.margins.loss, e.g. to 0.05: how much larger the error may be, in spreads of the "
            "champion's answers (or in margins.scale)",
        )
