"""Rollouts end to end, with users who never pause: whatever breaks, they see no error, and the right model answers."""

from __future__ import annotations

import sys
import time

import pytest

from command_line import sluiceway
from rollout_stage import CHAMPION, GOOD, SLOW, WRONG, Stage
from sluiceway.rollout.state import Phase

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

# Loose: a shared machine may take seconds, and what is broken takes a minute.
SECONDS = 10.0


@pytest.fixture(scope="module")
def stage(ray_cluster, tmp_path_factory):
    """One Serve for the module."""
    import ray  # noqa: PLC0415 (collected without Ray, too)

    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    yield Stage(tmp_path_factory.mktemp("faults"), ray.get_runtime_context().gcs_address)
    stop_serve()


@pytest.fixture
def say(capsys, request):
    """Tell a person a number, whatever becomes of the test."""

    def write(text):
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {text}\n")

    return write


@pytest.mark.soak
def test_a_good_version_is_promoted_and_undone_by_one_command(stage, say):
    with stage.endpoint("good") as endpoint, endpoint.users() as users:
        assert endpoint.start(GOOD).ended()["status"] == "promoted"
        endpoint.check_answered_by(GOOD, users)
        began = time.time()
        sluiceway(stage.folder, "rollout", "undo", endpoint.name, "--config", "good.yaml")
        took = time.time() - began
        endpoint.check_answered_by(CHAMPION, users)
        last = max(seen.answered for seen in users.answers if seen.version == GOOD)
        say(f"from `rollout undo` to the old model answering everything {last - began:.3f} s, the command {took:.3f} s")
        assert last - began < SECONDS
    endpoint.check_counted(users)
    assert users.failed == []


def test_errors_send_it_back(stage, say):
    with stage.endpoint("errors") as endpoint, endpoint.users() as users:
        going = endpoint.start(GOOD, raise_every=3)
        going.reaches(Phase.STEP)
        gone = endpoint.alone_since(beyond=going.state.generations[-1])
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"] in ("error_rate", "breaker")) == ("rolled_back", True), outcome
        endpoint.check_answered_by(CHAMPION, users)
        first = min(seen.answered for seen in users.answers if seen.failover)
        say(f"from the first faulty answer to weight 0 on all replicas {gone - first:.3f} s ({outcome['cause']})")
        assert gone - first < SECONDS
    endpoint.check_counted(users)
    assert users.failed == []


@pytest.mark.soak
def test_a_slow_one_goes_back(stage):
    slow = {"error_rate": 0.05, "accuracy": 0.05, "latency_p99_ratio": 1.5, "latency_p99_seconds": 0.02}
    with stage.endpoint("slow") as endpoint, endpoint.users(many=200, tells=lambda seen: False) as users:
        outcome = endpoint.start(SLOW, margins=slow).ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "latency_p99"), outcome
        endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@pytest.mark.soak
def test_wrong_answers_whose_outcomes_come_late_undo_the_promotion(stage, say):
    late = {"on_inconclusive": "continue", "probation": {"seconds": 60}}
    steps = [{"weight": 0.5, "max_seconds": 1.5}, {"weight": 1.0, "max_seconds": 1.5}]
    with stage.endpoint("late") as endpoint, endpoint.users(tells=lambda seen: False) as users:
        going = endpoint.start(WRONG, steps=steps, **late)
        going.reaches(Phase.PROBATION)
        endpoint.check_answered_by(WRONG, users)
        began = time.time()
        assert users.tell(lambda seen: True) > 100
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "accuracy"), outcome
        assert outcome["reason"].startswith("after the promotion")
        endpoint.check_answered_by(CHAMPION, users)
        last = max(seen.answered for seen in users.answers if seen.version == WRONG)
        say(f"from the late outcomes to the old model answering everything {last - began:.3f} s")
        assert last - began < SECONDS
    assert users.failed == []
