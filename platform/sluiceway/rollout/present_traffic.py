"""How many requests an endpoint gets now, from what its replicas have counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from sluiceway.catalog.records import ArmCounts
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.rollout.forecast import Traffic

LOOK_SECONDS = 5.0


class _Documents(Protocol):
    def newest(self, endpoint: str) -> TrafficDocument | None:
        """The document with the highest generation."""


class _Counts(Protocol):
    def counts(self, endpoint: str, generations: Sequence[int]) -> list[ArmCounts]:
        """Counts of every arm in the given generations."""


class Counted(Protocol):
    """What is needed of :class:`sluiceway.catalog.stores.Stores`."""

    @property
    def traffic(self) -> _Documents:
        """The traffic documents."""

    @property
    def records(self) -> _Counts:
        """What replicas have counted."""


def measured(stores: Counted, endpoint: str, rate: float | None, *, seconds: float = LOOK_SECONDS) -> Traffic:
    """The present traffic: two looks at the counts, and what has failed of them.

    Args:
        stores: of the catalog.
        endpoint: its name.
        rate: requests a second, where somebody knows better; nothing is waited for then.
        seconds: between the two looks.

    Raises:
        InputError: no rate is given, and there is no endpoint, or nobody asks it anything.
    """
    document = stores.traffic.newest(endpoint)
    if document is None:
        if rate is None:
            raise InputError(f"there is no endpoint {endpoint} yet", hint="give the requests a second: --rate 50")
        return Traffic(rate)
    generation = [document.generation]
    before = stores.records.counts(endpoint, generation)
    if rate is None:
        begun, first = time.monotonic(), _requests(before)
        time.sleep(seconds)
        before = stores.records.counts(endpoint, generation)
        rate = (_requests(before) - first) / (time.monotonic() - begun)
        if rate <= 0:
            why = f"nobody has asked {endpoint} anything for {seconds:g} s"
            raise InputError(why, hint="give the requests a second: --rate 50")
    champion = [arm for arm in before if arm.arm == "champion"]
    asked = _requests(champion)
    return Traffic(rate, sum(arm.errors for arm in champion) / asked if asked else 0.0)


def _requests(arms: Sequence[ArmCounts]) -> int:
    # A shadow is asked beside who answers.
    return sum(arm.requests for arm in arms if arm.arm != "shadow")
