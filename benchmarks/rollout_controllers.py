"""What one process pays for the looks at many rollouts: CPU a decision and memory, with real journals and counts.

    python benchmarks/rollout_controllers.py [--endpoints N]

A decision is what the controller's loop does between two sleeps: count, read what people told it, judge, keep the look.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_line import Bench, Number, run_area

from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, ReplicaCounts
from sluiceway.catalog.stores import Stores, open_stores
from sluiceway.config.deployment import StepSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, Arm, TrafficDocument
from sluiceway.rollout.decide import Hold, decide
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.looks import Look, LookKeeper
from sluiceway.rollout.observe import RecordObserver
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

ENDPOINTS = 1000
ROUNDS = 5
PAIRS = 100
REPLICAS = 2
CPU_MS, MEMORY_GB = 5.0, 1.0
OWED = [
    Number("cpu_per_decision", f"ours<={CPU_MS:g}", unit="ms"),
    Number("memory", f"ours<={MEMORY_GB:g}", unit="GB"),
]


@dataclass(frozen=True)
class Controlled:
    """One rollout as the loop of a controller holds it."""

    journal: Journal
    observe: RecordObserver
    keeper: LookKeeper


def fill(stores: Stores, endpoints: int, now: float) -> list[str]:
    """Rollouts in their first step, with requests of both arms, pairs and outcomes; gives their ids."""
    names = [f"model-{number:04}" for number in range(endpoints)]
    for name in names:
        plan = RolloutPlan(
            rollout_id=f"{name}@2",
            endpoint=name,
            model=name,
            version="2",
            bundle="bundles/two",
            digest="d2",
            application=f"{name}-challenger",
            champion=Arm("1", 1.0, "bundles/one", "d1"),
            steps=tuple(StepSection(weight=weight, max_seconds=86_400) for weight in (0.05, 0.25, 0.5, 1.0)),
            created=now,
            salt=name,
        )
        stores.traffic.publish(TrafficDocument(name, 1, plan.champion))
        stores.traffic.publish(plan.step_document(0, generation=2))
        journal = Journal.begin(stores.rollouts, plan)
        state = RolloutState(Phase.STEP, 0, 2, since=now, generations=(2,), reason="begin")
        journal.append(state, action="advance to step 0", evidence={}, now=now)
        records = [
            PredictionRecord(f"{i}", now, name, 2, "challenger", "2", 0.5, i % 2, "", "1", 0.5, i % 2)
            for i in range(PAIRS)
        ]
        stores.records.add_predictions(records)
        stores.records.add_feedback(name, [FeedbackRecord(f"{i}", i % 2, now, now) for i in range(PAIRS)])
    return [f"{name}@2" for name in names]


def count(stores: Stores, endpoints: int, turn: int, now: float) -> None:
    """More requests of every endpoint since the last turn, as its replicas write them."""
    histogram = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    rows = []
    for number in range(endpoints):
        for arm, version, requests in (("champion", "1", 950 * turn), ("challenger", "2", 50 * turn)):
            for replica in range(REPLICAS):
                histogram[30:35] = [requests // 5] * 5
                rows.append(
                    ReplicaCounts(
                        f"model-{number:04}", 2, f"r{replica}", version, arm, requests, 0, tuple(histogram), now
                    )
                )
    stores.records.put_counts(rows)


def look(one: Controlled, now: float) -> bool:
    """One decision; gives whether it was to hold."""
    plan, state = one.journal.plan, one.journal.state
    seen = one.observe(plan, state)
    command = one.journal.next_command()
    decision = decide(plan, state=state, observations=seen, now=now, command=command)
    holds = isinstance(decision.action, Hold)
    one.keeper.keep(Look(now, state, seen), decided=not holds)
    return holds


def resident_gb() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


@contextmanager
def catalog() -> Iterator[Stores]:
    """A SQLite catalog that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        yield open_stores(f"sqlite:///{folder}/catalog.db")


def measure(bench: Bench, endpoints: int) -> None:
    """Look at all of them, some rounds."""
    with catalog() as stores:
        began = time.time()
        ids = fill(stores, endpoints, began)
        before = resident_gb()
        clock = SystemClock()
        held = [
            Controlled(
                Journal.open(stores.rollouts, name),
                RecordObserver(stores.records, stores.breakers, clock=clock),
                LookKeeper(stores.rollouts, name),
            )
            for name in ids
        ]
        taken: list[float] = []
        wall = 0.0
        for turn in range(1, ROUNDS + 1):
            count(stores, endpoints, turn, time.time())
            at, cpu = time.perf_counter(), time.process_time()
            holding = 0
            for one in held:
                # As if a minute had gone between the rounds, so that each look is one to keep.
                holding += look(one, began + 60.0 * turn)
            taken.append((time.process_time() - cpu) / endpoints * 1000)
            wall = max(wall, time.perf_counter() - at)
            if holding != endpoints:
                raise AssertionError(f"{endpoints - holding} of {endpoints} rollouts would have moved")
        bench.add(Number("cpu_per_decision", f"ours<={CPU_MS:g}", ours=sorted(taken)[len(taken) // 2], unit="ms"))
        bench.add(Number("memory", f"ours<={MEMORY_GB:g}", ours=resident_gb(), unit="GB"))
        bench.tell("rollouts in one SQLite catalog", f"{endpoints:,}, {PAIRS} pairs and {2 * REPLICAS} counts each")
        bench.tell("slowest round", f"{wall:.1f} s for all of them, one after the other, looks kept")
        bench.tell("memory for the rollouts alone", f"{(resident_gb() - before) * 1000:.0f} MB")


def main() -> int:
    """Measure; a smaller number is a try that is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=ENDPOINTS)
    endpoints = parser.parse_args().endpoints
    return run_area(
        "rollout_controllers", [(lambda bench: measure(bench, endpoints), OWED)], keep=endpoints == ENDPOINTS
    )


if __name__ == "__main__":
    sys.exit(main())
