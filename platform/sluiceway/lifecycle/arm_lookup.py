"""Finds the arm that a person names by a version: one that the endpoint has or had, or one of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from sluiceway.catalog.stores import Stores
from sluiceway.core.errors import InputError, ModelError, SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle.champion_before import champion_before, has_gone_back
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.store import BundleStore
from sluiceway.rollout.plan import RolloutPlan

# A registered version by its model's name and its own number or alias: its number, and its bundle.
Registered = Callable[[str, str], tuple[str, Bundle]]


class ArmLookup:
    """The arms of one endpoint by what people call them; whatever it gives can be loaded by a replica.

    Args:
        endpoint: its name.
        stores: the catalog's.
        bundles: where replicas read models.
        registered: looks a version up that the endpoint has not had yet, or whose bundle is damaged.
        refuse: raises where a version, by its model's name and its number or alias, may get no traffic any more.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        stores: Stores,
        bundles: BundleStore,
        registered: Registered,
        refuse: Callable[[str, str], None] = lambda model, version: None,
    ) -> None:
        self._endpoint, self._stores = endpoint, stores
        self._bundles, self._registered, self._refuse = bundles, registered, refuse

    def arms(self, now: TrafficDocument, names: Iterable[str]) -> dict[str, Arm]:
        """The arms by name; those that have no part in the traffic yet have no application.

        Args:
            now: the newest document.
            names: numbers of versions, or aliases of the registry.

        Raises:
            ModelError: a version is not there, is retired, or its bundle is damaged and the registry does not give it.
            InputError: two names are of one version.
        """
        found = {name: self._arm(now, name) for name in names}
        versions = [arm.version for arm in found.values()]
        twice = [version for version in versions if versions.count(version) > 1]
        if twice:
            raise InputError(f"version {twice[0]} is named twice: {', '.join(found)}")
        return found

    def before(self, now: TrafficDocument) -> Arm:
        """The champion before the present one, but for one whose promotion was undone.

        Args:
            now: the newest document.

        Raises:
            InputError: there was none, or a rollout has gone back already: before its champion is another one.
            ModelError: its bundle is not there any more, or damaged, and the registry does not give it.
        """
        present = now.champion.version
        if has_gone_back(self._stores.rollouts, now.rollout_id):
            raise InputError(
                f"{self._endpoint} has gone back to version {present} already: "
                f"rollout {now.rollout_id} was rolled back",
                hint=f"`sluiceway rollout undo {self._endpoint} --to VERSION` goes to another champion that it has had",
            )
        before = champion_before(self._stores, self._endpoint, version=present)
        if before is None:
            raise InputError(f"{self._endpoint} has had no champion before version {present}")
        self._make_usable(before)
        return before

    def bundle(self, arm: Arm) -> Bundle:
        """An arm's bundle, checked.

        Raises:
            ModelError: it is not there, or another one.
        """
        return self._bundles.get(arm.bundle, arm.digest)

    def _arm(self, now: TrafficDocument, name: str) -> Arm:
        if name not in [arm.version for arm in now.arms] and self._stores.rollouts.list(self._endpoint):
            self._refuse(self._model(), name)
        arm = self._known(now, name)
        if arm is None:
            version, bundle = self._registered(self._model(), name)
            arm = self._known(now, version) or Arm(version, 0.0, self._bundles.put(bundle), bundle.digest)
        self._make_usable(arm)
        return arm

    def _make_usable(self, arm: Arm) -> None:
        """Repair a bundle that is damaged or gone, where the registry has the same one."""
        try:
            self.bundle(arm)
        except ModelError:
            with suppress(SluicewayError):  # what is wrong with the bundle says more
                _, bundle = self._registered(self._model(), arm.version)
                if bundle.digest == arm.digest:
                    self._bundles.put(bundle)
            self.bundle(arm)

    def _known(self, now: TrafficDocument, version: str) -> Arm | None:
        present = [arm for arm in now.arms if arm.version == version]
        if present:
            return present[0]
        documents = self._stores.traffic.history(self._endpoint)
        earlier = next((arm for document in documents for arm in document.arms if arm.version == version), None)
        return None if earlier is None else replace(earlier, application="")

    def _model(self) -> str:
        rollouts = self._stores.rollouts.list(self._endpoint)
        if not rollouts:
            raise ModelError(
                f"no rollout of {self._endpoint} says which registered model it serves",
                hint="name a version that the endpoint has had",
            )
        return RolloutPlan.from_json(rollouts[0].plan).model
