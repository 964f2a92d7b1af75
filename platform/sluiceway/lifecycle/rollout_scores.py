"""What the scores of a rollout's two models are: their kind, and of regressions what counts as a large difference."""

from __future__ import annotations

from collections.abc import Sequence

from sluiceway.config.deployment import PolicySection
from sluiceway.core.errors import InputError
from sluiceway.core.pairs import BINARY, Kind, Scores
from sluiceway.core.traffic import Arm
from sluiceway.lifecycle.context import Context
from sluiceway.rollout.regression import refuse_accuracy

# Answers of the champion that its spread is taken from, at least.
FEWEST = 100


def scores_of(
    context: Context, policy: PolicySection, endpoint: str, *, champion: Arm, challengers: Sequence[Arm]
) -> Scores:
    """Fixed before the first request is judged, as a test's bounds have to be; challengers are read for it.

    Args:
        context: of the rollout.
        policy: what the rollout is judged by.
        endpoint: whose answers tell the spread of the champion's scores.
        champion: the arm that answers today.
        challengers: the new version, and further ones.

    Raises:
        InputError: the models are of different kinds, nobody knows the spread of a regression, or it would be judged by
            an accuracy that it cannot have.
        ModelError: a bundle is missing or damaged.
    """
    margins = policy.margins
    kinds = {arm.version: _kind(context, arm) for arm in challengers}
    if "regression" in kinds.values():
        refuse_accuracy(policy, endpoint)
    if margins.score_shift is None and margins.loss is None:
        return BINARY  # what nobody asks for
    kind = _kind(context, champion)
    for version, other in kinds.items():
        if other != kind:
            raise InputError(
                f"the champion of {endpoint} is a {kind} model, version {version} a {other} one: "
                "their scores and losses cannot be compared",
                hint="leave deployment.margins.score_shift and loss out",
            )
    if kind != "regression":
        return Scores(kind)
    return Scores("regression", margins.scale or _spread(context, endpoint, champion))


def _spread(context: Context, endpoint: str, champion: Arm) -> float:
    n, spread = context.stores.comparisons.spread(endpoint, champion.version)
    if n < FEWEST or spread <= 0:
        raise InputError(
            f"the spread of the scores of {endpoint}'s champion cannot be told from {n:,} answers",
            hint="set deployment.margins.scale to the difference of two predictions that counts as 1",
        )
    return spread


def _kind(context: Context, arm: Arm) -> Kind:
    kind: Kind = context.bundles.get(arm.bundle, arm.digest).decision["kind"]
    return kind
