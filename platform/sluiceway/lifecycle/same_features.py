"""Refuses a challenger with other features than the champion: it gets the requests that are meant for that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm
from sluiceway.registry.bundle import Bundle


def refuse_other_features(
    endpoint: str,
    champion: Arm,
    challengers: Iterable[Arm],
    *,
    bundle: Callable[[Arm], Bundle],
    extra: Collection[str],
) -> None:
    """Refuse a challenger or a shadow that every request would fail of.

    Args:
        endpoint: its name.
        champion: the arm that answers.
        challengers: that are to be asked beside it.
        bundle: reads an arm's.
        extra: fields that clients may send beside the champion's features: a challenger may ask for these, too, and
            one that does not know such a feature of the champion leaves it alone.

    Raises:
        InputError: one has other features.
        ModelError: a bundle is not there, or damaged.
    """
    theirs = bundle(champion)
    for arm in challengers:
        other = other_features(theirs, bundle(arm), extra=extra)
        if other:
            raise InputError(
                f"version {arm.version} has other features than the champion, version {champion.version}: "
                f"{', '.join(other)}",
                hint="name what clients may send in platform.serving.input.extra; else it can only become the champion "
                f"itself, with all requests at once: `sluiceway serve traffic {endpoint} --switch {arm.version}`",
            )


def other_features(champion: Bundle, other: Bundle, *, extra: Collection[str]) -> list[str]:
    """The features that only one of two models has, but for what clients may send: see :func:`refuse_other_features`.

    Args:
        champion: the model that answers.
        other: the one that is asked beside it.
        extra: fields that clients may send beside the champion's features.
    """
    return sorted((_features(champion) ^ _features(other)).difference(extra))


def _features(bundle: Bundle) -> set[str]:
    return {feature["name"] for feature in bundle.schema["features"]}
