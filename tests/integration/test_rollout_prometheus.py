"""Rollouts by a real Prometheus that scrapes real processes: well, down, hung, wrong, silent, and restarted."""

from __future__ import annotations

import re
import signal
import threading
import time
from contextlib import chdir, contextmanager, redirect_stdout
from io import StringIO

import psutil
import pytest

import prometheus_server
from metered_endpoint import CONFIG, MeteredEndpoint
from rollout_world import make_plan
from sluiceway.cli.main import run_command
from sluiceway.config.load import header_secret
from sluiceway.config.metric_source import PrometheusSection
from sluiceway.core.errors import BackendError, InputError
from sluiceway.rollout.controller import run
from sluiceway.rollout.looks import read as read_looks
from sluiceway.rollout.own_queries import check, texts_of
from sluiceway.rollout.prometheus_api import open_prometheus
from sluiceway.rollout.replay import replay

pytestmark = pytest.mark.integration

QUICK = {"every_seconds": 0.5, "timeout_seconds": 1, "settle_seconds": 1.5, "max_errors": 4}
ERRORS = (
    'sum(increase(model_errors_total{model="$endpoint",version="$version",arm="$arm"}[$window]))'
    ' / sum(increase(model_requests_total{model="$endpoint",version="$version",arm="$arm"}[$window]))'
)


@pytest.fixture
def endpoint(tmp_path):
    for name in prometheus_server.PROGRAMS:
        prometheus_server.program(name)
    endpoint = MeteredEndpoint(tmp_path)
    yield endpoint
    endpoint.close()


@pytest.fixture
def prometheus(endpoint, tmp_path):
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with prometheus_server.running(folder, CONFIG.format(folder=tmp_path)) as prometheus:
        deadline = time.monotonic() + 30
        while len(prometheus.query('model_requests_total{model="flights"}')) < len(endpoint.replicas):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield prometheus


def plan_of(prometheus, source, *, queries=(), seconds=60, **changes):
    section = PrometheusSection(url=prometheus.url, queries=queries, **QUICK)
    steps = tuple({"weight": weight, "max_seconds": seconds} for weight in (0.5, 1.0))
    values = {"source": source, "prometheus": section.judging, "steps": steps, "dry_run": ("accuracy",)}
    return section, make_plan(**values, created=time.time(), **changes)


def rolled_out(endpoint, section, plan):
    with endpoint.doors(section) as doors:
        return run(plan, doors, poll_seconds=0.2)


@contextmanager
def meanwhile(endpoint, work, *, after):
    """Do something so many seconds after the first step has begun."""
    failed = []

    def wait_and_work():
        deadline = time.monotonic() + 30
        while not endpoint.document.challengers and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(after)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (told below)
            failed.append(error)

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join()
    assert not failed


def told_of(endpoint):
    """What Prometheus had told at the newest look that it had told anything at."""
    return [look.seen for look in read_looks(endpoint.rollouts, "r1") if look.seen.told is not None][-1]


def lines(outcome):
    return {metric.metric: metric.line for step in outcome.steps for metric in step.metrics}


def test_a_good_version_is_promoted_by_prometheus_alone(endpoint, prometheus, tmp_path):
    queries = [
        {"name": "own_errors", "query": ERRORS, "at_most": 0.05},
        {"name": "against", "query": ERRORS, "compare": "difference", "at_most": 0.05, "min_samples": 50},
        {"name": "served", "query": 'sum(model_requests_total{version="$version"})', "at_least": 1, "samples": "42"},
    ]
    endpoint.errors = {"champion": 0.01, "challenger": 0.01}
    section, plan = plan_of(prometheus, "prometheus", queries=queries)
    outcome = rolled_out(endpoint, section, plan)
    assert outcome.status == "promoted", outcome
    found = lines(outcome)
    assert "PASS; by Prometheus" in found["error_rate"]
    assert "PASS; by Prometheus" in found["latency_p99"]
    assert "n=42" in found["served"]
    # At full weight it is compared with the champion of the step before.
    assert "-> PASS" in found["against"]
    seen = told_of(endpoint)
    for counted, told in zip(seen.steps, seen.told.steps, strict=True):
        for arm in ("champion", "challenger"):
            by_counters, by_prometheus = getattr(counted, arm), getattr(told, arm)
            # It misses the time that replicas take to follow and two scrapes at most, and counts nothing twice.
            assert by_prometheus.requests <= by_counters.requests
            assert by_prometheus.requests >= by_counters.requests - 4 * endpoint.rate
            assert sum(by_prometheus.latency) == by_prometheus.requests
    assert seen.told.steps[0].challenger.requests >= 299
    # Judged again on what was kept, it comes to the same.
    assert [step.action for step in replay(plan, read_looks(endpoint.rollouts, "r1"))] == ["advance", "promote"]
    out = StringIO()
    with chdir(tmp_path), redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICEWAY_PLATFORM__CATALOG", endpoint.url)
        assert run_command(["rollout", "show", "r1"]) == 0
    assert "source: prometheus" in out.getvalue()
    assert "Prometheus: answers" in out.getvalue()


@pytest.mark.soak
def test_a_good_version_is_promoted_by_both_although_processes_begin_anew(endpoint, prometheus):
    def restart():
        endpoint.replace(0, same_port=True)
        time.sleep(1)
        endpoint.replace(1, same_port=False)

    section, plan = plan_of(prometheus, "both")
    with meanwhile(endpoint, restart, after=3):
        outcome = rolled_out(endpoint, section, plan)
    assert outcome.status == "promoted", outcome
    seen = told_of(endpoint)
    compared = {(one.arm, one.what): one for one in seen.told.compared}
    one = compared["challenger", "requests"]
    assert one.low > 0
    assert one.low * 0.98 - 3 <= one.prometheus <= one.high * 1.02 + 3
    # What a process had counted is not lost with it, nor counted twice: only what came after its last scrape is.
    first = [step.challenger.requests for step in (seen.steps[0], seen.told.steps[0])]
    assert first[0] - 5 * endpoint.rate <= first[1] <= first[0]


def test_a_query_of_ones_own_sends_a_version_back(endpoint, prometheus):
    endpoint.errors["challenger"] = 0.01
    queries = [{"name": "own_errors", "query": ERRORS, "at_most": 0.001, "min_samples": 100}]
    section, plan = plan_of(prometheus, "counters", queries=queries)
    outcome = rolled_out(endpoint, section, plan)
    assert (outcome.status, outcome.cause) == ("rolled_back", "own_errors")
    assert "limit <= 0.001" in outcome.reason


@pytest.mark.parametrize(
    "stop", [pytest.param(signal.SIGKILL, id="down", marks=pytest.mark.soak), pytest.param(signal.SIGSTOP, id="hung")]
)
def test_while_prometheus_is_away_it_holds_and_then_pauses(endpoint, prometheus, tmp_path, stop):
    section, plan = plan_of(prometheus, "both", on_inconclusive="continue")
    with meanwhile(endpoint, lambda: prometheus.process.send_signal(stop), after=1):
        outcome = rolled_out(endpoint, section, plan)
    assert (outcome.status, outcome.cause) == ("paused", "prometheus")
    assert "Prometheus has not answered 4 times in a row" in outcome.reason
    assert len(outcome.steps) == 1
    out = StringIO()
    with chdir(tmp_path), redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICEWAY_PLATFORM__CATALOG", endpoint.url)
        assert run_command(["rollout", "show", "r1"]) == 0
    assert "Prometheus: no answer, 4 times in a row" in " ".join(out.getvalue().split())


def test_what_fails_by_the_counters_goes_back_at_once_while_prometheus_is_hung(endpoint, prometheus):
    began = []

    def fail():
        prometheus.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        endpoint.errors["challenger"] = 0.9
        began.append(time.monotonic())

    # Each question may take half a minute: nobody waits for it.
    section, plan = plan_of(prometheus, "prometheus", on_inconclusive="hold")
    section = section.model_copy(update={"timeout_seconds": 8})
    with meanwhile(endpoint, fail, after=1), endpoint.doors(section) as doors:
        outcome = run(plan, doors, poll_seconds=0.2)
        took = time.monotonic() - began[0]
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
    assert "by the replicas' counters" in outcome.reason
    assert took < 5


def test_a_wrong_prometheus_is_told_with_both_numbers_and_nothing_goes_on(endpoint, prometheus):
    endpoint.factor = 2
    section, plan = plan_of(prometheus, "both", seconds=16, on_inconclusive="pause")
    outcome = rolled_out(endpoint, section, plan)
    assert [step.weight for step in outcome.steps] == [0.5]
    assert (outcome.status, outcome.cause) == ("paused", None)
    told = re.search(r"requests Prometheus has counted ([\d,]+) more, and the replicas ([\d,]+) to", outcome.reason)
    assert told, outcome.reason
    prometheus_said, replicas_said = (int(number.replace(",", "")) for number in told.groups())
    assert prometheus_said > 1.3 * replicas_said


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        pytest.param('sum(no_such_metric{arm="$arm"})', "INCONCLUSIVE", "gives nothing for the challenger", id="empty"),
        pytest.param(
            'model_requests_total{model="$endpoint"}',
            "ERROR",
            "aggregate with sum",
            id="several",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            'sum(model_errors_total{version="$version"}) / 0',
            "INCONCLUSIVE",
            "nothing to divide by",
            id="NaN",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "model_requests_total * on(model) model_requests_total",
            "ERROR",
            "does not take the query",
            id="execution",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_query_without_a_number_lets_nothing_go_on(endpoint, prometheus, query, status, told):
    queries = [{"name": "odd", "query": query, "at_most": 1e9}]
    section, plan = plan_of(prometheus, "counters", queries=queries, seconds=6, on_inconclusive="pause")
    outcome = rolled_out(endpoint, section, plan)
    assert outcome.status == "paused"
    (odd,) = [metric for metric in outcome.steps[-1].metrics if metric.metric == "odd"]
    assert odd.status == status
    assert told in odd.line


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sum(rate(x[5m])", "unclosed left parenthesis"),
        ("x[5m]", "gives a matrix, not a number"),
        ('"text"', "gives a string, not a number"),
        ("rate(x)", "expected type range vector"),
    ],
)
def test_what_prometheus_cannot_read_is_refused_before_anything_moves(prometheus, query, told):
    section, plan = plan_of(prometheus, "counters", queries=[{"name": "odd", "query": query, "at_most": 1}])
    with open_prometheus(section, header_secret) as api, pytest.raises(InputError) as error:
        check(api, plan.prometheus.queries, texts_of(plan, version="2", arm="challenger"))
    assert told in str(error.value)
    assert "queries, odd: query" in str(error.value)


def until_stopped(pid):
    """A signal is on its way for a moment, and Prometheus answers within less."""
    deadline = time.monotonic() + 10
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_whoever_is_no_prometheus_is_no_source(prometheus):
    elsewhere = PrometheusSection(url=f"{prometheus.url}/nowhere", timeout_seconds=1)
    with (
        open_prometheus(elsewhere, header_secret) as api,
        pytest.raises(BackendError, match="does not answer as Prometheus"),
    ):
        api.now()
    nobody = PrometheusSection(url="http://127.0.0.1:9", timeout_seconds=1)
    with open_prometheus(nobody, header_secret) as api, pytest.raises(BackendError, match="cannot be asked"):
        api.now()
    prometheus.process.send_signal(signal.SIGSTOP)
    until_stopped(prometheus.process.pid)
    with open_prometheus(PrometheusSection(url=prometheus.url, timeout_seconds=0.5), header_secret) as api:
        began = time.monotonic()
        with pytest.raises(BackendError, match=r"has not answered within 0\.5 s"):
            api.now()
        assert time.monotonic() - began < 3
