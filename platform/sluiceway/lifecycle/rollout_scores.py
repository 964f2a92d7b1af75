"""What the scores of a rollout's two models are: their kind, and of regressions what counts as a large difference."""

from __future__ import annotations

from sluiceway.core.errors import InputError
from sluiceway.core.pairs import BINARY, Kind, Scores
from sluiceway.core.traffic import Arm
from sluiceway.lifecycle.context import Context

# Answers of the champion that its spread is taken from, at least.
FEWEST = 100


def scores_of(context: Context, endpoint: str, *, champion: Arm, challenger: Arm) -> Scores:
    """Fixed before the first request is judged, as a test's bounds have to be.

    Args:
        context: of the rollout.
        endpoint: whose answers tell the spread of the champion's scores.
        champion: the arm that answers today.
        challenger: the new version.

    Raises:
        InputError: the models are of different kinds, or nobody knows the spread of a regression.
        ModelError: a bundle is missing or damaged.
    """
    margins = context.deployment.margins
    if margins.score_shift is None and margins.loss is None:
        return BINARY  # what nobody asks for
    kinds = {name: _kind(context, arm) for name, arm in (("champion", champion), ("challenger", challenger))}
    if len(set(kinds.values())) > 1:
        raise InputError(
            f"the champion of {endpoint} is a {kinds['champion']} model, version {challenger.version} a "
            f"{kinds['challenger']} one: their scores and losses cannot be compared",
            hint="leave deployment.margins.score_shift and loss out",
        )
    if kinds["challenger"] != "regression":
        return Scores(kinds["challenger"])
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
