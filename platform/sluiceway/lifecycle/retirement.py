"""Takes versions of a model out of service for good: what still needs one keeps it from that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sluiceway.catalog.stores import Stores
from sluiceway.core.errors import BackendError, InputError, ModelError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle.champion_before import champion_before
from sluiceway.registry.mlflow_registry import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Registry
from sluiceway.registry.store import BundleStore
from sluiceway.registry.versions import RETIRED_BY_TAG, RETIRED_REASON_TAG, RETIRED_TAG
from sluiceway.rollout.journal import Journal, unfinished

ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)


@dataclass(frozen=True)
class Retired:
    """What has become of a version.

    Attributes:
        model: name of the model.
        version: its number.
        since: when it was retired, ISO text; None: it is not retired any more.
        consequences: what does not work any more that did, one line each.
        deleted: the places whose files were deleted.
    """

    model: str
    version: str
    since: str | None
    consequences: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def refuse_retired(registry: Registry, name: str, version_or_alias: str) -> None:
    """Refuse a version that is retired.

    Raises:
        ModelError: it is, or there is no such version.
    """
    found = registry.version(name, version_or_alias)
    if found.retired is not None:
        why = found.tags.get(RETIRED_REASON_TAG)
        raise ModelError(
            f"version {found.version} of {name} is retired since {found.retired}{f': {why}' if why else ''}",
            hint=f"`sluiceway models retire {name}@{found.version} --undo`, or roll out another version",
        )


def refuse_retired_by_hand(registry: Registry, name: str, version_or_alias: str) -> None:
    """As :func:`refuse_retired`, where somebody moves traffic in need: MLflow being away keeps nobody from that.

    Raises:
        ModelError: the version is retired.
    """
    try:
        registry.version(name, version_or_alias)
    except (ModelError, BackendError):  # an endpoint knows versions that the registry has lost
        return
    refuse_retired(registry, name, version_or_alias)


class Retirement:
    """Retires the versions of one model.

    Args:
        name: of the model.
        registry: that has it.
        stores: the catalog's, which say who needs a version.
        bundles: where replicas read models.
    """

    def __init__(self, name: str, *, registry: Registry, stores: Stores, bundles: BundleStore) -> None:
        self._name, self._registry, self._stores, self._bundles = name, registry, stores, bundles

    def retire(
        self, version: str, *, reason: str, who: str, now: datetime, force: bool = False, delete_files: bool = False
    ) -> Retired:
        """Retire a version; a second time only deletes what is to be deleted.

        Args:
            version: number or alias.
            reason: why, for whoever finds it later.
            who: retires it.
            now: the time.
            force: also a version that `rollout undo` goes back to.
            delete_files: delete its booster, here and in MLflow; what it was and came from stays.

        Raises:
            InputError: something needs it: nothing is changed.
            ModelError: there is no such version.
            BackendError: catalog or MLflow do not answer, or files cannot be deleted.
        """
        found = self._registry.version(self._name, version)
        consequences = self._check(found, force=force, delete_files=delete_files)
        since = found.retired or now.isoformat(timespec="seconds")
        if found.retired is None:
            self._registry.tag(
                self._name,
                found.version,
                {RETIRED_REASON_TAG: reason, RETIRED_BY_TAG: who, RETIRED_TAG: since},
            )
            self._withdraw_if_needed_now(found, force=force)
        deleted = self._delete(found) if delete_files else ()
        return Retired(self._name, found.version, since, consequences, deleted)

    def undo(self, version: str) -> Retired:
        """Take a retirement back.

        Raises:
            InputError: it is not retired, or its files are gone.
        """
        found = self._registry.version(self._name, version)
        if found.retired is None:
            raise InputError(f"version {found.version} of {self._name} is not retired")
        if found.deleted is not None:
            raise InputError(
                f"the files of version {found.version} of {self._name} were deleted, {found.deleted}",
                hint="train or import the same model again: that brings them back, and then this works",
            )
        self._untag(found)
        return Retired(self._name, found.version, None)

    def _check(self, found: ModelVersion, *, force: bool, delete_files: bool) -> tuple[str, ...]:
        """See that nothing needs a version; gives what is lost all the same."""
        needs = list(self._needs(found))
        if needs:
            raise InputError(
                f"version {found.version} of {self._name} cannot be retired: {'; '.join(needs)}",
                hint="move the traffic first; what serves, or is being rolled out, is never retired",
            )
        back = [endpoint for endpoint in self._stores.traffic.endpoints() if self._goes_back(endpoint, found)]
        lost = tuple(
            f"`sluiceway rollout undo {endpoint}` "
            + ("finds no files to go back to" if delete_files else f"goes back to the retired version {found.version}")
            for endpoint in back
        )
        if lost and not force:
            raise InputError(
                f"version {found.version} of {self._name} is what {', '.join(back)} can go back to",
                hint=f"with --force it is retired all the same, and then {' and '.join(lost)}",
            )
        return lost

    def _needs(self, found: ModelVersion) -> Iterator[str]:
        yield from (f"it is {self._name}@{alias}" for alias in ALIASES if alias in found.aliases)
        for endpoint in self._stores.traffic.endpoints():
            newest = self._stores.traffic.newest(endpoint)
            if newest is not None:
                yield from _parts(newest, found)
        yield from self._under_way(found)

    def _under_way(self, found: ModelVersion) -> Iterator[str]:
        rollouts = self._stores.rollouts
        for endpoint in sorted({row.endpoint for row in rollouts.list()}):
            for rollout_id in unfinished(rollouts, endpoint):
                plan = Journal.open(rollouts, rollout_id).plan
                champion = plan.champion.version if plan.champion else None
                if plan.model == self._name and found.version in (plan.version, champion):
                    role = "rolls it out" if plan.version == found.version else "may go back to it"
                    yield f"rollout {rollout_id} {role} and has not ended"

    def _goes_back(self, endpoint: str, found: ModelVersion) -> bool:
        """Whether the champion before the present one is this version."""
        newest = self._stores.traffic.newest(endpoint)
        if newest is None:
            return False
        before = champion_before(self._stores, endpoint, version=newest.champion.version)
        return before is not None and _is(before, found)

    def _withdraw_if_needed_now(self, found: ModelVersion, *, force: bool) -> None:
        """A rollout that began meanwhile has not seen the tag: it wins."""
        try:
            self._check(self._registry.version(self._name, found.version), force=force, delete_files=False)
        except InputError:
            self._untag(found)
            raise

    def _untag(self, found: ModelVersion) -> None:
        tags = (RETIRED_TAG, RETIRED_BY_TAG, RETIRED_REASON_TAG)
        self._registry.tag(self._name, found.version, dict.fromkeys(tags))

    def _delete(self, found: ModelVersion) -> tuple[str, ...]:
        self._registry.delete_model(self._name, found.version)
        places = [f"run {found.run_id}"]
        if not self._shared(found):
            self._bundles.remove(found.digest)
            places.append(str(self._bundles.root / found.digest))
        return tuple(places)

    def _shared(self, found: ModelVersion) -> bool:
        """Whether the bundle is another version's, too, or an endpoint's."""
        versions = [
            (name, one)
            for name in self._registry.names()
            for one in self._registry.versions(name)
            if one.digest == found.digest and one.deleted is None
        ]
        serving = [self._stores.traffic.newest(endpoint) for endpoint in self._stores.traffic.endpoints()]
        return bool(versions) or any(arm.digest == found.digest for one in serving if one for arm in one.arms)


def _parts(document: TrafficDocument, found: ModelVersion) -> Iterator[str]:
    roles: tuple[tuple[str, Sequence[Arm]], ...] = (
        ("the champion", (document.champion,)),
        ("a challenger", document.challengers),
        ("a shadow", document.shadows),
        ("kept warm", document.warm),
    )
    for role, arms in roles:
        if any(_is(arm, found) for arm in arms):
            yield f"it is {role} of {document.endpoint}"


def _is(arm: Arm, found: ModelVersion) -> bool:
    # A version's bundle names its model, so that number and digest together are nobody else's.
    return arm.version == found.version and arm.digest == found.digest
