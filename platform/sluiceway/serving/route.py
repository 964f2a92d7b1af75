"""A traffic document with its models loaded: what a replica follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sluiceway.core.classes import Class
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry import bundle
from sluiceway.serving.scorer import BundleScorer

CHAMPION, CHALLENGER = "champion", "challenger"

# The champion, the one before it (going back is instant), and the challengers of one rollout.
MODELS_IN_MEMORY = 4


@dataclass(frozen=True, eq=False)
class LoadedArm:
    """An arm whose bundle is in memory.

    Attributes:
        arm: as in the traffic document.
        name: ``champion`` or ``challenger``.
        scorer: its model: scores the champion, encodes and decides for a challenger, whose deployment scores.
        encoded_like_champion: False where it knows other categories, or the same in another order.
    """

    arm: Arm
    name: str
    scorer: BundleScorer
    encoded_like_champion: bool = True


@dataclass(frozen=True, eq=False)
class Route:
    """What a replica does with a request at one generation.

    Attributes:
        document: the traffic document.
        champion: scored in process.
        challengers: scored by their own applications.
    """

    document: TrafficDocument
    champion: LoadedArm
    challengers: tuple[LoadedArm, ...]

    @property
    def generation(self) -> int:
        """Of the document."""
        return self.document.generation

    @property
    def arms(self) -> tuple[LoadedArm, ...]:
        """The champion and the challengers."""
        return (self.champion, *self.challengers)

    @property
    def outcomes(self) -> Mapping[Class, float] | None:
        """What an outcome can be, for any of the arms, and the number that is kept for it; None: any number."""
        if self.champion.scorer.outcomes is None:
            return None
        return {value: code for arm in self.arms for value, code in (arm.scorer.outcomes or {}).items()}

    def draw(self, number: float) -> LoadedArm:
        """The arm that a uniform number in [0, 1) falls on."""
        for challenger in self.challengers:
            number -= challenger.arm.weight
            if number < 0:
                return challenger
        return self.champion


def load_route(
    document: TrafficDocument,
    loaded: Mapping[str, BundleScorer],
    *,
    load: Callable[[Arm], BundleScorer],
) -> tuple[Route, dict[str, BundleScorer]]:
    """Load what a document names and is not in memory yet.

    Args:
        document: the traffic document.
        loaded: models in memory by digest, oldest use first.
        load: reads one from its bundle.

    Returns:
        The route, and the models to keep in memory, oldest use first.

    Raises:
        ModelError: a bundle is missing, damaged or another one than the document says.
    """
    kept = dict(loaded)
    for arm in (*document.challengers, document.champion):
        scorer = kept.pop(arm.digest, None) or load(arm)
        kept[arm.digest] = scorer
    needed = 1 + len(document.challengers)
    newest = list(kept.items())[-max(MODELS_IN_MEMORY, needed) :]
    champion = LoadedArm(document.champion, CHAMPION, kept[document.champion.digest])
    challengers = tuple(
        LoadedArm(arm, CHALLENGER, kept[arm.digest], kept[arm.digest].schema == champion.scorer.schema)
        for arm in document.challengers
    )
    return Route(document, champion, challengers), dict(newest)


def load_scorer(arm: Arm) -> BundleScorer:
    """Read an arm's bundle, check its digest, and score one row so that the first client does not pay for it.

    Raises:
        ModelError: the bundle is missing, damaged or another one.
    """
    scorer = BundleScorer(bundle.read(arm.bundle.removeprefix("file://"), digest=arm.digest), threads=1)
    scorer.score_matrix(np.full((1, len(scorer.schema.names)), np.nan, dtype=np.float32))
    return scorer
