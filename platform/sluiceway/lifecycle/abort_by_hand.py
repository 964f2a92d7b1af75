"""Ends a rollout that nobody runs, from wherever the catalog is seen: replicas follow the catalog by themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sluiceway.catalog.stores import Stores
from sluiceway.core.clock import Clock
from sluiceway.core.errors import InputError, SluicewayError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.lifecycle.rollout_aliases import give_back
from sluiceway.lifecycle.rollout_story import tell
from sluiceway.lifecycle.traffic_by_hand import ONLY_IN_CATALOG, RunningServe, left_behind
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.controller import Doors, abort
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.hooks import Hooks, NoHooks
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.outcome import RolloutOutcome
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase
from sluiceway.serving.rearrange import applications

NO_CONFIG = "the registry's aliases are where they were, and no hook was told; with --config of the model both are done"
# Joins the Serve that runs the endpoint; gives None where none is known.
JoinServe = Callable[[], AbstractContextManager[RunningServe | None]]


@dataclass(frozen=True)
class Aborted:
    """What has become of a rollout.

    Attributes:
        outcome: how it ended.
        notes: what else is to be known, one line each.
    """

    outcome: RolloutOutcome
    notes: tuple[str, ...]


def abort_by_hand(
    rollout_id: str,
    *,
    stores: Stores,
    serve: JoinServe,
    registry: Registry | None,
    moves_aliases: bool,
    clock: Clock,
    reason: str,
    hooks: Hooks | None = None,
) -> Aborted:
    """Give the traffic of a rollout that nobody runs back to the champion.

    Args:
        rollout_id: its name.
        stores: the catalog's.
        serve: joins the Serve that runs the endpoint, once the catalog has the weights.
        registry: that is told; None where nobody knows which one, and how, so that it stays as it is.
        moves_aliases: True: the endpoint is the one whose champion the registry's is.
        clock: the time.
        reason: why, for the journal.
        hooks: told of it; None: nobody is.

    Raises:
        InputError: there is no such rollout, or no champion to go back to.
        ConflictError: somebody runs it.
    """
    journal = Journal.open(stores.rollouts, rollout_id)
    plan = journal.plan
    if plan.champion is None and journal.state.phase is not Phase.PENDING:
        raise InputError(
            f"rollout {rollout_id} brings the first model of {plan.endpoint}: there is no champion to go back to",
            hint=f"`sluiceway rollout start {plan.model}@{plan.version} --config CONFIG` goes on with it",
        )
    hand = _Hand(plan.endpoint, stores, serve, registry, moves_aliases)
    doors = Doors(
        traffic=hand,
        documents=stores.traffic,
        rollouts=stores.rollouts,
        leases=stores.leases,
        observe=lambda plan, state: Observations(()),
        effects=hand,
        clock=clock,
        hooks=hooks or NoHooks(),
    )
    outcome = abort(rollout_id, doors, reason=reason)
    return Aborted(outcome, tuple(hand.notes))


class _Hand:
    """The traffic and the effects of a rollout that is only given back; notes say what could not be done."""

    def __init__(
        self, endpoint: str, stores: Stores, serve: JoinServe, registry: Registry | None, moves_aliases: bool
    ) -> None:
        self._endpoint, self._stores, self._serve = endpoint, stores, serve
        self._registry, self._moves_aliases = registry, moves_aliases
        self._document: TrafficDocument | None = None
        self.notes: list[str] = []

    def current(self) -> TrafficDocument | None:
        """See :class:`~sluiceway.core.doors.Traffic`."""
        return self._stores.traffic.newest(self._endpoint)

    def apply(self, document: TrafficDocument) -> None:
        """The catalog has it, and replicas look there: to join a Serve first would only hold it up."""
        self._document = document

    def started(self, plan: RolloutPlan) -> None:
        """Never: it is only given back."""

    def paused(self, plan: RolloutPlan) -> None:
        """Never: it is only given back."""

    def promoted(self, plan: RolloutPlan) -> None:
        """Never: it is only given back."""

    def rolled_back(self, plan: RolloutPlan, reason: str) -> None:
        """See :class:`~sluiceway.rollout.controller.Effects`; the requests have moved, so nothing here holds it up."""
        try:
            with self._serve() as running:
                self._tidy(plan, running)
        except SluicewayError as error:
            self.notes += [f"replicas that run follow the catalog within a second, though: {error.message}"]
            self.notes += left_behind(plan.applications)
        try:
            self._tell_registry(plan)
        except SluicewayError as error:
            self.notes.append(f"the registry was not told: {error.message}")

    def _tidy(self, plan: RolloutPlan, running: RunningServe | None) -> None:
        if running is None:
            self.notes += [ONLY_IN_CATALOG, *left_behind(plan.applications)]
            return
        if self._document is not None:
            running.apply(self._document)
        newest = self.current()
        # A person may have put the same version there before the rollout began.
        running.remove_unasked(applications(newest) if newest else set())

    def _tell_registry(self, plan: RolloutPlan) -> None:
        if self._registry is None:
            self.notes.append(NO_CONFIG)
            return
        if self._moves_aliases:
            give_back(self._registry, plan, self._stores)
        tell(self._registry, self._stores.rollouts, plan.rollout_id)
