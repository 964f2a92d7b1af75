"""Moves an endpoint's traffic by hand: other weights, another champion at once, back again, shadows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from sluiceway.catalog.stores import Stores
from sluiceway.config.serving import ServingSection
from sluiceway.core.clock import Clock
from sluiceway.core.errors import BackendError, ConflictError, InputError, ModelError, SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle.arm_lookup import ArmLookup
from sluiceway.lifecycle.same_features import other_features, refuse_other_features
from sluiceway.rollout.journal import unfinished
from sluiceway.rollout.lease import hold_traffic
from sluiceway.serving.beside import redeploy_beside, spec_of_arm
from sluiceway.serving.rearrange import applications, reweighted, shadowed, switched
from sluiceway.serving.specs import ChallengerSpec

ONLY_IN_CATALOG = (
    "no Serve that runs it is known: the catalog has the new weights; replicas that run follow within a second, "
    "others when they start"
)


class RunningServe(Protocol):
    """What is done on a Serve that runs the endpoint."""

    def deploy(self, spec: ChallengerSpec) -> str:
        """Deploy a challenger, and wait until its model is loaded; gives the name of its application."""

    def remove(self, application: str) -> None:
        """Take a challenger away."""

    def remove_unasked(self, asked: Collection[str]) -> None:
        """Take all challengers of the endpoint away that are not among these applications."""

    def apply(self, document: TrafficDocument) -> None:
        """Make all replicas follow a document that is in the catalog; BackendError where one does not confirm."""


@dataclass(frozen=True)
class Changed:
    """What has become of the traffic.

    Attributes:
        document: the new one, in the catalog.
        confirmed: every replica follows it; else those that run do within a second, and others when they start.
        notes: what else is to be known, one line each.
    """

    document: TrafficDocument
    confirmed: bool
    notes: tuple[str, ...] = ()


class TrafficByHand:
    """The traffic of one endpoint in a person's hand; nothing moves while a rollout has it in its own.

    Args:
        endpoint: its name.
        stores: the catalog's.
        lookup: finds the versions that are named.
        serving: sizes and limits of challengers, and where they run.
        running: the Serve that runs the endpoint; None where none is known.
        clock: the time.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        stores: Stores,
        lookup: ArmLookup,
        serving: ServingSection,
        running: RunningServe | None,
        clock: Clock,
    ) -> None:
        self._endpoint, self._stores, self._lookup = endpoint, stores, lookup
        self._serving, self._running, self._clock = serving, running, clock

    def weights(self, weights: Mapping[str, float]) -> Changed:
        """Give the arms other weights: ``serving.rearrange.reweighted``.

        Args:
            weights: by version or alias.

        Raises:
            InputError: a rollout has the endpoint, the weights do not sum to 1, or a version cannot be used.
        """
        with self._held() as now:
            arms = self._lookup.arms(now, weights)
            given = {arms[name].version: weight for name, weight in weights.items()}
            found = {arm.version: arm for arm in arms.values()}
            self._check_features(now, found.values())
            return self._publish(now, reweighted(now, given, found))

    def switch(self, version: str) -> Changed:
        """Give a version all requests at once; the champion is kept warm. Shadows that cannot go on go, and are told.

        One that has them all already is asked for once more: a change that was not confirmed ends so.

        Args:
            version: its number or alias.

        Raises:
            InputError: as of :meth:`weights`.
        """
        with self._held() as now:
            to = self._lookup.arms(now, [version])[version]
            return self._once_more(now) if self._has_all(now, to) else self._switch(now, to)

    def back(self) -> Changed:
        """Give all requests to the champion before this one, as :meth:`switch`; the present one is kept warm.

        Raises:
            InputError: as of :meth:`weights`, or there was none.
        """
        with self._held() as now:
            return self._switch(now, self._lookup.before(now))

    def shadow(self, shares: Mapping[str, float]) -> Changed:
        """Let versions see shares of the requests: ``serving.rearrange.shadowed``.

        Args:
            shares: by version or alias; 0 takes one away.

        Raises:
            InputError: as of :meth:`weights`.
        """
        with self._held() as now:
            arms = self._lookup.arms(now, shares)
            given = {arms[name].version: share for name, share in shares.items()}
            found = {arm.version: arm for arm in arms.values()}
            self._check_features(now, [found[version] for version, share in given.items() if share])
            return self._publish(now, shadowed(now, given, found))

    @contextmanager
    def _held(self) -> Iterator[TrafficDocument]:
        """The newest document, while no rollout and nobody else may move the traffic."""
        known = self._stores.traffic.endpoints()
        if self._endpoint not in known:
            raise InputError(
                f"endpoint {self._endpoint} has had no model yet",
                hint=f"there are {', '.join(known)}" if known else "`sluiceway run CONFIG` rolls a first one out",
            )
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_traffic(self._stores.leases, self._endpoint, clock=self._clock))
            except ConflictError as error:
                raise InputError(
                    f"the traffic of {self._endpoint} cannot be moved by hand now: {error.message}", hint=error.hint
                ) from error
            now = self._stores.traffic.newest(self._endpoint)
            assert now is not None  # it is among the endpoints, and nothing is ever removed
            yield now

    def _check_features(self, now: TrafficDocument, arms: Iterable[Arm]) -> None:
        extra = self._serving.extra_fields
        refuse_other_features(self._endpoint, now.champion, arms, bundle=self._lookup.bundle, extra=extra)

    def _switch(self, now: TrafficDocument, to: Arm) -> Changed:
        draft = switched(now, to)
        blind = self._blind(draft)
        draft = replace(draft, shadows=tuple(arm for arm in draft.shadows if arm.version not in blind))
        notes = [f"version {version} is no shadow any more: {why}" for version, why in blind.items()]
        return self._publish(now, draft, notes)

    def _blind(self, draft: TrafficDocument) -> dict[str, str]:
        """Why shadows cannot go on beside the new champion, by version; none of them keeps it from answering."""
        if not draft.shadows:
            return {}
        champion, extra, why = self._lookup.bundle(draft.champion), self._serving.extra_fields, {}
        for arm in draft.shadows:
            try:
                if other_features(champion, self._lookup.bundle(arm), extra=extra):
                    why[arm.version] = "it has other features than the champion"
            except (ModelError, BackendError) as error:
                why[arm.version] = f"its bundle cannot be read: {error.message}"
        return why

    def _publish(self, now: TrafficDocument, draft: TrafficDocument, notes: Sequence[str] = ()) -> Changed:
        deployed: list[str] = []
        kept = _no_more_for(now.challengers, draft.challengers) | _no_more_for(now.shadows, draft.shadows)
        try:
            document = replace(
                draft,
                challengers=tuple(self._placed(arm, deployed, kept) for arm in draft.challengers),
                shadows=tuple(self._placed(arm, deployed, kept) for arm in draft.shadows),
            )
            self._stores.traffic.publish(document)
        except SluicewayError:
            self._remove(deployed)
            raise
        left = sorted(applications(now) - applications(document))
        return self._followed(document, kept=kept, left=left, notes=notes)

    def _has_all(self, now: TrafficDocument, to: Arm) -> bool:
        """Whether a version is the champion alone, and no rollout that has not ended is about to change that."""
        alone = to.version == now.champion.version and not now.challengers
        return alone and now.rollout_id not in unfinished(self._stores.rollouts, self._endpoint)

    def _once_more(self, now: TrafficDocument) -> Changed:
        told = f"version {now.champion.version} has all requests of {self._endpoint} already"
        return self._followed(now, kept=now.shadows, notes=[f"{told}: nothing new was published"])

    def _followed(
        self, document: TrafficDocument, *, kept: Collection[Arm], left: Sequence[str] = (), notes: Sequence[str] = ()
    ) -> Changed:
        """Have all replicas follow a document, and take away what it does not name: no replica asks that any more.

        That is also what an earlier change has left, which not every replica had confirmed.
        """
        if self._running is not None:
            try:
                self._running.apply(document)
            except BackendError as error:
                raise BackendError(error.message, hint=_how_to_end(document), **error.fields) from error
            notes = (*notes, *_tidied(self._running, document))
        return Changed(
            document, self._running is not None, (*notes, *self._brought_back(document, kept), *self._notes(left))
        )

    def _brought_back(self, document: TrafficDocument, kept: Collection[Arm]) -> list[str]:
        """Deploy again what a new Serve may lack; the traffic has moved, and did not wait for it."""
        if self._running is None:
            return []
        return list(redeploy_beside(document, self._serving, deploy=self._running.deploy, only=kept))

    def _placed(self, arm: Arm, deployed: list[str], kept: Collection[Arm]) -> Arm:
        """A challenger where the configuration wants it: in a deployment of its own, made now, or in the replicas.

        One that has a deployment and gets more is deployed too, which costs nothing where it runs: Serve may have begun
        anew since.
        """
        if arm in kept or (not arm.application and self._serving.isolation == "replica"):
            return arm
        if self._running is None:
            if arm.application:
                return arm
            raise InputError(
                f"version {arm.version} needs a deployment, and no Serve that runs {self._endpoint} is known",
                hint="say where it runs with --address, or score challengers in the replicas: "
                "platform.serving.isolation: replica",
            )
        application = self._running.deploy(spec_of_arm(self._endpoint, arm, self._serving))
        if application != arm.application:
            deployed.append(application)
        return replace(arm, application=application)

    def _remove(self, names: Iterable[str]) -> None:
        if self._running is not None:
            for application in names:
                self._running.remove(application)

    def _notes(self, left: Sequence[str]) -> Iterator[str]:
        if self._running is None:
            yield ONLY_IN_CATALOG
            yield from left_behind(left)
        for rollout in unfinished(self._stores.rollouts, self._endpoint):
            yield f"rollout {rollout} has not ended: gone on with, it finds that its traffic was moved, and stops"


def _no_more_for(before: Iterable[Arm], after: Iterable[Arm]) -> set[Arm]:
    """The arms with a deployment that get no more than they have had."""
    had = {arm.version: arm.weight for arm in before if arm.application}
    return {arm for arm in after if arm.application and arm.weight <= had.get(arm.version, -1.0)}


def _tidied(running: RunningServe, document: TrafficDocument) -> list[str]:
    """Take away what nobody asks; the requests have moved, so nothing here ends the command."""
    try:
        running.remove_unasked(applications(document))
    except BackendError as error:
        return [f"challengers that nobody asks may run on, the next change takes them away: {error.message}"]
    return []


def _how_to_end(document: TrafficDocument) -> str:
    """What to do where the catalog has a document that not every replica has confirmed."""
    again = f"`sluiceway serve traffic {document.endpoint} --switch {document.champion.version}`"
    how = "the same command again" if document.challengers else f"{again}, with --config where it was given,"
    return f"the catalog has it; {how} asks replicas once more. See `sluiceway serve status` and their log"


def left_behind(applications: Sequence[str]) -> Iterator[str]:
    """What is to be said of challengers that nobody asks any more, and that run on."""
    if applications:
        yield f"nobody asks {', '.join(applications)} any more; take it away where Serve runs"
