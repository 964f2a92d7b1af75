"""The registry's aliases after a rollout: whatever cut its moves off, and whatever they were before."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from rollout_world import make_plan
from sluiceway.catalog.stores import stores_on
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle.rollout_aliases import give_back, hand_over
from sluiceway.registry.mlflow_registry import Registry


class Aliases(Registry):
    """A registry of versions 0 to 3 that goes away at one of its writes."""

    def __init__(self, **aliases):
        self.aliases, self.writes_left, self.known = dict(aliases), 1000, ["0", "1", "2", "3"]

    def versions(self, name):
        return tuple(SimpleNamespace(version=version, retired=None) for version in self.known)

    def alias(self, name, alias):
        return self.aliases.get(alias)

    def set_alias(self, name, alias, version):
        self._write()
        self.aliases[alias] = version

    def remove_alias(self, name, alias):
        if alias in self.aliases:
            self._write()
            del self.aliases[alias]

    def _write(self):
        self.writes_left -= 1
        if self.writes_left < 0:
            raise BackendError("MLflow went away")


@pytest.fixture
def stores(catalog):
    """Version 1 answers, and version 0 did before it."""
    stores = stores_on(catalog, "sqlite://")
    for generation, version in enumerate(("0", "1"), start=1):
        stores.traffic.publish(TrafficDocument("flights", generation, Arm(version, 1.0, "b", "d")))
    return stores


BEFORE = {"champion": "1", "previous": "0"}


@pytest.mark.parametrize("writes", range(4))
@pytest.mark.parametrize("ends", ["promoted", "undone"])
def test_a_promotion_that_is_cut_off_ends_as_one_that_is_not(stores, writes, ends):
    registry = Aliases(**BEFORE, challenger="2")
    registry.writes_left = writes
    with contextlib.suppress(BackendError):
        hand_over(registry, make_plan())
    for left in range(4):
        registry.writes_left = left
        with contextlib.suppress(BackendError):
            hand_over(registry, make_plan()) if ends == "promoted" else give_back(registry, make_plan(), stores)
    assert registry.aliases == ({"champion": "2", "previous": "1"} if ends == "promoted" else BEFORE)


def test_who_is_replaced_is_who_answered_whatever_the_alias_says(stores):
    registry = Aliases(champion="3", previous="1")  # version 3 was undone where nobody knew the registry
    hand_over(registry, make_plan())
    assert registry.aliases == {"champion": "2", "previous": "1"}


def test_a_version_that_the_registry_no_longer_has_is_nobody_s_previous_one(stores):
    registry = Aliases(champion="1", previous="0")
    registry.known.remove("1")
    hand_over(registry, make_plan())
    assert registry.aliases == {"champion": "2"}
