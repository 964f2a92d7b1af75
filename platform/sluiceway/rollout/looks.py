"""What a rollout was judged on, kept so that it can be judged again: the counts of its looks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from sluiceway.catalog.rollouts import LookRow
from sluiceway.core.moments import Moments
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.state import RolloutState
from sluiceway.rollout.told import Told, read_told

# A look is kept when so much of the time since the phase began has gone since the one before: a day has about as many
# as two hours.
SHARE = 0.01
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        time: UTC epoch seconds.
        state: where the rollout was.
        seen: what was counted.
    """

    time: float
    state: RolloutState
    seen: Observations


class Looks(Protocol):
    """What is needed of :class:`sluiceway.catalog.rollouts.RolloutStore`."""

    def look(self, rollout_id: str, row: LookRow) -> None:
        """Keep a look; nothing happens where there is one of its time."""

    def looks(self, rollout_id: str) -> Sequence[LookRow]:
        """All looks of a rollout, in order."""


class LookKeeper:
    """Keeps the looks that are worth it.

    Args:
        looks: of the catalog.
        rollout_id: whose.
    """

    def __init__(self, looks: Looks, rollout_id: str) -> None:
        self._looks, self._id = looks, rollout_id
        self._last: tuple[float, Observations] | None = None

    def has_kept(self, state: RolloutState) -> bool:
        """Whether the newest look, by whoever has run the rollout, was in a state."""
        rows = self._looks.looks(self._id)
        return bool(rows) and RolloutState.from_json(rows[-1].state) == state

    def keep(self, look: Look, *, decided: bool) -> None:
        """Keep a look, if something was decided by it, or enough time has gone and something is new.

        Args:
            look: the look.
            decided: anything but to hold.
        """
        if not decided and self._last is not None:
            time, seen = self._last
            wanted = max(SHORTEST_SECONDS, SHARE * (look.time - look.state.since))
            if look.time - time < wanted or seen == look.seen:
                return
        self._last = (look.time, look.seen)
        self._looks.look(self._id, LookRow(look.time, look.state.to_json(), to_text(look.seen)))

    def keep_end(self, state: RolloutState) -> None:
        """Keep the newest look once more, in the state that it led to and that nobody looks at.

        Args:
            state: without another move of the traffic than when it was seen.
        """
        if self._last is not None:
            time, seen = self._last
            self._looks.look(self._id, LookRow(math.nextafter(time, math.inf), state.to_json(), to_text(seen)))


def read(looks: Looks, rollout_id: str) -> list[Look]:
    """All looks of a rollout, in order."""
    return [Look(row.time, RolloutState.from_json(row.state), from_text(row.seen)) for row in looks.looks(rollout_id)]


def newest_told(looks: Looks, rollout_id: str, *, generation: int) -> Told | None:
    """What Prometheus had told of a generation of the weights at the newest look that was kept, or None."""
    rows = looks.looks(rollout_id)
    if not rows or RolloutState.from_json(rows[-1].state).generation != generation:
        return None
    return from_text(rows[-1].seen).told


def to_text(seen: Observations) -> str:
    """JSON; histograms by their buckets that are not empty."""
    return json.dumps(_body(seen), sort_keys=True, separators=(",", ":"))


def _body(seen: Observations) -> dict[str, Any]:
    body = asdict(replace(seen, others=()))
    steps = [*body["steps"], *(body["told"] or {"steps": ()})["steps"]]
    for arm in (*(step[name] for step in steps for name in ("champion", "challenger")), body["promoted"]):
        histogram = arm.pop("latency")
        arm["buckets"] = len(histogram)
        arm["latency"] = {str(i): n for i, n in enumerate(histogram) if n}
    return {**body, "others": [_body(other) for other in seen.others]}


def from_text(text: str) -> Observations:
    """The inverse of :func:`to_text`; also reads what earlier releases wrote, which asked no Prometheus."""
    return _seen(json.loads(text))


def _seen(body: dict[str, Any]) -> Observations:
    told = body.get("told")
    return Observations(
        _steps(body["steps"]),
        Pairs(**body["pairs_step"]),
        Pairs(**body["pairs_rollout"]),
        body["outcomes"],
        body["outcomes_lost"],
        body["traffic_ended"],
        tuple(body["breakers"]),
        _arm(body["promoted"]),
        # Looks of earlier releases have none of these.
        score_shift=_paired(body.get("score_shift")),
        loss=_paired(body.get("loss")),
        business=_values(body.get("business")),
        told=None if told is None else read_told(told, _steps(told["steps"])),
        others=tuple(_seen(other) for other in body.get("others", ())),
    )


def _paired(body: dict[str, Any] | None) -> PairedMoments | None:
    return None if body is None else PairedMoments(Moments(**body["step"]), Moments(**body["rollout"]))


def _values(body: dict[str, Any] | None) -> ValuesSeen | None:
    if body is None:
        return None
    arms = {name: tuple(Moments(**one) for one in body[name]) for name in ("champion", "challenger")}
    return ValuesSeen(**{**body, **arms})


def _steps(bodies: Sequence[dict[str, Any]]) -> tuple[StepSeen, ...]:
    return tuple(
        StepSeen(one["weight"], _arm(one["champion"]), _arm(one["challenger"]), one.get("shadow", False))
        for one in bodies
    )


def _arm(body: dict[str, Any]) -> ArmSeen:
    histogram = [0] * body["buckets"]
    for place, n in body["latency"].items():
        histogram[int(place)] = n
    return ArmSeen(body["requests"], body["errors"], tuple(histogram), body.get("errors_in_row", 0))
