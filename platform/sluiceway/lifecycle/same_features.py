"""Refuses a challenger with other features than the champion: it gets the requests that are meant for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm
from sluiceway.registry.bundle import Bundle


def refuse_other_features(
    endpoint: str, champion: Arm, challengers: Iterable[Arm], *, bundle: Callable[[Arm], Bundle]
) -> None:
    """Refuse a challenger or a shadow that every request would fail of.

    Args:
        endpoint: its name.
        champion: the arm that answers.
        challengers: that are to be asked beside it.
        bundle: reads an arm's.

    Raises:
        InputError: one has other features.
        ModelError: a bundle is not there, or damaged.
    """
    theirs = features(bundle(champion))
    for arm in challengers:
        other = sorted(theirs ^ features(bundle(arm)))
        if other:
            raise InputError(
                f"version {arm.version} has other features than the champion, version {champion.version}: "
                f"{', '.join(other)}",
                hint="it can only become the champion itself, with all requests at once: "
                f"`sluiceway serve traffic {endpoint} --switch {arm.version}`",
            )


def features(bundle: Bundle) -> set[str]:
    """The names of a model's features."""
    return {feature["name"] for feature in bundle.schema["features"]}
