"""What a rollout is going to do: written once, before anything moves, and never changed."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sluiceway.config.deployment import LimitsSection, MarginsSection, PolicySection, RollbackSection
from sluiceway.config.metric_source import PrometheusSection
from sluiceway.config.stages import AbSection, ShadowSection, Stage, StepSection
from sluiceway.core.errors import InputError
from sluiceway.core.pairs import BINARY, Scores
from sluiceway.core.traffic import LATENCY_QUANTILES, Arm, TrafficDocument

# Behind the champion's version in the name of its second deployment.
FRESH = "-fresh"


@dataclass(frozen=True)
class RolloutPlan:
    """One model version's way to one endpoint.

    Attributes:
        rollout_id: unique; a second run under the same id goes on with the first one's journal.
        endpoint: name of the endpoint.
        model: name of the registered model.
        version: the version that is rolled out.
        bundle: folder or URI of its bundle.
        digest: digest of the bundle.
        application: Serve application that scores it during the canary, or "" where none is needed.
        champion: the arm that answers today; None for the first model of an endpoint.
        steps: weights and deadlines, rising, the last one 1; the first may be a shadow's, of weight 0.
        margins: how much worse it may be.
        rollback: when to go back.
        limits: what is too bad whatever the champion does.
        dry_run: metrics that decide nothing.
        on_inconclusive: ``rollback``, ``pause``, ``hold`` or ``continue``: what a deadline without enough evidence
            leads to.
        probation_seconds: how long a promotion is watched and undone when it turns out bad; 0: not at all.
        created: UTC epoch seconds.
        isolation: ``process``: the challenger has an application of its own during the canary; ``replica``: the
            endpoint's replicas score it.
        salt: of the hash that places routing keys: one a rollout, so that its cohorts only grow.
        strategy: what gave the steps: ``canary``, ``linear``, ``blue_green`` or ``ab``.
        others: further versions that an A/B/n test has beside this one; or the fresh baseline.
        baseline: what the fresh baseline is called among the arms; "": the champion's own requests are compared with.
        max_failures: steps go on at the end of an interval of ``min_seconds`` only, and so many intervals of the
            rollout may end without their evidence; None: each step has its own ``max_seconds``.
        keeps_warm: after the promotion the old champion stays in memory, so that going back is instant. Plans of
            releases that knew neither salt nor warm arms have none, and give the documents that they gave then.
        scores: what the scores of both models are.
        source: ``counters``, ``prometheus`` or ``both``: where requests, errors and latencies are read.
        prometheus: what is asked of Prometheus and how it is judged; not where it is, and no secret.
    """

    rollout_id: str
    endpoint: str
    model: str
    version: str
    bundle: str
    digest: str
    application: str = ""
    champion: Arm | None = None
    steps: tuple[Stage, ...] = (StepSection(weight=1.0),)
    margins: MarginsSection = field(default_factory=MarginsSection)
    rollback: RollbackSection = field(default_factory=RollbackSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    dry_run: tuple[str, ...] = ()
    on_inconclusive: str = "rollback"
    probation_seconds: float = 0.0
    created: float = 0.0
    isolation: str = "process"
    salt: str = ""
    keeps_warm: bool = False
    scores: Scores = BINARY
    source: str = "counters"
    prometheus: PrometheusSection = field(default_factory=PrometheusSection)
    strategy: str = "canary"
    max_failures: int | None = None
    others: tuple[Arm, ...] = ()
    baseline: str = ""

    def __post_init__(self) -> None:
        weights = [step.weight for step in self.steps]
        if self.is_test:
            self._check_versions()
        elif not weights or weights != sorted(set(weights)) or weights[-1] != 1:
            raise InputError(
                f"the weights of rollout {self.rollout_id} are {weights}; they have to rise and end with 1"
            )
        if self.champion is not None and self.champion.version in self.versions:
            raise InputError(
                f"version {self.champion.version} of {self.model} is the champion of {self.endpoint} already",
                hint="roll out another version",
            )
        if self.champion is not None and (self.isolation == "process") != bool(self.application):
            wanted = "no application" if self.application else "an application"
            raise InputError(
                f"rollout {self.rollout_id} has a champion and isolation {self.isolation}: "
                f"the challenger needs {wanted} that scores it"
            )

        shift, distance = self.margins.score_shift, self.scores.largest_distance
        if shift is not None and shift >= distance:
            raise InputError(
                f"margins.score_shift is {shift:g}; no two scores of a {self.scores.kind} model are farther apart "
                f"than {distance:g}"
            )

    def _check_versions(self) -> None:
        twice = [version for version in self.versions if self.versions.count(version) > 1]
        if twice or self.champion is None or len(self.steps) != 1:
            why = f"version {twice[0]} is in it twice" if twice else "it has one stage, beside a champion"
            raise InputError(f"the A/B test {self.rollout_id} cannot be: {why}", hint="see deployment.ab")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it is judged by, in the order of their verdicts."""
        return metrics_of(self.margins, self.scores)

    @property
    def asks_prometheus(self) -> bool:
        """True where Prometheus is asked anything."""
        return self.source != "counters" or bool(self.prometheus.queries)

    @property
    def is_test(self) -> bool:
        """An A/B/n test: fixed weights, and one of several versions may win."""
        return any(isinstance(step, AbSection) for step in self.steps)

    @property
    def versions(self) -> tuple[str, ...]:
        """Of all arms but the champion."""
        return (self.version, *(arm.version for arm in self.others if arm.version != self.baseline))

    @property
    def applications(self) -> tuple[str, ...]:
        """Serve applications that score them; none in the endpoint's replicas."""
        return tuple(name for name in (self.application, *(arm.application for arm in self.others)) if name)

    def won_by(self, version: str) -> RolloutPlan:
        """The plan with another of its versions in the first place; "" leaves it."""
        own = Arm(self.version, 0.0, self.bundle, self.digest, self.application)
        arms = {arm.version: arm for arm in (own, *self.others)}
        if version in ("", self.version):
            return self
        first = arms.pop(version)
        return replace(
            self,
            version=version,
            bundle=first.bundle,
            digest=first.digest,
            application=first.application,
            others=tuple(arms.values()),
        )

    def step_document(self, step: int, *, generation: int, stopped: Collection[str] = ()) -> TrafficDocument:
        """The traffic while a step is judged: the challenger has the step's weight, or is a shadow, or kept warm.

        Args:
            step: which.
            generation: of the document.
            stopped: versions of a test that get nothing more; what was theirs is the champion's.

        Raises:
            InputError: there is no champion, so there is nothing to compare with.
        """
        if self.champion is None:
            raise InputError(f"rollout {self.rollout_id} has no champion, so it has no step to judge")
        stage = self.steps[step]
        document = TrafficDocument(
            self.endpoint, generation, _weighted(self.champion, 1.0), (), self.rollout_id, salt=self.salt
        )
        arm = Arm(self.version, stage.weight, self.bundle, self.digest, self.application)
        if isinstance(stage, AbSection):
            every = (arm, *self.others)
            arms = tuple(replace(one, weight=0.0 if one.version in stopped else stage.weight) for one in every)
            left = 1 - stage.weight * sum(one.version not in stopped for one in every)
            return replace(document, champion=_weighted(self.champion, left), challengers=arms)
        if isinstance(stage, StepSection):
            beside = baseline_weight(stage.weight) if self.baseline else 0.0
            fresh = tuple(replace(one, weight=beside) for one in self.others)
            champion = _weighted(self.champion, 1 - stage.weight - beside)
            return replace(document, champion=champion, challengers=(arm, *fresh))
        if stage.share:
            return replace(document, shadows=(replace(arm, weight=stage.share),))
        return replace(document, warm=(replace(arm, application=""),))

    def promoted_document(self, *, generation: int) -> TrafficDocument:
        """The traffic after the promotion: the new version, scored in process, alone; the old one kept in memory."""
        arm = Arm(self.version, 1.0, self.bundle, self.digest)
        old = self.champion
        warm = () if old is None or not self.keeps_warm else (Arm(old.version, 0.0, old.bundle, old.digest),)
        return TrafficDocument(self.endpoint, generation, arm, (), self.rollout_id, warm=warm, salt=self.salt)

    def rolled_back_document(self, *, generation: int) -> TrafficDocument:
        """The traffic after the rollback: the old champion alone.

        Raises:
            InputError: there is no champion to go back to.
        """
        if self.champion is None:
            raise InputError(f"rollout {self.rollout_id} has no champion to go back to")
        champion = _weighted(self.champion, 1.0)
        return TrafficDocument(self.endpoint, generation, champion, (), self.rollout_id, salt=self.salt)

    def to_json(self) -> str:
        """Text for the catalog."""
        body = {
            **self.__dict__,
            "champion": None if self.champion is None else asdict(self.champion),
            "others": [asdict(arm) for arm in self.others],
            "steps": [step.model_dump() for step in self.steps],
            "margins": self.margins.model_dump(),
            "rollback": self.rollback.model_dump(),
            "limits": self.limits.model_dump(),
            "scores": asdict(self.scores),
            "prometheus": self.prometheus.model_dump(),
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RolloutPlan:
        """The inverse of :meth:`to_json`."""
        body: dict[str, Any] = json.loads(text)
        body["champion"] = None if body["champion"] is None else Arm(**body["champion"])
        body["others"] = tuple(Arm(**arm) for arm in body.get("others", ()))
        body["steps"] = tuple(_stage(step) for step in body["steps"])
        body["margins"] = MarginsSection(**body["margins"])
        # As it was written down: a release that takes fewer triggers still has to read, show and abort its rollout.
        body["rollback"] = RollbackSection.model_construct(**body["rollback"])
        body["limits"] = LimitsSection(**body.get("limits", {}))
        body["prometheus"] = PrometheusSection(**body.get("prometheus", {}))
        body["dry_run"] = tuple(body.get("dry_run", ()))
        body["scores"] = Scores(**body.get("scores", {}))
        return cls(**body)


def metrics_of(margins: MarginsSection, scores: Scores) -> tuple[str, ...]:
    """What a version is judged by, in the order of the verdicts."""
    # The numbers of a regression never equal their outcome: its quality is its loss.
    by_loss = scores.kind == "regression" and margins.loss is not None
    chosen = [name for name in ("score_shift", "loss", "business") if getattr(margins, name) is not None]
    latencies = (name for name in LATENCY_QUANTILES if margins.of_latency(name))
    return ("error_rate", *latencies, *(() if by_loss else ("accuracy",)), *chosen)


def baseline_weight(weight: float) -> float:
    """The share of a fresh baseline beside a challenger of some weight: as much, while there is as much."""
    return min(weight, 1 - weight)


def fresh_baseline(champion: Arm) -> Arm:
    """The champion's version once more, as an arm of another name, without an application yet."""
    return Arm(f"{champion.version}{FRESH}", 0.0, champion.bundle, champion.digest)


def plan_canary(
    rollout_id: str,
    *,
    endpoint: str,
    model: str,
    challengers: tuple[Arm, ...],
    champion: Arm,
    deployment: PolicySection,
    now: float,
    scores: Scores = BINARY,
) -> RolloutPlan:
    """A rollout in the configured steps.

    Args:
        rollout_id: unique name of it.
        endpoint: name of the endpoint.
        model: name of the registered model.
        challengers: the new version with its bundle and the application that scores it, or none where the endpoint's
            replicas do; after it further versions of an A/B/n test, or the fresh baseline. Weights are not looked at.
        champion: the arm that answers today.
        deployment: strategy, steps, margins, and when to go back.
        now: UTC epoch seconds.
        scores: what the scores of both models are.
    """
    challenger, *others = challengers
    return RolloutPlan(
        rollout_id=rollout_id,
        endpoint=endpoint,
        model=model,
        version=challenger.version,
        bundle=challenger.bundle,
        digest=challenger.digest,
        application=challenger.application,
        champion=champion,
        steps=deployment.planned_steps,
        margins=deployment.margins,
        rollback=deployment.rollback,
        limits=deployment.limits,
        dry_run=deployment.dry_run,
        on_inconclusive=deployment.on_inconclusive,
        probation_seconds=deployment.probation.seconds,
        created=now,
        isolation="process" if challenger.application else "replica",
        salt=rollout_id,
        keeps_warm=True,
        scores=scores,
        source=deployment.source,
        prometheus=deployment.prometheus.judging,
        strategy=deployment.strategy,
        max_failures=deployment.max_failures,
        others=tuple(others),
        baseline=fresh_baseline(champion).version if deployment.baseline == "fresh" else "",
    )


def plan_first(rollout_id: str, *, endpoint: str, model: str, arm: Arm, now: float) -> RolloutPlan:
    """The rollout of an endpoint's first model: one step at 100 %, nothing to compare with.

    Args:
        rollout_id: unique name of it.
        endpoint: name of the endpoint.
        model: name of the registered model.
        arm: the version with its bundle; scored in process, so its application is not looked at.
        now: UTC epoch seconds.
    """
    return RolloutPlan(
        rollout_id=rollout_id,
        endpoint=endpoint,
        model=model,
        version=arm.version,
        bundle=arm.bundle,
        digest=arm.digest,
        created=now,
    )


def _stage(step: dict[str, Any]) -> Stage:
    if "metric" in step:
        return AbSection(**step)
    return ShadowSection(**step) if "share" in step else StepSection(**step)


def _weighted(arm: Arm, weight: float) -> Arm:
    return Arm(arm.version, weight, arm.bundle, arm.digest, arm.application)
