"""Rollouts end to end, with users who never pause: whatever breaks, they see no error, and the right model answers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

import prometheus_server
from command_line import sluiceway
from rollout_stage import CHAMPION, GOOD, MODEL, SLOW, WRONG, Stage, verdicts
from serve_processes import controller_pid, until
from sluiceway.core.command import Order
from sluiceway.core.errors import SluicewayError
from sluiceway.rollout.state import Phase

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

PROGRAM = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]
# Loose: a shared machine may take seconds, and what is broken takes a minute.
SECONDS = 10.0
LOCKED_SECONDS = 5.0
# How late outcomes come that undo a promotion.
LATE_SECONDS = 120.0
SCRAPE = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
"""
JOB = """
  - job_name: {name}
    http_sd_configs: [{{url: "{url}", refresh_interval: 1s}}]
"""


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


def two_steps(**more):
    """Steps of the same form, half and all."""
    return [{"weight": 0.5, "max_seconds": 60, **more}, {"weight": 1.0, "max_seconds": 60, **more}]


def environment():
    """Of a process of its own that works on the stage."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


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
def test_wrong_answers_whose_outcomes_come_at_once_send_it_back(stage, say):
    with stage.endpoint("wrong") as endpoint, endpoint.users() as users:
        going = endpoint.start(WRONG)
        going.reaches(Phase.STEP)
        gone = endpoint.alone_since(beyond=going.state.generations[-1])
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "accuracy"), outcome
        endpoint.check_answered_by(CHAMPION, users)
        first = min(seen.answered for seen in users.answers if seen.version == WRONG and seen.decision != seen.truth)
        say(f"from the first wrong answer to weight 0 on all replicas {gone - first:.3f} s")
        assert gone - first < SECONDS
    endpoint.check_counted(users)
    assert users.failed == []


@pytest.mark.soak
def test_wrong_answers_whose_outcomes_come_two_minutes_late_undo_the_promotion(stage, say):
    late = {"on_inconclusive": "continue", "probation": {"seconds": 600}}
    steps = [{"weight": 0.5, "max_seconds": 1.5}, {"weight": 1.0, "max_seconds": 1.5}]
    with stage.endpoint("late") as endpoint, endpoint.users(tells=lambda seen: False, pause=0.02) as users:
        going = endpoint.start(WRONG, steps=steps, **late)
        going.reaches(Phase.PROBATION)
        endpoint.check_answered_by(WRONG, users)
        promoted = time.time()
        time.sleep(LATE_SECONDS)
        assert going.state.phase is Phase.PROBATION  # without outcomes nothing speaks for it or against it
        began = time.time()
        assert users.tell(lambda seen: seen.answered < promoted) > 100
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "accuracy"), outcome
        assert outcome["reason"].startswith("after the promotion")
        endpoint.check_answered_by(CHAMPION, users)
        last = max(seen.answered for seen in users.answers if seen.version == WRONG)
        say(f"from the late outcomes to the old model answering everything {last - began:.3f} s")
        assert last - began < SECONDS
    assert users.failed == []


@pytest.mark.soak
@pytest.mark.parametrize(("inconclusive", "ends"), [("rollback", "rolled_back"), ("continue", "paused")])
def test_without_users_nothing_is_promoted(stage, inconclusive, ends):
    steps = [{"weight": 0.5, "max_seconds": 2}, {"weight": 1.0, "max_seconds": 2}]
    with stage.endpoint(f"nobody-{ends.replace('_', '-')}") as endpoint:
        outcome = endpoint.start(GOOD, steps=steps, on_inconclusive=inconclusive).ended()
        assert (outcome["status"], outcome["cause"]) == (ends, None), outcome
        assert len(outcome["steps"]) == 1
        if ends == "paused":
            rollouts = endpoint.stores.rollouts
            rollouts.command(outcome["rollout_id"], Order.ABORT, who="ann", reason="nobody comes", now=time.time())
            assert endpoint.start(GOOD, again=outcome["rollout_id"]).ended()["status"] == "rolled_back"
        with endpoint.users() as users:
            endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@pytest.mark.soak
def test_users_who_leave_in_the_middle_leave_it_undecided(stage):
    steps = [{"weight": 0.5, "max_seconds": 60}, {"weight": 1.0, "min_requests": 3000, "max_seconds": 4}]
    with stage.endpoint("leaving") as endpoint:
        with endpoint.users() as users:
            going = endpoint.start(GOOD, steps=steps)
            going.reaches(Phase.STEP, step=1)
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", None), outcome
        assert "not enough evidence after 4 s at 100%" in outcome["reason"]
        with endpoint.users() as others:
            endpoint.check_answered_by(CHAMPION, others)
    assert users.failed + others.failed == []


@pytest.mark.soak
def test_outcomes_of_the_champions_answers_alone_are_no_evidence(stage):
    steps = [{"weight": 0.5, "max_seconds": 5}, {"weight": 1.0, "max_seconds": 5}]
    with (
        stage.endpoint("one-arm") as endpoint,
        endpoint.users(tells=lambda seen: seen.arm == "champion") as users,
    ):
        outcome = endpoint.start(GOOD, steps=steps).ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", None), outcome
        said = verdicts(outcome)
        assert (said["accuracy"][0], said["error_rate"][0]) == ("INCONCLUSIVE", "PASS"), said
        assert "no pairs yet" in said["accuracy"][1]
        endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@pytest.mark.soak
def test_outcomes_of_the_challengers_answers_alone_are_enough(stage):
    """The champion has scored the same requests."""
    with (
        stage.endpoint("other-arm") as endpoint,
        endpoint.users(tells=lambda seen: seen.arm == "challenger") as users,
    ):
        outcome = endpoint.start(WRONG).ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "accuracy"), outcome
        endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@contextmanager
def prometheus(stage, folder, jobs):
    """A Prometheus that finds the replicas by so many jobs."""
    for name in prometheus_server.PROGRAMS:
        prometheus_server.program(name)
    catalog = f"sqlite:///{stage.folder / '.sluiceway' / 'catalog.db'}"
    discovery = subprocess.Popen(
        [*PROGRAM, "monitor", "discovery", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment(), "SLUICEWAY_PLATFORM__CATALOG": catalog},
    )
    try:
        url = discovery.stdout.readline().split()[0]
        config = SCRAPE + "".join(JOB.format(name=f"job{i}", url=url) for i in range(jobs))
        with prometheus_server.running(folder, config) as running:
            yield running
    finally:
        discovery.send_signal(signal.SIGINT)
        discovery.wait(30)
        discovery.stdout.close()


@pytest.mark.soak
def test_while_prometheus_is_hung_a_bad_one_goes_back_and_a_good_one_waits(stage, tmp_path):
    with (
        prometheus(stage, tmp_path, jobs=1) as hung,
        stage.endpoint("hung") as endpoint,
        endpoint.users() as users,
    ):
        section = {"url": hung.url, "every_seconds": 0.5, "timeout_seconds": 1, "settle_seconds": 4, "max_errors": 3}
        asked = {"source": "prometheus", "prometheus": section, "on_inconclusive": "continue"}
        going = endpoint.start(GOOD, steps=two_steps(min_seconds=4), **asked)
        going.reaches(Phase.STEP, step=0)
        hung.process.send_signal(signal.SIGSTOP)
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("paused", "prometheus"), outcome
        hung.process.send_signal(signal.SIGCONT)
        outcome = endpoint.start(GOOD, again=outcome["rollout_id"], **asked).ended()
        assert outcome["status"] == "promoted", outcome
        endpoint.check_answered_by(GOOD, users)

        going = endpoint.start(WRONG, **asked)
        going.reaches(Phase.STEP, step=0)
        hung.process.send_signal(signal.SIGSTOP)
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", "accuracy"), outcome
        endpoint.check_answered_by(GOOD, users)
    assert users.failed == []


@pytest.mark.soak
def test_a_prometheus_that_counts_everything_twice_lets_nothing_go_on(stage, tmp_path):
    steps = [{"weight": 0.5, "max_seconds": 18}, {"weight": 1.0, "max_seconds": 18}]
    with (
        prometheus(stage, tmp_path, jobs=2) as wrong,
        stage.endpoint("twice") as endpoint,
        endpoint.users() as users,
    ):
        section = {"url": wrong.url, "every_seconds": 0.5, "settle_seconds": 2}
        outcome = endpoint.start(GOOD, steps=steps, source="both", prometheus=section).ended()
        assert (outcome["status"], outcome["cause"]) == ("rolled_back", None), outcome
        said = verdicts(outcome)
        assert (said["accuracy"][0], said["error_rate"][0]) == ("PASS", "INCONCLUSIVE"), said
        assert "Prometheus" in said["error_rate"][1]
        endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@pytest.mark.soak
def test_a_rollout_whose_process_is_killed_is_gone_on_with_by_the_next_one(stage):
    with stage.endpoint("killed") as endpoint, endpoint.users() as users:
        config = stage.config("killed", steps=two_steps(min_seconds=3))
        words = ["rollout", "start", f"{MODEL}@{GOOD}", "--config", str(config)]
        with (stage.folder / "killed.log").open("wb") as log:
            process = subprocess.Popen([*PROGRAM, *words], stdout=log, stderr=log, env=environment())
        try:
            wait_for(lambda: len(endpoint.document().challengers) == 1, process)
        finally:
            process.kill()
            process.wait()
        before = endpoint.document()
        users.wait(100)
        assert endpoint.document() == before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
            (told,) = sluiceway(stage.folder, *words)
        assert told["rollout"]["status"] == "promoted", told
        assert told["rollout"]["rollout_id"] == before.rollout_id
        endpoint.check_answered_by(GOOD, users)
    endpoint.check_counted(users)
    assert users.failed == []


def wait_for(check, process, seconds=90.0):
    """Until something is so, while a process lives."""
    deadline = time.monotonic() + seconds
    while not check():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_serves_controller():
    """SIGKILL; Ray starts another one."""
    until(controller_pid)
    os.kill(controller_pid(), signal.SIGKILL)


@pytest.mark.soak
def test_serves_controller_may_die_in_a_step(stage):
    with stage.endpoint("headless") as endpoint, endpoint.users() as users:
        going = endpoint.start(GOOD, raise_every=3)
        going.reaches(Phase.STEP)
        kill_serves_controller()
        outcome = going.ended()
        assert (outcome["status"], outcome["cause"] in ("error_rate", "breaker")) == ("rolled_back", True), outcome
        endpoint.check_answered_by(CHAMPION, users)

        going = endpoint.start(GOOD, steps=two_steps(min_seconds=2))
        going.reaches(Phase.STEP, step=1)
        kill_serves_controller()
        assert going.ended()["status"] == "promoted"
        endpoint.check_answered_by(GOOD, users)
    endpoint.check_counted(users)
    assert users.failed == []


@pytest.mark.soak
def test_a_catalog_that_is_locked_for_a_while_loses_nothing(stage):
    with stage.endpoint("locked") as endpoint, endpoint.users() as users:
        going = endpoint.start(GOOD, steps=two_steps(min_seconds=3))
        going.reaches(Phase.STEP, step=0)
        users.wait(50)
        catalog = sqlite3.connect(stage.folder / ".sluiceway" / "catalog.db", isolation_level=None, timeout=30)
        catalog.execute("BEGIN EXCLUSIVE")
        before = len(users.answers)
        time.sleep(LOCKED_SECONDS)
        assert len(users.answers) > before + 50  # they are answered meanwhile
        assert going.state.step == 0
        catalog.execute("ROLLBACK")
        catalog.close()
        assert going.ended()["status"] == "promoted"
        endpoint.check_answered_by(GOOD, users)
    endpoint.check_counted(users)
    assert users.failed == []


@contextmanager
def damaged(stage, version):
    """The bundle of a version lies damaged in the bundle store for as long as the block runs."""
    (model,) = stage.bundle(version).glob("model*")
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    try:
        yield
    finally:
        model.write_bytes(whole)


@pytest.mark.soak
@pytest.mark.parametrize("isolation", ["process", "replica"])
def test_a_version_that_cannot_be_loaded_is_refused_before_anything_moves(stage, isolation):
    with stage.endpoint(f"damaged-{isolation}", isolation=isolation) as endpoint, endpoint.users() as users:
        rollout = endpoint.rollout(GOOD)
        before = endpoint.document()
        with damaged(stage, GOOD):
            going = endpoint.run(rollout)
            with pytest.raises(SluicewayError, match=r"damaged|digest"):
                going.ended()
            assert endpoint.document() == before
            assert going.state.phase is Phase.PENDING
        endpoint.check_answered_by(CHAMPION, users)
    assert users.failed == []


@pytest.mark.soak
def test_a_replica_that_starts_beside_a_damaged_challenger_answers_by_the_champion(stage):
    from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)

    with stage.endpoint("restart") as endpoint, endpoint.users() as users:
        # It waits for a person, however long the restart takes.
        going = endpoint.start(GOOD, steps=two_steps(manual=True))
        going.reaches(Phase.STEP, step=0)
        # The journal is first: a replica that has not loaded the version yet could not follow at all.
        until(lambda: endpoint.followed() == going.state.generations[-1])
        spec = endpoint.rollout(GOOD).endpoint
        with damaged(stage, GOOD):
            deploy_endpoint(replace(spec, serving=spec.serving.model_copy(update={"replicas": 3})))
            users.wait(300)
        assert users.failed == []
        endpoint.stores.rollouts.command(going.name, Order.PROMOTE, who="ann", reason="whole again", now=time.time())
        assert going.ended()["status"] == "promoted"
        endpoint.check_answered_by(GOOD, users)
    assert users.failed == []
