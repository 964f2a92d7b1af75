"""What a rollout is going to do: written once, before anything moves, and never changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sluiceway.config.deployment import LimitsSection, MarginsSection, PolicySection, RollbackSection
from sluiceway.config.stages import ShadowSection, Stage, StepSection
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm, TrafficDocument


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
        strategy: what gave the steps: ``canary``, ``linear`` or ``blue_green``.
        max_failures: steps go on at the end of an interval of ``min_seconds`` only, and so many intervals of the
            rollout may end without their evidence; None: each step has its own ``max_seconds``.
        keeps_warm: after the promotion the old champion stays in memory, so that going back is instant. Plans of
            releases that knew neither salt nor warm arms have none, and give the documents that they gave then.
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
    strategy: str = "canary"
    max_failures: int | None = None

    def __post_init__(self) -> None:
        weights = [step.weight for step in self.steps]
        if not weights or weights != sorted(set(weights)) or weights[-1] != 1:
            raise InputError(
                f"the weights of rollout {self.rollout_id} are {weights}; they have to rise and end with 1"
            )
        if self.champion is not None and self.champion.version == self.version:
            raise InputError(
                f"version {self.version} of {self.model} is the champion of {self.endpoint} already",
                hint="roll out another version",
            )
        if self.champion is not None and (self.isolation == "process") != bool(self.application):
            wanted = "no application" if self.application else "an application"
            raise InputError(
                f"rollout {self.rollout_id} has a champion and isolation {self.isolation}: "
                f"the challenger needs {wanted} that scores it"
            )

    def step_document(self, step: int, *, generation: int) -> TrafficDocument:
        """The traffic while a step is judged: the challenger has the step's weight, or is a shadow, or kept warm.

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
        if isinstance(stage, StepSection):
            return replace(document, champion=_weighted(self.champion, 1 - stage.weight), challengers=(arm,))
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
            "steps": [step.model_dump() for step in self.steps],
            "margins": self.margins.model_dump(),
            "rollback": self.rollback.model_dump(),
            "limits": self.limits.model_dump(),
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RolloutPlan:
        """The inverse of :meth:`to_json`."""
        body: dict[str, Any] = json.loads(text)
        body["champion"] = None if body["champion"] is None else Arm(**body["champion"])
        body["steps"] = tuple(
            ShadowSection(**step) if "share" in step else StepSection(**step) for step in body["steps"]
        )
        body["margins"] = MarginsSection(**body["margins"])
        body["rollback"] = RollbackSection(**body["rollback"])
        body["limits"] = LimitsSection(**body.get("limits", {}))
        body["dry_run"] = tuple(body.get("dry_run", ()))
        return cls(**body)


def plan_canary(
    rollout_id: str,
    *,
    endpoint: str,
    model: str,
    challenger: Arm,
    champion: Arm,
    deployment: PolicySection,
    now: float,
) -> RolloutPlan:
    """A rollout in the configured steps.

    Args:
        rollout_id: unique name of it.
        endpoint: name of the endpoint.
        model: name of the registered model.
        challenger: the new version with its bundle and the application that scores it, or none where the endpoint's
            replicas do; its weight is not looked at.
        champion: the arm that answers today.
        deployment: strategy, steps, margins, and when to go back.
        now: UTC epoch seconds.
    """
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
        strategy=deployment.strategy,
        max_failures=deployment.max_failures,
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


def _weighted(arm: Arm, weight: float) -> Arm:
    return Arm(arm.version, weight, arm.bundle, arm.digest, arm.application)
