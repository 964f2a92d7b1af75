"""The area ``rollout_live``: how fast a bad version is gone, on a real endpoint whose users never pause.

``python benchmarks/rollout_live.py`` takes all its numbers. The stage is the one of tests/integration.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from bench_line import Bench, Number, run_area

from sluiceway.config.platform import RaySection
from sluiceway.rollout.state import Phase
from sluiceway.serving.instance import stop_serve
from sluiceway.wiring.cluster import connect_ray, disconnect

TESTS = Path(__file__).resolve().parent.parent / "tests"
REPEATS = 5
NUMBERS = {
    "fault_to_weight_0": ("ours<=1", "s", "from the first faulty answer until no replica asks the version, slowest"),
    "fault_failed_requests": ("ours<=0", "", "that users saw fail meanwhile"),
    "undo_to_old_model": ("ours<=1", "s", "from `rollout undo` until the old model answers everything, slowest"),
    "undo_failed_requests": ("ours<=0", "", "that users saw fail meanwhile"),
}


def live(bench: Bench) -> None:
    """Both numbers, each ``REPEATS`` times on one endpoint."""
    sys.path.append(str(TESTS))
    import rollout_stage  # noqa: PLC0415 (of the tests)

    connect_ray(RaySection(num_cpus=2, object_store_mb=200))
    try:
        with tempfile.TemporaryDirectory() as folder:
            stage = rollout_stage.Stage(Path(folder), ray.get_runtime_context().gcs_address)
            for name, unit, measure in (("fault", "fault_to_weight_0", _fault), ("undo", "undo_to_old_model", _undo)):
                with stage.endpoint(name) as endpoint, endpoint.users() as users:
                    seconds = sorted(measure(endpoint, users, rollout_stage) for _ in range(REPEATS))
                _add(bench, unit, seconds[-1])
                _add(bench, f"{name}_failed_requests", len(users.failed))
                told = ", ".join(f"{each:.3f}" for each in seconds)
                bench.tell(name, f"{told} s; {len(users.answers):,} requests answered, {len(users.failed)} failed")
            stop_serve()
    finally:
        disconnect()


def _fault(endpoint: Any, users: Any, stage: Any) -> float:
    """A third of the challenger's requests fail."""
    before = len(users.answers)
    going = endpoint.start(stage.GOOD, raise_every=3)
    going.reaches(Phase.STEP)
    gone: float = endpoint.alone_since(beyond=going.state.generations[-1])
    going.ended()
    endpoint.check_answered_by(stage.CHAMPION, users)
    return gone - min(seen.answered for seen in users.answers[before:] if seen.failover)


def _undo(endpoint: Any, users: Any, stage: Any) -> float:
    """By the command, in this process; what Python takes to begin is told by nobody here."""
    from command_line import sluiceway  # noqa: PLC0415 (of the tests)

    endpoint.start(stage.GOOD).ended()
    endpoint.check_answered_by(stage.GOOD, users)
    began = time.time()
    sluiceway(endpoint.stage.folder, "rollout", "undo", endpoint.name, "--config", f"{endpoint.environment}.yaml")
    endpoint.check_answered_by(stage.CHAMPION, users)
    last: float = max(seen.answered for seen in users.answers if seen.version == stage.GOOD)
    return last - began


def _add(bench: Bench, name: str, ours: float) -> None:
    goal, unit, note = NUMBERS[name]
    bench.add(Number(name, goal, ours, unit=unit, note=note))


MEASUREMENTS = [(live, [Number(name, goal, unit=unit, note=note) for name, (goal, unit, note) in NUMBERS.items()])]

if __name__ == "__main__":
    sys.exit(run_area("rollout_live", MEASUREMENTS))
