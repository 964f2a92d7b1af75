"""Where a rollout is.

pending -> step 0 -> step 1 ... -> promoting -> promoted
   |          |                     ^   `-> probation -> promoted | rolling_back
   |          |-> rolling_back -> rolled_back
   |          |-> step (the same one, an interval of it has failed)
   |          `-> paused -> step (the same one, resumed) | promoting | rolling_back
   |-> promoting (the first model of an endpoint)
   `-> rolling_back (aborted before it began; no traffic is moved)

What fails in a probation and may not go back by itself stays in it with that cause, until a person has it judged again,
confirms the promotion, or undoes it.

An abort also leads from promoting, where whoever ran the rollout died, to rolling_back.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass


class Phase(enum.StrEnum):
    """What the rollout is doing; the traffic is moved on entering one of the -ing phases or a step."""

    PENDING = "pending"
    STEP = "step"
    PROMOTING = "promoting"
    PROBATION = "probation"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    PAUSED = "paused"


TERMINAL = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK})


@dataclass(frozen=True)
class RolloutState:
    """One entry's state.

    Attributes:
        phase: what the rollout is doing.
        step: index of the step that it is in or left last; -1 before the first.
        generation: of the traffic document that belongs to the phase; 0 before the first.
        since: when the phase began, UTC epoch seconds; a step's deadline counts from here.
        generations: of the traffic documents of the steps so far, index by step; an A/B/n test has one more for each
            version that was stopped.
        cause: the metric that sent it back or made it pause, ``breaker``, ``prometheus`` where that does not answer, or
            "" for a deadline, a person, or none.
        reason: why it is here, one sentence.
        failures: intervals that ended without their evidence, of the whole rollout; only where the plan counts them.
        checks: of these, how many since the step began or was resumed.
        stopped: versions of an A/B/n test that get no more requests.
        winner: the version of such a test that is promoted, or "".
        commands: sequence number of the last command that was obeyed or refused.
        by_person: True where a person has told it to pause.
    """

    phase: Phase = Phase.PENDING
    step: int = -1
    generation: int = 0
    since: float = 0.0
    generations: tuple[int, ...] = ()
    cause: str = ""
    reason: str = ""
    commands: int = 0
    failures: int = 0
    checks: int = 0
    stopped: tuple[str, ...] = ()
    winner: str = ""
    by_person: bool = False

    @property
    def waits(self) -> bool:
        """True where only a person can have it go on; in a pause it is judged, and may go back, all the same."""
        return self.phase is Phase.PAUSED or (self.phase is Phase.PROBATION and self.cause != "")

    def waits_otherwise(self, before: RolloutState) -> bool:
        """True where it has begun or ceased to wait for a person, or waits for another reason than before."""
        return self.waits is not before.waits or (self.waits and self.reason != before.reason)

    @property
    def judged(self) -> bool:
        """True where it is decided by what was seen."""
        return self.phase in (Phase.STEP, Phase.PAUSED, Phase.PROBATION)

    @property
    def terminal(self) -> bool:
        """True where nothing can change any more."""
        return self.phase in TERMINAL

    def to_json(self) -> str:
        """Text for the catalog."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RolloutState:
        """The inverse of :meth:`to_json`."""
        body = json.loads(text)
        tuples = {name: tuple(body.get(name, ())) for name in ("generations", "stopped")}
        if "by_person" not in body:  # earlier releases only had the words for it
            body["by_person"] = body["phase"] == Phase.PAUSED and body.get("reason", "").startswith("paused ")
        return cls(**{**body, "phase": Phase(body["phase"]), **tuples})
