"""Rolls a registered version out to one environment, with replayed users where it has none."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from sluiceway.catalog.claim import Claim
from sluiceway.config.deployment import ReplaySection
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.errors import BackendError, ConflictError, InputError, ModelError, SluicewayError
from sluiceway.core.traffic import Arm, endpoint_name
from sluiceway.core.verdict import Status
from sluiceway.lifecycle.archiving import archive_endpoint
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.further_arms import further_arms, spec_of
from sluiceway.lifecycle.journal import Journal, Outcome
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.late_outcomes import LateOutcomesJoined
from sluiceway.lifecycle.metric_source import check_source, observed
from sluiceway.lifecycle.replay import ReplayRows
from sluiceway.lifecycle.replay_key import replay_key
from sluiceway.lifecycle.retirement import refuse_retired
from sluiceway.lifecycle.rollout_aliases import give_back, hand_over
from sluiceway.lifecycle.rollout_history import keep_history
from sluiceway.lifecycle.rollout_scores import scores_of
from sluiceway.lifecycle.rollout_story import tell
from sluiceway.lifecycle.same_features import refuse_other_features
from sluiceway.lifecycle.summary import StepSummary
from sluiceway.monitoring.late_outcomes import join_late
from sluiceway.registry.mlflow_registry import CHALLENGER
from sluiceway.rollout.controller import Doors, abort, run
from sluiceway.rollout.hooks import ConfiguredHooks, Hooks
from sluiceway.rollout.journal import Journal as RolloutJournal
from sluiceway.rollout.journal import unfinished
from sluiceway.rollout.lease import hold_traffic
from sluiceway.rollout.load import LoadGenerator, LoadReport
from sluiceway.rollout.observe import SETTLE_SECONDS, RecordObserver, UntilTrafficEnds
from sluiceway.rollout.observe_means import WithMeans
from sluiceway.rollout.plan import RolloutPlan, plan_canary, plan_first
from sluiceway.rollout.prometheus_source import Observe
from sluiceway.rollout.state import Phase
from sluiceway.serving.deploy import deploy_challenger, deploy_endpoint, remove_unasked
from sluiceway.serving.instance import start_serve
from sluiceway.serving.prediction_log import log_uri
from sluiceway.serving.rearrange import applications
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec, ServeAddress
from sluiceway.serving.traffic import ServeTraffic

_log = logging.getLogger(__name__)
# Where a version gets requests beside the champion, or may get some next.
NEEDS_CHALLENGERS = frozenset({Phase.PENDING, Phase.STEP, Phase.PAUSED})


@dataclass(frozen=True)
class Deployed:
    """How an environment's rollout ended."""

    step: StepSummary
    promoted: bool


def prediction_log(context: Context, endpoint: str) -> str | None:
    """Path or URI of the log of an endpoint's predictions; None where it has none."""
    return log_uri(context.serving.log, root=str(context.folders.state / "predictions"), endpoint=endpoint)


def endpoint_spec(context: Context, environment: str) -> EndpointSpec:
    """The endpoint of an environment, at ``/<experiment>/<environment>``."""
    name = context.experiment.name
    endpoint, route = endpoint_name(name, environment), f"/{name}/{environment}"
    return EndpointSpec(endpoint, route, context.stores.url, context.serving, prediction_log(context, endpoint))


def roll_out(
    context: Context,
    journal: Journal,
    step: ReleaseStep,
    candidate: Candidate,
    model_version: str,
    *,
    environment: str,
    name: str,
) -> Deployed:
    """Roll a version out, or go on with a rollout that was interrupted, or has paused.

    Args:
        context: what to work with.
        journal: of the run.
        step: the release.
        candidate: its model.
        model_version: the registry's version.
        environment: one of ``deployment.environments``.
        name: of the step in the journal; the rollout's id is made of it.
    """
    rollout = EnvironmentRollout(context, step, candidate, model_version, environment, gated=True)
    outcome = journal.perform(
        name,
        lambda: rollout.run(f"{journal.run_id}/{name}"),
        key=content_key("rollout", journal.run_id, name, model_version),
        again=_waits,
    )
    promoted = outcome.result["rollout"]["status"] == "promoted"
    return Deployed(_summary(name, step, outcome), promoted)


class EnvironmentRollout:
    """A version's rollout to one environment, and what it changes besides the traffic (``rollout.controller.Effects``).

    Args:
        context: what to work with.
        step: the release.
        candidate: its model.
        model_version: the registry's version.
        environment: where to.
        gated: gates have to let further versions of a test pass; False: whoever begins it has seen to that.
    """

    def __init__(
        self,
        context: Context,
        step: ReleaseStep,
        candidate: Candidate,
        model_version: str,
        environment: str,
        *,
        gated: bool = False,
    ) -> None:
        self.context = context
        self.release = step
        self.candidate = candidate
        self.environment = environment
        self.gated = gated
        self.policy = context.deployment.of(environment)
        self.endpoint = endpoint_spec(context, environment)
        # The registry tells what the last environment, the one with the users, serves.
        self.tells_registry = environment == context.deployment.environments[-1]
        self.challenger = ChallengerSpec(
            endpoint=self.endpoint.name,
            version=model_version,
            bundle_uri=candidate.uri,
            digest=candidate.digest,
            raise_every=step.drill.raise_every if step.drill else None,
            serving=context.serving,
        )
        # A drill's fault is one of a deployment, wherever other challengers run.
        beside = context.serving.isolation == "process" or step.drill is not None
        self.application = self.challenger.application if beside else ""

    def run(self, rollout_id: str, *, stays: bool = False) -> dict[str, Any]:
        """Begin, or go on with, the rollout of an id; gives how it ended, JSON-ready.

        One that was refused or killed before it began is planned anew. Of one that ends before it began, by whatever
        error or ctrl-C, what was deployed for it goes.

        Args:
            rollout_id: its name.
            stays: True: a pause is waited out for a command; False: it ends with a pause.

        Raises:
            ModelError: the version is retired.
            HookRefusedError: a hook does not let it begin.
            ChampionChangedError: see :func:`sluiceway.rollout.controller.run`.
            ConflictError: somebody else runs a rollout of the endpoint, or another one has not ended: nothing is
                changed. Or the lease was lost, or somebody else has moved the traffic, meanwhile.
            InputError: Prometheus does not take a query of the plan, a secret for it is missing, the version is the
                champion already, or it has other features than the champion.
            BackendError: Prometheus does not answer before the beginning, Serve does not run, or the challenger does
                not come up.
        """
        self.context.progress.stage("rollout", f"version {self.challenger.version} to {self.environment}")
        # All that is deployed, revoked and asked here is that of whoever else runs it, too.
        with self._claim(rollout_id) as held:
            told = self._run(rollout_id, held, stays=stays)
        self._archive()
        keep_history(self.context)
        return told

    def _claim(self, rollout_id: str) -> AbstractContextManager[Claim]:
        leases, clock = self.context.stores.leases, self.context.clock
        return hold_traffic(leases, self.endpoint.name, clock=clock, rollout_id=rollout_id)

    def _run(self, rollout_id: str, held: Claim, *, stays: bool) -> dict[str, Any]:
        plan = self.check(rollout_id)
        self._refuse_beside_another(rollout_id)
        self._replace_kept(plan)
        address = start_serve(self.context.serving)
        try:
            return self._deploy_and_run(plan, address, stays=stays)
        except BaseException:  # a ctrl-C, too
            self._put_away_unbegun(plan, held)
            raise

    def _deploy_and_run(self, plan: RolloutPlan, address: ServeAddress, *, stays: bool) -> dict[str, Any]:
        if RolloutJournal(self.context.stores.rollouts, plan).state.phase in NEEDS_CHALLENGERS:
            # Before the endpoint: after a crash its replicas start with the weights of the interrupted canary.
            self._deploy_challengers(plan)
        deploy_endpoint(self.endpoint)
        url = address.url + self.endpoint.route_prefix
        with self._key(plan, address) as headers:
            load = self._users(plan, url, headers)
            try:
                with (
                    ConfiguredHooks(self.policy.hooks, self.policy.notify) as hooks,
                    observed(self.context, self.policy, plan, self._counted()) as observe,
                ):
                    outcome = run(plan, self._doors(observe, load, hooks, stays=stays))
            finally:
                report = load.stop() if load else None
        return {"rollout": outcome.to_dict(), "load": _load(report), "url": url}

    def _put_away_unbegun(self, plan: RolloutPlan, held: Claim) -> None:
        """Of a rollout that has not begun nobody would end what runs: there is nothing that could be aborted."""
        try:
            held.check()  # else it is that of whoever has the endpoint now
            if RolloutJournal(self.context.stores.rollouts, plan).state.phase is Phase.PENDING:
                self._remove_challengers()
        except SluicewayError as error:
            _log.warning("what was deployed for rollout %s may run on: %s", plan.rollout_id, error.message)

    def check(self, rollout_id: str) -> RolloutPlan:
        """See that a rollout can begin, as far as that can be known before; gives its plan, and changes nothing.

        Args:
            rollout_id: its name.

        Raises:
            ModelError: the version is retired.
            InputError: Prometheus does not take a query of the plan, the configuration makes no plan, the version is
                the champion already, or it has other features than the champion.
            BackendError: Prometheus does not answer before the beginning.
        """
        plan = self._plan(rollout_id)
        if not self.context.stores.rollouts.journal(rollout_id):  # one that has begun keeps its version from retiring
            refuse_retired(self.context.registry, plan.model, plan.version)
            self._refuse_other_features(plan)
        check_source(self.context, self.policy, plan)
        return plan

    def abort(self, rollout_id: str, *, reason: str) -> None:
        """Give the traffic of a rollout that nobody runs back to the champion.

        Raises:
            ConflictError: somebody runs it.
        """
        with self._claim(rollout_id):
            start_serve(self.context.serving)
            deploy_endpoint(self.endpoint)
            with ConfiguredHooks(self.policy.hooks, self.policy.notify) as hooks:
                abort(rollout_id, self._doors(self._counted(), None, hooks), reason=reason)

    def started(self, plan: RolloutPlan) -> None:
        """See :class:`~sluiceway.rollout.controller.Effects`."""
        self._deploy_challengers(plan)
        if self.tells_registry:
            self.context.registry.set_alias(plan.model, CHALLENGER, plan.version)
        self._tell_story(plan)

    def paused(self, plan: RolloutPlan) -> None:
        """See :class:`~sluiceway.rollout.controller.Effects`; a registry that is away stops no look."""
        try:
            self._tell_story(plan)
        except BackendError as error:
            _log.warning("rollout %s: that it is paused, or goes on, is told later: %s", plan.rollout_id, error.message)

    def promoted(self, plan: RolloutPlan) -> None:
        """See :class:`~sluiceway.rollout.controller.Effects`."""
        if self.tells_registry:
            hand_over(self.context.registry, plan)
        self._remove_challengers()
        self._tell_story(plan)

    def rolled_back(self, plan: RolloutPlan, reason: str) -> None:
        """See :class:`~sluiceway.rollout.controller.Effects`."""
        if self.tells_registry:
            give_back(self.context.registry, plan, self.context.stores)
        self._remove_challengers()
        self._tell_story(plan)

    def _tell_story(self, plan: RolloutPlan) -> None:
        # Effects follow their entry: the journal has what is to be told.
        tell(self.context.registry, self.context.stores.rollouts, plan.rollout_id)

    def _plan(self, rollout_id: str) -> RolloutPlan:
        rollouts = self.context.stores.rollouts
        known = rollouts.get(rollout_id)
        if known is not None and rollouts.journal(rollout_id):
            return RolloutPlan.from_json(known.plan)
        newest = self.context.stores.traffic.newest(self.endpoint.name)
        new = Arm(self.challenger.version, 1.0, self.candidate.uri, self.candidate.digest, self.application)
        model, now = self.context.experiment.name, self.context.now()
        if newest is None:
            return plan_first(rollout_id, endpoint=self.endpoint.name, model=model, arm=new, now=now)
        champion, endpoint, policy = newest.champion, self.endpoint.name, self.policy
        if champion.version == new.version:
            raise InputError(
                f"version {new.version} is the champion of {endpoint} already", hint="roll out another version"
            )
        challengers = (
            new,
            *further_arms(self.context, policy, endpoint=endpoint, champion=champion, gated=self.gated),
        )
        return plan_canary(
            rollout_id,
            endpoint=endpoint,
            model=model,
            challengers=challengers,
            champion=champion,
            deployment=policy,
            now=now,
            scores=scores_of(self.context, policy, endpoint, champion=champion, challengers=challengers),
        )

    def _refuse_other_features(self, plan: RolloutPlan) -> None:
        if plan.champion is None:
            return
        challengers = (Arm(plan.version, 0.0, plan.bundle, plan.digest), *plan.others)
        bundles = self.context.bundles
        try:
            known = bundles.get(plan.champion.bundle, plan.champion.digest)
        except ModelError as error:  # replicas that have it in memory serve on, and a rollout may replace it
            _log.warning("the features of version %s are not compared with the champion's: %s", plan.version, error)
            return
        refuse_other_features(
            plan.endpoint,
            plan.champion,
            challengers,
            bundle=lambda arm: known if arm is plan.champion else bundles.get(arm.bundle, arm.digest),
            extra=self.context.serving.extra_fields,
        )

    def _refuse_beside_another(self, rollout_id: str) -> None:
        others = [name for name in unfinished(self.context.stores.rollouts, self.endpoint.name) if name != rollout_id]
        if others:
            raise ConflictError(
                f"rollout {others[0]} of endpoint {self.endpoint.name} has not ended",
                hint=f"go on with it, or `sluiceway rollout abort {others[0]}`",
            )

    def _replace_kept(self, plan: RolloutPlan) -> None:
        """Of one that has not begun a plan may be kept: of when hooks were asked about it."""
        rollouts, name = self.context.stores.rollouts, plan.rollout_id
        if rollouts.get(name) is not None and not rollouts.journal(name):
            rollouts.replan(name, endpoint=plan.endpoint, plan=plan.to_json(), now=plan.created)

    def _deploy_challengers(self, plan: RolloutPlan) -> None:
        if plan.application:
            deploy_challenger(self.challenger)
        for arm in plan.others:
            if arm.application:
                deploy_challenger(spec_of(self.context, self.endpoint.name, arm))

    def _remove_challengers(self) -> None:
        """Its own, and those that it found and has replaced; what requests go to stays, as what a person put there."""
        newest = self.context.stores.traffic.newest(self.endpoint.name)
        remove_unasked(self.endpoint.name, asked=applications(newest) if newest else ())

    def _counted(self) -> Observe:
        stores = self.context.stores
        counted = RecordObserver(stores.records, stores.breakers, clock=self.context.clock)
        return LateOutcomesJoined(
            WithMeans(counted, stores.comparisons),
            self._join_late,
            clock=self.context.clock,
        )

    def _join_late(self) -> None:
        context = self.context
        join_late(context.stores.outcomes, context.folders.records, endpoint=self.endpoint.name, now=context.now())

    def _doors(self, observe: Observe, load: LoadGenerator | None, hooks: Hooks, *, stays: bool = False) -> Doors:
        stores, clock = self.context.stores, self.context.clock
        if load is not None:
            # What was sent last is in Prometheus when both sources have settled.
            settle = SETTLE_SECONDS
            if self.policy.asks_prometheus:
                settle = max(settle, 2 * self.policy.prometheus.settle_seconds)
            observe = UntilTrafficEnds(observe, lambda: load.running, clock=clock, settle_seconds=settle)
        return Doors(
            traffic=ServeTraffic(self.endpoint.name, stores.traffic),
            documents=stores.traffic,
            rollouts=stores.rollouts,
            leases=stores.leases,
            observe=observe,
            effects=self,
            clock=clock,
            progress=self.context.progress,
            stays=stays,
            hooks=hooks,
        )

    def _replay(self, plan: RolloutPlan) -> ReplaySection | None:
        return None if plan.champion is None else self.release.replay or self.policy.replay

    def _key(self, plan: RolloutPlan, address: ServeAddress) -> AbstractContextManager[dict[str, str]]:
        if self._replay(plan) is None:
            return nullcontext({})
        return replay_key(
            self.context.stores.api_keys,
            endpoint=self.endpoint.name,
            rollout_id=plan.rollout_id,
            serving=self.context.serving,
            address=address,
        )

    def _users(self, plan: RolloutPlan, url: str, headers: dict[str, str]) -> LoadGenerator | None:
        replay = self._replay(plan)
        if replay is None:
            return None
        rows = ReplayRows(self.context, replay, trained_on=self.candidate.version)
        load = LoadGenerator(
            url, rows=rows, connections=replay.connections, max_requests=replay.max_requests, headers=headers
        )
        return load.start()

    def _archive(self) -> None:
        stores = self.context.stores
        archive_endpoint(
            stores.outcomes,
            stores.rollouts,
            self.context.folders.records,
            endpoint=self.endpoint.name,
            wait_days=self.context.serving.wait_for_outcome_days,
            now=self.context.now(),
        )


def _waits(result: dict[str, Any]) -> bool:
    return bool(result["rollout"]["status"] == "paused")


def _load(report: LoadReport | None) -> dict[str, Any] | None:
    return None if report is None else {**asdict(report), "rate": report.rate}


def _summary(name: str, step: ReleaseStep, outcome: Outcome) -> StepSummary:
    rollout, load = outcome.result["rollout"], outcome.result["load"]
    as_expected = rollout["status"] == step.expect and step.because in (None, rollout["cause"])
    status = Status.PASS if as_expected else Status.INCONCLUSIVE if rollout["status"] == "paused" else Status.FAIL
    used = ", ".join(f"{arm} {n:,}" for arm, n in rollout["requests"].items())
    cause = f" on {rollout['cause']}" if rollout["cause"] else ""
    details = [f"{rollout['reason']}"] if rollout["reason"] else []
    for part in rollout["steps"]:
        told = "; ".join(f"{m['metric']} {m['status']} {m['n']:,}/{m['n_needed']:,}" for m in part["metrics"])
        # What a run of an earlier release has recorded has no names.
        stage = part.get("name") or f"{part['weight']:.0%}"
        details.append(f"{stage:>4} {part['seconds']:5.1f} s: {told}")
        details += [f"       {m['line']}" for m in part["metrics"]]
    if load is not None:
        failed = load["failed"] + load["feedback_failed"]
        details.append(
            f"clients: {load['sent']:,} requests at {load['rate']:.0f}/s, {load['failed']} failed, "
            f"{load['failovers']} answered by the champion for the challenger, p99 {load['p99'] * 1000:.1f} ms; "
            f"{load['feedback_sent']:,} outcomes sent back, {load['feedback_failed']} failed"
        )
        details += [f"client failure: {text}" for text in load["failures"]]
        status = Status.FAIL if failed else status
    headline = f"{rollout['status'].replace('_', ' ')}{cause} after {rollout['seconds']:.0f} s; requests used: {used}"
    details.append(f"endpoint: {outcome.result['url']}")
    return StepSummary(
        name, status, headline, tuple(details), outcome.seconds, outcome.reused, waits=_waits(outcome.result)
    )
