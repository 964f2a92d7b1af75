"""A small world for rollouts: stores in memory, a clock that tests own, and users that only exist as counts."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np

from sluiceway.catalog.leases import Lease
from sluiceway.catalog.rollouts import RolloutRow
from sluiceway.config.deployment import PolicySection
from sluiceway.config.stages import ShadowSection, StepSection
from sluiceway.core.command import Command
from sluiceway.core.errors import ConflictError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, Arm, TrafficDocument
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import Doors
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase

CHAMPION = Arm("1", 1.0, "bundles/one", "d1")
# Histograms of answers that are all fast, and all slow.
FAST = tuple([0] * 20 + [1] + [0] * 76)
SLOW = tuple([0] * 80 + [1] + [0] * 16)


def arm_seen(requests, errors=0, latency=FAST):
    """What an arm did whose answers all took the same time."""
    return ArmSeen(requests, errors, tuple(requests * c for c in latency))


def make_plan(**changes):
    values = {
        "rollout_id": "r1",
        "endpoint": "flights",
        "model": "flights",
        "version": "2",
        "bundle": "bundles/two",
        "digest": "d2",
        "application": "flights-challenger-2",
        "champion": CHAMPION,
        "steps": tuple({"weight": w, "max_seconds": 600} for w in (0.05, 0.25, 0.5, 1.0)),
        "created": 1000.0,
    }
    values |= changes
    values["steps"] = tuple(_step(step) for step in values["steps"])
    return RolloutPlan(**values)


def _step(step):
    if not isinstance(step, dict):
        return step
    return ShadowSection(**step) if "share" in step else StepSection(**step)


def plan_of(deployment, **changes):
    """The plan of a configuration's strategy."""
    policy = PolicySection.model_validate(deployment)
    return make_plan(
        steps=policy.planned_steps,
        strategy=policy.strategy,
        max_failures=policy.max_failures,
        on_inconclusive=policy.on_inconclusive,
        keeps_warm=True,
        **changes,
    )


STEPS = [{"weight": 0.25}, {"weight": 1.0}]
STRATEGIES = {
    "canary": {},
    "shadow, canary": {"shadow": {"share": 0.2}, "steps": STEPS},
    "linear": {"strategy": "linear", "linear": {"start": 0.5, "increment": 0.25, "interval_seconds": 100}},
    "at most 2 failures": {
        "strategy": "linear",
        "linear": {"start": 0.5, "increment": 0.5, "interval_seconds": 100, "max_failures": 2},
    },
    "blue/green": {"strategy": "blue_green"},
    "shadow, blue/green": {"strategy": "blue_green", "shadow": {}, "blue_green": {"min_seconds": 60}},
    "warm, canary": {"shadow": {"share": 0}, "steps": STEPS},
}


class MemoryDocuments:
    """As catalog.traffic.TrafficStore."""

    def __init__(self):
        self.documents = defaultdict(list)

    def newest(self, endpoint):
        return self.documents[endpoint][-1] if self.documents[endpoint] else None

    def publish(self, document):
        newest = self.newest(document.endpoint)
        if document.generation != (newest.generation if newest else 0) + 1:
            raise ConflictError("not the next generation")
        self.documents[document.endpoint].append(document)


class MemoryRollouts:
    """As catalog.rollouts.RolloutStore."""

    def __init__(self):
        self.rows = {}
        self.entries = defaultdict(list)
        self.commands = defaultdict(list)
        self.kept = defaultdict(dict)

    def create(self, rollout_id, *, endpoint, plan, now):
        row = self.rows.setdefault(rollout_id, RolloutRow(rollout_id, endpoint, plan, now))
        if row.endpoint != endpoint:
            raise ConflictError("of another endpoint")
        return row

    def replan(self, rollout_id, *, endpoint, plan, now):
        row = self.rows.get(rollout_id)
        if row is None or row.endpoint != endpoint or self.entries[rollout_id]:
            return False
        self.rows[rollout_id] = RolloutRow(rollout_id, endpoint, plan, now)
        return True

    def get(self, rollout_id):
        return self.rows.get(rollout_id)

    def list(self, endpoint=None):
        rows = [row for row in self.rows.values() if endpoint in (None, row.endpoint)]
        return sorted(rows, key=lambda row: (row.created, row.rollout_id), reverse=True)

    def append(self, rollout_id, row):
        if any(entry.sequence == row.sequence for entry in self.entries[rollout_id]):
            raise ConflictError("written already")
        self.entries[rollout_id].append(row)

    def command(self, rollout_id, order, *, who="ann", reason="", now=0.0):
        command = Command(len(self.commands[rollout_id]) + 1, order, who, reason, now)
        self.commands[rollout_id].append(command)
        return command

    def next_command(self, rollout_id, *, after):
        return next((one for one in self.commands[rollout_id] if one.sequence > after), None)

    def look(self, rollout_id, row):
        self.kept[rollout_id].setdefault(row.time, row)

    def looks(self, rollout_id):
        return [row for _, row in sorted(self.kept[rollout_id].items())]

    def lengths(self):
        return {name: len(entries) for name, entries in self.entries.items() if entries}

    def journal(self, rollout_id):
        return sorted(self.entries[rollout_id], key=lambda row: row.sequence)


class MemoryLeases:
    """As catalog.leases.LeaseStore."""

    def __init__(self):
        self.leases = {}

    def acquire(self, name, *, owner, ttl, now, body="{}"):
        held = self.leases.get(name)
        if held and held.owner != owner and held.expires > now.timestamp():
            return False
        self.leases[name] = Lease(name, owner, now.timestamp() + ttl, body)
        return True

    def renew(self, name, *, owner, ttl, now):
        held = self.leases.get(name)
        if not held or held.owner != owner or held.expires <= now.timestamp():
            return False
        return self.acquire(name, owner=owner, ttl=ttl, now=now, body=held.body)

    def release(self, name, *, owner):
        held = self.leases.get(name)
        if not held or held.owner != owner:
            return False
        del self.leases[name]
        return True

    def list(self, prefix="", *, now=None):
        found = [lease for name, lease in sorted(self.leases.items()) if name.startswith(prefix)]
        return [lease for lease in found if now is None or lease.expires > now.timestamp()]


class Crash(BaseException):
    """The process dies; nobody catches it."""


class World:
    """Replicas, users, registry and clock; everything that outlives a controller.

    Args:
        rate: requests per second.
        errors: (champion's, challenger's) share of requests that fail.
        wrong: shares of pairs on which (only the champion, only the challenger) is right.
        slow: (champion's, challenger's) median latency in seconds.
        outcomes: False keeps the true outcomes back.
        delay: seconds until an outcome is known.
        seed: of the draws.
    """

    def __init__(
        self,
        *,
        rate=400,
        errors=(0.0, 0.0),
        wrong=(0.015, 0.015),
        slow=(0.005, 0.008),
        outcomes=True,
        delay=0.0,
        seed=0,
    ):
        self.documents, self.rollouts, self.leases = MemoryDocuments(), MemoryRollouts(), MemoryLeases()
        self.rate, self.errors, self.wrong, self.outcomes, self.delay = rate, errors, wrong, outcomes, delay
        self.latency = [_latency(median) for median in slow]
        self.random = np.random.default_rng(seed)
        self.time = 2000.0
        self.applied = None
        self.moves, self.aliases, self.applications = [], {"champion": "1"}, set()
        self.heard = []
        self.seen = defaultdict(lambda: [ArmSeen(), ArmSeen()])
        self.came = defaultdict(list)  # by generation: (time, outcomes of pairs)
        # Weight of a step -> what replicas say that ask the challenger no more then.
        self.breakers = {}
        self.operations, self.crash_at = 0, None

    @classmethod
    def served(cls, **qualities):
        """A world whose endpoint has a champion."""
        world = cls(**qualities)
        world.documents.publish(TrafficDocument("flights", 1, CHAMPION))
        world.applied = world.documents.newest("flights")
        return world

    # The clock: waiting is when users come.
    def now(self):
        return datetime.fromtimestamp(self.time, UTC)

    def sleep(self, seconds):
        self.time = (self.now() + timedelta(seconds=seconds)).timestamp()
        if self.applied is None:
            return
        shadows = self.applied.shadows
        if not (self.applied.challengers or shadows):
            self._alone(seconds)
            return
        weight = (self.applied.challengers or shadows)[0].weight
        n = self.random.poisson(self.rate * seconds)
        drawn = int(self.random.binomial(n, weight))
        counts = self.seen[self.applied.generation]
        for i, requests in enumerate((n if shadows else n - drawn, drawn)):
            failed = int(self.random.binomial(requests, self.errors[i]))
            counts[i] += ArmSeen(requests, failed, tuple(self.random.multinomial(requests, self.latency[i]).tolist()))
            if i == 1 and self.outcomes:
                lost, gained = self.wrong
                pairs = self.random.multinomial(requests - failed, [0.85 - lost, lost, gained, 0.15 - gained])
                self.came[self.applied.generation].append((self.time, pairs))

    def _alone(self, seconds):
        arm = 1 if self.applied.champion.version == "2" else 0
        n = self.random.poisson(self.rate * seconds)
        failed = int(self.random.binomial(n, self.errors[arm]))
        latency = tuple(self.random.multinomial(n, self.latency[arm]).tolist())
        self.seen[self.applied.generation][0] += ArmSeen(n, failed, latency)

    def _known(self, generation):
        known = [pairs for time, pairs in self.came[generation] if time <= self.time - self.delay]
        return sum(known, np.zeros(4, dtype=int))

    # The traffic.
    def current(self):
        return self.applied

    def apply(self, document):
        with self.step():
            if self.applied is None or document.generation > self.applied.generation:
                self.applied = document
                self.moves.append(document)

    # What wiring does.
    def started(self, plan):
        with self.step():
            self.aliases["challenger"] = plan.version
            self.applications.add(plan.application)

    def paused(self, plan):
        pass

    def promoted(self, plan):
        with self.step():
            self.aliases["champion"] = plan.version
            self.aliases.pop("challenger", None)
            self.applications.discard(plan.application)

    def rolled_back(self, plan, reason):
        with self.step():
            self.aliases.pop("challenger", None)
            self.aliases["champion"] = plan.champion.version
            self.applications.discard(plan.application)

    # Whoever is asked, and told.
    def refusal(self, event):
        return ""

    def tell(self, event):
        with self.step():
            self.heard.append((event.moment, event.weight, event.sequence))

    def heard_of(self):
        """What was told, however often."""
        return list(dict.fromkeys((moment, weight) for moment, weight, _ in self.heard))

    def observe(self, plan, state):
        counts = [self.seen[g] for g in state.generations]
        steps = tuple(step_seen(plan.steps[i], *c) for i, c in enumerate(counts))
        known = [self._known(g) for g in state.generations]
        whole = sum(known, np.zeros(4, dtype=int))
        breakers = () if steps[-1].shadow else self.breakers.get(steps[-1].weight, ())
        promoted = self.seen[state.generation][0] if state.phase is Phase.PROBATION else ArmSeen()
        return Observations(
            steps, pairs_of(known[-1]), pairs_of(whole), int(whole.sum()), 0, breakers=breakers, promoted=promoted
        )

    # Crashes.
    def step(self):
        return _Step(self)

    def doors(self):
        return Doors(
            traffic=self,
            documents=_Watched(self.documents, self, "publish"),
            rollouts=_Watched(self.rollouts, self, "append"),
            leases=self.leases,
            observe=self.observe,
            effects=self,
            clock=self,
            hooks=self,
        )

    def end_state(self):
        document = self.applied
        return document.champion, document.challengers, self.aliases, self.applications


def step_seen(stage, champion, challenger):
    """What a stage has seen of the arms."""
    shadow = isinstance(stage, ShadowSection)
    return StepSeen(stage.share / (1 + stage.share) if shadow else stage.weight, champion, challenger, shadow)


class _Step:
    """An effect: the process may die before it and after it."""

    def __init__(self, world):
        self.world = world

    def __enter__(self):
        self._maybe_die()

    def __exit__(self, kind, *_):
        if kind is None:
            self._maybe_die()

    def _maybe_die(self):
        self.world.operations += 1
        if self.world.operations == self.world.crash_at:
            raise Crash


class _Watched:
    def __init__(self, store, world, writing):
        self._store, self._world, self._writing = store, world, writing

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name != self._writing:
            return method

        def write(*args, **kwargs):
            with self._world.step():
                return method(*args, **kwargs)

        return write


def _latency(median):
    draws = np.random.default_rng(1).lognormal(np.log(median), 0.4, 100_000)
    counts = np.bincount(np.searchsorted(LATENCY_BOUNDS_SECONDS, draws), minlength=len(LATENCY_BOUNDS_SECONDS) + 1)
    return counts / counts.sum()


def pairs_of(counts):
    """Of (both right, only the champion, only the challenger, neither)."""
    both, champion, challenger, neither = (int(c) for c in counts)
    return Pairs(both, champion, challenger, neither)


class Commanded(World):
    """A world in which somebody says something at certain times: pairs of a time and an order."""

    said: tuple = ()

    def sleep(self, seconds):
        super().sleep(seconds)
        for at, order in self.said:
            if self.time - seconds < at <= self.time:
                self.rollouts.command("r1", order, now=self.time)
