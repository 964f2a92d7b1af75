"""A traffic document with its models loaded: what a replica follows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sluiceway.config.serving import BreakerSection
from sluiceway.core.classes import Class
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry import bundle
from sluiceway.serving.breaker import Breaker
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.split import CHAMPION as NOBODY
from sluiceway.serving.split import Split

CHAMPION, CHALLENGER, SHADOW, WARM, PINNED = "champion", "challenger", "shadow", "warm", "pinned"

# The champion, the one before it (going back is instant), and the challengers of one rollout.
MODELS_IN_MEMORY = 4


@dataclass(frozen=True, eq=False)
class LoadedArm:
    """An arm whose bundle is in memory.

    Attributes:
        arm: as in the traffic document.
        name: ``champion``, ``challenger``, ``shadow``, ``warm``, or ``pinned`` for a request that names its version.
        scorer: its model: scores the champion, encodes and decides for a challenger, whose deployment scores.
        encoded_like_champion: False where it knows other categories, or the same in another order.
        breaker: of a challenger: whether this replica still asks it.
    """

    arm: Arm
    name: str
    scorer: BundleScorer
    encoded_like_champion: bool = True
    breaker: Breaker | None = None


@dataclass(frozen=True, eq=False)
class Route:
    """What a replica does with a request at one generation.

    Attributes:
        document: the traffic document.
        champion: scored in process.
        challengers: scored by their own applications, or in process; the share of one of the document that is not among
            them is the champion's.
        shadows: scored beside the arm that answers.
        warm: loaded, without requests.
    """

    document: TrafficDocument
    champion: LoadedArm
    challengers: tuple[LoadedArm, ...]
    shadows: tuple[LoadedArm, ...] = ()
    warm: tuple[LoadedArm, ...] = ()

    @property
    def generation(self) -> int:
        """Of the document."""
        return self.document.generation

    @property
    def arms(self) -> tuple[LoadedArm, ...]:
        """The champion, the challengers and the shadows: whoever scores requests."""
        return (self.champion, *self.challengers, *self.shadows)

    @property
    def remote(self) -> tuple[LoadedArm, ...]:
        """Those of the arms that an application of their own scores."""
        return tuple(arm for arm in self.arms if arm.arm.application)

    @cached_property
    def pinned(self) -> Mapping[str, LoadedArm]:
        """By version, every arm as it answers a request that names it; its counts are no evidence of a rollout."""
        return {arm.arm.version: replace(arm, name=PINNED, breaker=None) for arm in (*self.arms, *self.warm)}

    @property
    def outcomes(self) -> Mapping[Class, float] | None:
        """What an outcome can be, for any of the arms, and the number that is kept for it; None: any number.

        What is kept warm counts too: as the champion of before it has predicted what outcomes still come for.
        """
        if self.champion.scorer.outcomes is None:
            return None
        return {value: code for arm in (*self.warm, *self.arms) for value, code in (arm.scorer.outcomes or {}).items()}

    def draw(self, key: str | None) -> LoadedArm:
        """The arm that a request is for: by its key, or by chance where it has none.

        A challenger whose breaker is open gets nothing more; what was its share is the champion's.
        """
        if not self.challengers:
            return self.champion
        arm = self._drawn[self._split.of_key(key) if key else self._split.by_chance()]
        return self.champion if arm.breaker is not None and arm.breaker.reason else arm

    def shadowing(self, key: str | None) -> tuple[LoadedArm, ...]:
        """The shadows that see a request, each drawn on its own."""
        return tuple(
            arm for arm, split in self._shadow_splits if (split.of_key(key) if key else split.by_chance()) != NOBODY
        )

    def described(self) -> list[dict[str, str | float]]:
        """The arms that score requests, with the weights that this replica gives them now.

        The share of a challenger that it asks no more, or has not loaded, is the champion's; the reason of the first
        stands beside its 0.
        """
        closed = [arm for arm in self.challengers if arm.breaker and arm.breaker.reason]
        asked = {arm.arm.version for arm in self.challengers if arm not in closed}
        gained = sum(arm.weight for arm in self.document.challengers if arm.version not in asked)
        told: list[dict[str, str | float]] = []
        for arm in self.arms:
            weight = 0.0 if arm in closed else arm.arm.weight
            if arm is self.champion:
                weight = round(weight + gained, 12)
            entry: dict[str, str | float] = {"arm": arm.name, "version": arm.arm.version, "weight": weight}
            if arm in closed and arm.breaker:
                entry["breaker"] = arm.breaker.reason
            told.append(entry)
        return told

    @cached_property
    def _drawn(self) -> tuple[LoadedArm, ...]:
        loaded = {arm.arm.version: arm for arm in self.challengers}
        return (*(loaded.get(arm.version, self.champion) for arm in self.document.challengers), self.champion)

    @cached_property
    def _split(self) -> Split:
        # By the document: keys stay on their arms also where one of the others is not loaded here.
        return Split([arm.weight for arm in self.document.challengers], salt=self.document.salt)

    @cached_property
    def _shadow_splits(self) -> tuple[tuple[LoadedArm, Split], ...]:
        salt = self.document.salt
        return tuple((arm, Split([arm.arm.weight], salt=shadow_salt(salt, arm.arm.version))) for arm in self.shadows)


def shadow_salt(salt: str, version: str) -> str:
    """The salt by which keys are drawn for a shadow: whom it sees does not depend on who answers."""
    return f"{salt}/shadow/{version}"


def load_route(
    document: TrafficDocument,
    loaded: Mapping[str, BundleScorer],
    *,
    load: Callable[[Arm], BundleScorer],
    breaker: BreakerSection | None = None,
    absent: Collection[str] = (),
) -> tuple[Route, dict[str, BundleScorer]]:
    """Load what a document names and is not in memory yet.

    Args:
        document: the traffic document.
        loaded: models in memory by digest, oldest use first.
        load: reads one from its bundle.
        breaker: when the replica stops asking a challenger; the default limits where it is left out.
        absent: versions that are left out, none of them the champion.

    Returns:
        The route, its breakers closed, and the models to keep in memory, oldest use first.

    Raises:
        ModelError: a bundle is missing, damaged or another one than the document says.
    """
    kept = dict(loaded)
    for arm in (*document.warm, *document.shadows, *document.challengers, document.champion):
        if arm.version in absent:
            continue
        scorer = kept.pop(arm.digest, None) or load(arm)
        kept[arm.digest] = scorer
    needed = len(document.arms)
    newest = list(kept.items())[-max(MODELS_IN_MEMORY, needed) :]
    champion = LoadedArm(document.champion, CHAMPION, kept[document.champion.digest])
    limits = breaker or BreakerSection()

    def of(arms: tuple[Arm, ...], name: str) -> tuple[LoadedArm, ...]:
        scorers = [(arm, kept[arm.digest]) for arm in arms if arm.version not in absent]
        return tuple(
            LoadedArm(
                arm,
                name,
                found,
                encoded_like_champion=found.schema == champion.scorer.schema,
                breaker=Breaker(limits) if name == CHALLENGER else None,
            )
            for arm, found in scorers
        )

    challengers, shadows = of(document.challengers, CHALLENGER), of(document.shadows, SHADOW)
    # Whoever is kept warm is in memory here; a deployment that it had as a challenger may be gone.
    warm = of(tuple(replace(arm, application="") for arm in document.warm), WARM)
    return Route(document, champion, challengers, shadows, warm), dict(newest)


def load_scorer(arm: Arm) -> BundleScorer:
    """Read an arm's bundle, check its digest, and score one row so that the first client does not pay for it.

    Raises:
        ModelError: the bundle is missing, damaged or another one.
    """
    scorer = BundleScorer(bundle.read(arm.bundle.removeprefix("file://"), digest=arm.digest), threads=1)
    scorer.score_matrix(np.full((1, len(scorer.schema.names)), np.nan, dtype=np.float32))
    return scorer
