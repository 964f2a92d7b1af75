"""A candidate in a real replica: asked before any traffic, and gone afterwards without a trace."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from serving_models import CARRIERS, GRADES, as_rows, examples, train_grades, train_small
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import ServingSection as GateOptions
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, RequestError
from sluiceway.core.verdict import Status
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.gates.checks import serving
from sluiceway.gates.context import GateContext
from sluiceway.registry import bundle
from sluiceway.serving.environment import free_port
from sluiceway.serving.scorer import BundleScorer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

MODEL = "flights"
FEATURES = ("delay", "distance", "carrier")
PARITY = tuple(
    f"{way}: largest difference" for way in ("one by one", "saved and loaded", "served one by one", "served together")
)


@pytest.fixture(scope="module")
def serve_running(ray_cluster):
    """Serve with an application of somebody else's, which has to be there at the end as it was."""
    from ray import serve  # noqa: PLC0415 (Ray has to be up)

    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Neighbour:
        def __call__(self) -> int:
            return os.getpid()

    start_serve(ServingSection(port=0))
    handle = serve.run(Neighbour.bind(), name="neighbour", route_prefix=None)
    handle._init(_run_router_in_separate_loop=True) if not handle.is_initialized else None
    before = handle.remote().result(timeout_s=30)
    yield
    assert handle.remote().result(timeout_s=30) == before
    assert set(serve.status().applications) == {"neighbour"}
    stop_serve()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("candidate"), seed=1)


def spec_of(model, **serving_options):
    from sluiceway.serving.preflight_replica import PreflightSpec  # noqa: PLC0415

    options = {"port": 0} | serving_options
    return PreflightSpec(MODEL, str(model.folder), model.bundle.digest, ServingSection(**options))


def table(n=200, seed=7):
    matrix, labels = examples(n, seed=seed)
    rows = as_rows(matrix)
    columns = {name: [row[name] for row in rows] for name in FEATURES}
    return pa.table(columns | {"late": labels}), matrix


def applications():
    from ray import serve  # noqa: PLC0415

    return {name for name, state in serve.status().applications.items() if state.status != "DELETING"}


def gone(seconds=20.0):
    from ray import serve  # noqa: PLC0415

    deadline = time.monotonic() + seconds
    while set(serve.status().applications) != {"neighbour"} and time.monotonic() < deadline:
        time.sleep(0.1)
    return set(serve.status().applications) == {"neighbour"}


def judge_in_a_task(replica, model, *, kind="binary", **options):
    """The gate as the runner runs it, in a Ray task; its verdicts by name."""
    import ray  # noqa: PLC0415

    rows, matrix = table()
    scorer = BundleScorer(model.bundle)
    context = GateContext(
        gate="serving",
        section=GateOptions(**options),
        evaluation=EvaluationSection(),
        features=FEATURES,
        kinds={"delay": "numeric", "distance": "numeric", "carrier": "category"},
        target="late",
        threshold=scorer.threshold,
        task=kind,
        classes=scorer.classes,
        test=rows,
        scores=scorer.score_matrix(matrix),
        scorer=scorer,
        replica=replica,
    )
    task = ray.remote(serving.run).options(num_cpus=1)
    output = ray.get(task.remote(context), timeout=120)
    return {verdict.measurement.name: verdict for verdict in output.verdicts}


@pytest.mark.soak
def test_it_starts_serve_like_a_deployment_and_does_without_a_port_that_somebody_has(ray_cluster, model):
    from sluiceway.serving.instance import serve_address, stop_serve  # noqa: PLC0415 (Ray has to be up)
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    stop_serve()  # of whoever was here before
    assert serve_address() is None
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with preflight(spec_of(model, port=port)) as replica:
            assert replica.facts().model_bytes > 0
            assert serve_address().port != port
    assert serve_address() is None  # or a deployment would take the other port for its own
    port = free_port("127.0.0.1")
    with preflight(spec_of(model, port=port)) as replica:
        assert replica.facts().model_bytes > 0
    assert serve_address().port == port
    stop_serve()


@pytest.mark.soak
def test_a_worker_that_knows_a_serve_of_before_finds_the_one_of_now(ray_cluster, model):
    import ray  # noqa: PLC0415

    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    class Asker:
        """A worker that lives longer than a Serve; in here, for workers cannot import a test's file."""

        def ask(self, replica):
            return replica.facts().model_bytes

    asker = ray.remote(Asker).options(num_cpus=0).remote()
    start_serve(spec_of(model).serving)
    with preflight(spec_of(model)) as replica:
        assert ray.get(asker.ask.remote(replica), timeout=60) > 0
    stop_serve()
    start_serve(spec_of(model).serving)
    with preflight(spec_of(model)) as replica:
        assert ray.get(asker.ask.remote(replica), timeout=60) > 0
    ray.kill(asker)
    stop_serve()


def test_a_real_replica_answers_as_the_batch_and_is_gone_afterwards(serve_running, model):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    with preflight(spec_of(model)) as replica:
        (application,) = applications() - {"neighbour"}
        assert application.startswith("flights-preflight-")
        verdicts = judge_in_a_task(replica, model, load_seconds=30, memory_mb_more=500, model_mb=5)
        rows, _ = table(5)
        answers = replica.ask(serving.plain_rows(rows.select(list(FEATURES))))
    assert {name: v.status for name, v in verdicts.items() if v.status is not Status.PASS} == {}
    for name in PARITY:
        assert verdicts[name].measurement.value <= 1e-6
        assert verdicts[name].measurement.n == 200
    latency = verdicts["latency p99"].measurement
    assert 0 < verdicts["latency p50"].measurement.value <= latency.value < 30_000
    assert (latency.n, latency.unit) == (300, "ms")
    size = sum(file.stat().st_size for file in model.folder.iterdir())
    assert verdicts["model size"].measurement.value == pytest.approx(size / 2**20)
    assert verdicts["load time"].measurement.value > 0
    assert verdicts["memory added"].measurement.value >= 0
    assert answers.decisions == [float(score >= 0.5) for score in answers.scores]
    assert len(answers.seconds) == 5
    assert application not in applications()
    assert gone()


def test_a_bundle_whose_schema_has_two_columns_swapped_is_caught_and_named(serve_running, model, tmp_path):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    swapped = FeatureSchema(
        (Feature("distance", "numeric"), Feature("delay", "numeric"), Feature("carrier", "category", CARRIERS))
    )
    made = bundle.Bundle(model.bundle.model, swapped.to_dict(), model.bundle.decision, model.bundle.lineage)
    other = type(model)(model.booster, made, bundle.write(made, tmp_path / made.digest))
    with preflight(spec_of(other)) as replica:
        verdicts = judge_in_a_task(replica, model, rows=50)
    for name in PARITY[2:]:
        assert verdicts[name].status is Status.FAIL
        assert "'delay' and 'distance' have changed places" in verdicts[name].measurement.detail
    assert [verdicts[name].status for name in PARITY[:2]] == [Status.PASS] * 2
    assert verdicts["decisions that differ"].status is Status.FAIL


def test_several_classes_go_through_the_replica(serve_running, tmp_path):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    graded = train_grades(tmp_path, seed=2)
    with preflight(spec_of(graded)) as replica:
        verdicts = judge_in_a_task(replica, graded, kind="multiclass", rows=40)
        answers = replica.ask_together(serving.plain_rows(table(3)[0].select(list(FEATURES))))
    assert {name: v.status for name, v in verdicts.items() if v.status is not Status.PASS} == {}
    assert "decisions that differ" in verdicts
    assert set(answers.decisions) <= set(GRADES)


def test_requests_obey_the_endpoints_limits_and_errors_say_why(serve_running, model):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    rows, matrix = table(30)
    plain = serving.plain_rows(rows.select(list(FEATURES)))
    with preflight(spec_of(model, max_rows=7, max_body_bytes=400)) as replica:
        answers = replica.ask_together(plain)
        assert len(answers.seconds) > 30 / 7
        with pytest.raises(RequestError, match=r"gate.*is not a feature"):
            replica.ask([plain[0] | {"gate": 7}])
        with pytest.raises(RequestError, match="larger than 400 bytes"):
            replica.ask([plain[0] | {"carrier": "x" * 400}])
    np.testing.assert_allclose(answers.scores, BundleScorer(model.bundle).score_matrix(matrix), atol=1e-6)


def test_a_bundle_that_is_damaged_makes_the_gate_an_error_that_says_so(serve_running, tmp_path):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    broken = train_small(tmp_path, seed=8)
    (broken.folder / "lineage.json").write_text("{}")
    with preflight(spec_of(broken)) as replica:
        with pytest.raises(BackendError, match=r"could not be asked: .*does not come up: .*digest"):
            replica.facts()
        with pytest.raises(Exception, match="digest"):
            judge_in_a_task(replica, broken)
    assert gone()


def test_too_few_cpus_are_an_answer_and_no_wait_for_ever(serve_running, model):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    with (
        preflight(spec_of(model, replica_cpus=64), seconds=2) as replica,
        pytest.raises(BackendError, match="are there CPUs left"),
    ):
        replica.ask([{}])
    assert gone()


def test_an_interruption_is_raised_and_the_replica_is_gone(serve_running, model):
    from sluiceway.serving.preflight import preflight  # noqa: PLC0415

    with pytest.raises(KeyboardInterrupt), preflight(spec_of(model)):
        raise KeyboardInterrupt
    assert applications() == {"neighbour"}
    assert gone()


OTHER_DRIVER = """
import sys
from sluiceway import connect_ray
from sluiceway.config.platform import RaySection
from sluiceway.config.serving import ServingSection
connect_ray(RaySection(address=sys.argv[1]))
from sluiceway.serving.preflight import preflight
from sluiceway.serving.preflight_replica import PreflightSpec
with preflight(PreflightSpec(*sys.argv[2:], ServingSection(port=0))) as replica:
    print("bytes", replica.facts().model_bytes, flush=True)
    sys.stdin.read()
"""


@pytest.mark.soak
def test_what_a_killed_driver_left_is_removed_and_what_a_living_one_has_stays(serve_running, model):
    import ray  # noqa: PLC0415
    from ray import serve  # noqa: PLC0415

    from sluiceway.serving.preflight import _living_jobs, preflight  # noqa: PLC0415

    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", OTHER_DRIVER, address, MODEL, str(model.folder), model.bundle.digest]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert any(line.startswith("bytes") for line in driver.stdout), driver.stderr.read()
        (theirs,) = applications() - {"neighbour"}
        # Of another model, whose name begins like this one's.
        named_alike = f"{MODEL}-preflight-long-preflight-77777777-0123abcd"
        quiet = serve.deployment(type("Quiet", (), {}), ray_actor_options={"num_cpus": 0}).bind()
        target = serve.RunTarget(quiet, name=named_alike, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)
        with preflight(spec_of(model)) as replica:
            assert replica.facts().model_bytes > 0
            assert {theirs, named_alike} < applications()
    finally:
        driver.kill()
        driver.communicate()
    job = theirs.split("-")[2]
    deadline = time.monotonic() + 30
    while job in _living_jobs() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert theirs in applications()
    with preflight(spec_of(model)):
        assert theirs not in applications()
        assert named_alike in applications()
    serve.delete(named_alike, _blocking=False)
    assert gone()


def test_bodies_are_packed_up_to_the_limits():
    from sluiceway.serving.preflight import packed  # noqa: PLC0415

    rows = [json.dumps({"x": "é" * (i % 5)}) for i in range(40)]
    bodies = list(packed(rows, max_rows=6, max_bytes=120))
    assert [row for body in bodies for row in json.loads(body)["rows"]] == [json.loads(row) for row in rows]
    assert max(len(body) for body in bodies) <= 120
    assert max(len(json.loads(body)["rows"]) for body in bodies) <= 6
    exact = len(('{"rows":[' + ",".join(rows[:3]) + "]}").encode())
    assert len(list(packed(rows[:3], max_rows=6, max_bytes=exact))) == 1
    assert len(list(packed(rows[:3], max_rows=6, max_bytes=exact - 1))) == 2
    assert len(list(packed(rows[:2], max_rows=6, max_bytes=1))) == 2
    assert list(packed([], max_rows=6, max_bytes=100)) == []
