"""The traffic documents of what a person asks for: other weights, another champion at once, shadows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm, TrafficDocument


def reweighted(now: TrafficDocument, weights: Mapping[str, float], arms: Mapping[str, Arm]) -> TrafficDocument:
    """The next generation with other weights; the champion stays who it is.

    Challengers keep their order, new ones come behind them: where a key falls depends on it. One that is to come back
    with the same keys is left there with weight 0.

    Args:
        now: the newest document.
        weights: by version; of the champion, what the others leave where it is not named. A challenger that is not
            named is one no more.
        arms: of every version that is named, but for the champion; their weights are not looked at.

    Raises:
        InputError: the weights do not sum to 1.
    """
    champion = now.champion
    others = {version: weight for version, weight in weights.items() if version != champion.version}
    share = weights.get(champion.version, max(0.0, 1.0 - sum(others.values())))
    known = [arm.version for arm in now.challengers if arm.version in others]
    order = [*known, *(version for version in others if version not in known)]
    generation = now.generation + 1
    return replace(
        now,
        generation=generation,
        champion=replace(champion, weight=share),
        challengers=tuple(replace(arms[version], weight=others[version]) for version in order),
        rollout_id="",
        shadows=_without(now.shadows, order),
        warm=_without(now.warm, order),
        # The cohorts of the challengers that are there stay; whoever begins anew has others than the last time.
        salt=now.salt if now.challengers else f"{now.endpoint}/{generation}",
    )


def switched(now: TrafficDocument, to: Arm) -> TrafficDocument:
    """The next generation with another champion, alone and at once; the one before it is kept warm.

    Args:
        now: the newest document.
        to: the new champion; scored in process, so that its application is not looked at.

    Raises:
        InputError: it is the champion already, and alone.
    """
    old = now.champion
    if to.version == old.version and not now.challengers:
        raise InputError(f"version {to.version} has all requests of {now.endpoint} already")
    warm = now.warm if to.version == old.version else (_in_process(old, 0.0),)
    return replace(
        now,
        generation=now.generation + 1,
        champion=_in_process(to, 1.0),
        challengers=(),
        rollout_id="",
        shadows=_without(now.shadows, [to.version, *(arm.version for arm in warm)]),
        warm=_without(warm, [to.version]),
    )


def shadowed(now: TrafficDocument, shares: Mapping[str, float], arms: Mapping[str, Arm]) -> TrafficDocument:
    """The next generation with other shadows; who answers stays the same.

    Args:
        now: the newest document.
        shares: of the requests that a version sees, by version; 0 takes it away. Shadows that are not named stay.
        arms: of every version that is named; their weights are not looked at.

    Raises:
        InputError: a version answers requests.
    """
    answering = [arm.version for arm in (now.champion, *now.challengers) if arm.version in shares]
    if answering:
        raise InputError(
            f"version {answering[0]} answers requests of {now.endpoint}",
            hint="a version is either an arm with a weight or a shadow",
        )
    seeing = tuple(replace(arms[version], weight=share) for version, share in shares.items() if share)
    return replace(
        now,
        generation=now.generation + 1,
        rollout_id="",
        shadows=(*_without(now.shadows, shares), *seeing),
        warm=_without(now.warm, [arm.version for arm in seeing]),
    )


def applications(document: TrafficDocument) -> set[str]:
    """The Serve applications that a document needs."""
    return {arm.application for arm in document.arms if arm.application}


def _in_process(arm: Arm, weight: float) -> Arm:
    return replace(arm, weight=weight, application="")


def _without(arms: Sequence[Arm], versions: Mapping[str, float] | Sequence[str]) -> tuple[Arm, ...]:
    return tuple(arm for arm in arms if arm.version not in versions)
