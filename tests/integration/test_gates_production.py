"""Recent requests, from the log of an endpoint's predictions, in the gate `data_quality`."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pyarrow as pa
import pytest
import yaml

from sluiceway.cli.main import run_command
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.load import load_settings
from sluiceway.config.serving import PredictionLogSection
from sluiceway.core.traffic import Arm, endpoint_name
from sluiceway.data.commit import append
from sluiceway.features.encode import encode_table
from sluiceway.lifecycle.candidate import build_candidate
from sluiceway.lifecycle.deployment import prediction_log
from sluiceway.lifecycle.evaluation import bench_of, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.registration import register
from sluiceway.lifecycle.subject import subject_of
from sluiceway.registry.mlflow_registry import CHAMPION
from sluiceway.serving.ledger import Answer
from sluiceway.serving.prediction_log import ForLog, PredictionLog
from sluiceway.serving.record_batches import LogPlan, record_batches
from sluiceway.serving.route import LoadedArm
from sluiceway.serving.scorer import BundleScorer
from sluiceway.wiring.context import build_context

pytestmark = [
    pytest.mark.integration,
    pytest.mark.soak,  # how requests are judged is in `test_gates_data_quality.py`
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

MODES = ("cash", "card", "phone")
FEATURES = ["fare", "age", "paid"]
LIMIT = ("--set", "evaluation.data_quality.max_production_drift=0.25")
DAY = 86_400.0


def rows(seed, n=4000):
    random = np.random.default_rng(seed)
    fare, age = np.round(random.gamma(2.0, 20.0, n), 1), random.integers(18, 80, n)
    odds = 1 / (1 + np.exp(-((fare - 40) / 15 + (age - 50) / 40)))
    bad = (random.random(n) < odds).astype(np.int64)
    paid = random.choice(MODES, n)
    return pa.table({"id": np.arange(n) + seed * n, "fare": fare, "age": age, "paid": paid, "bad": bad})


class World:
    """A registered model, the configuration that made it, and requests that its endpoint has answered."""

    def __init__(self, folder):
        append(str(folder / "table"), rows(0), message="first", source="test")
        document = {
            "experiment": {"name": "fares", "seed": 5},
            "data": {"path": str(folder / "table"), "features": FEATURES, "target": "bad", "key": ["id"]},
            "model": {"params": {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3}},
            "training": {"folds": 2, "early_stopping_rounds": None},
            # It is compared with itself, and there are few rows: only the requests are to say something here.
            "evaluation": {"champion": {"severity": "info"}, "slices": {"severity": "info"}},
            "platform": {"state": str(folder / "state"), "ray": {"num_cpus": 2, "object_store_mb": 200}},
        }
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(document))
        self.context = context = build_context(load_settings(self.config))
        self.candidate = build_candidate(context, context.version())
        subject = subject_of(context, self.candidate, champion=None)
        evaluation = evaluate(context, subject, bench_of(context, subject))
        results = settle(context, evaluation)
        report = write_report(context, subject, evaluation, results, self.candidate.training)
        step = ReleaseStep(step="release", name="first")
        assert register(context, step, self.candidate, evaluation, results, report)["version"] == "1"
        context.registry.set_alias("fares", CHAMPION, "1")
        self.scorer = BundleScorer(subject.bundle, threads=1)
        self.sent = 0

    def requested(self, table, *, arm="champion", version="1", age_days=0.1, **section):
        """Requests of these rows, as the recorder would have written them."""
        loaded = LoadedArm(Arm(version, 1.0, "", ""), arm, self.scorer)
        scorer = self.scorer
        matrix, _ = encode_table(table, scorer.schema)
        scores = scorer.score_matrix(matrix)
        answer = Answer("r", time.time() - age_days * DAY, 1, loaded, scores, scorer.decide(scores), matrix, None)
        log = PredictionLogSection(**section)
        endpoint = endpoint_name("fares", "production")
        writer = PredictionLog(prediction_log(self.context, endpoint), endpoint=endpoint, section=log, secret=b"k" * 32)
        batches = record_batches([answer], LogPlan(1.0, frozenset(log.drop)))
        self.sent += 1
        writer.append([ForLog(f"replica {self.sent}", number, batch) for number, batch in enumerate(batches)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, ray_cluster):
    return World(tmp_path_factory.mktemp("gates-production"))


@pytest.fixture
def world(trained):
    """The model, and no requests yet."""
    shutil.rmtree(trained.context.folders.state / "predictions", ignore_errors=True)
    return trained


@pytest.fixture
def judged(world, monkeypatch, capsys):
    """Judge on the training version, and tell of the requests."""
    monkeypatch.setattr("sluiceway.cli.gates.connect_ray", lambda *_, **__: None)
    monkeypatch.setattr("sluiceway.cli.gates.disconnect", lambda: None)

    def run(*more, code=0):
        found = run_command(["gates", "run", "fares@1", "-c", str(world.config), "--json", *more])
        said = capsys.readouterr()
        assert found == code, said.out + said.err
        (quality,) = [one for one in json.loads(said.out)["results"] if one["gate"] == "data_quality"]
        (line,) = [one for one in quality["verdicts"] if "recent requests" in one["measurement"]["name"]]
        return line | {"cached": quality["cached"]}

    return run


def test_requests_like_the_training_rows_pass_and_shifted_ones_name_the_feature(world, judged):
    world.requested(rows(1))
    same = judged(*LIMIT)
    assert same["status"] == "PASS"
    assert same["measurement"]["value"] < 0.05
    assert same["measurement"]["n"] == 4000
    assert judged(*LIMIT)["cached"]
    dearer = rows(2, 12_000)
    fare = dearer["fare"].to_numpy() * 3
    world.requested(dearer.set_column(1, "fare", pa.array(fare)))
    moved = judged(*LIMIT, code=1)
    assert (moved["status"], moved["cached"]) == ("FAIL", False)
    assert moved["measurement"]["detail"] == "breaks it: fare"
    assert moved["measurement"]["n"] == 16_000


def test_without_a_limit_it_is_shown_and_blocks_nothing(world, judged):
    world.requested(rows(2).set_column(2, "age", pa.array(np.full(4000, 30.0))))
    shown = judged("--set", "evaluation.data_quality.min_variance=0.0000001")  # it is judged again
    assert (shown["status"], shown["threshold"]) == ("PASS", None)
    assert shown["measurement"]["detail"] == "worst: age"
    assert shown["measurement"]["value"] > 1


def test_without_a_log_it_says_so_and_is_not_judged(judged):
    absent = judged(*LIMIT, code=3)
    assert (absent["status"], absent["reason"]) == ("INCONCLUSIVE", "none are recorded")


def test_what_is_hashed_or_dropped_is_skipped_and_named(world, judged, monkeypatch):
    kept_back = {"hash": ("paid",), "drop": ("age",)}
    world.requested(rows(3), **kept_back)
    named = "worst: fare; not in the log as they were: age, paid"
    assert judged(*LIMIT)["measurement"]["detail"] == named
    # What is kept back now is not taken from older rows either.
    world.requested(rows(4))
    monkeypatch.setenv("SLUICEWAY_PLATFORM__SERVING__LOG__HASH", '["paid"]')
    monkeypatch.setenv("SLUICEWAY_PLATFORM__SERVING__LOG__DROP", '["age"]')
    assert judged(*LIMIT)["measurement"]["detail"] == named


def test_old_requests_and_those_of_shadows_do_not_count(world, judged):
    strange = rows(5).set_column(1, "fare", pa.array(np.full(4000, 1e6)))
    world.requested(rows(1))
    world.requested(strange, arm="shadow", version="9")
    world.requested(strange, age_days=30)
    assert judged(*LIMIT)["status"] == "PASS"
    assert judged(*LIMIT, "--set", "evaluation.data_quality.production_days=60", code=1)["status"] == "FAIL"


def test_a_feature_that_the_champion_is_asked_without_is_missing_and_not_unknown(world, judged):
    without = rows(6).set_column(3, "paid", pa.nulls(4000, pa.string()))
    world.requested(without, version="0")  # of a version that knew no such feature
    few = judged(*LIMIT)
    assert few["measurement"]["detail"].endswith("not in the log as they were: paid")
    world.requested(without)
    assert judged(*LIMIT, code=1)["measurement"]["detail"] == "breaks it: paid"


def test_a_run_that_is_gone_on_with_keeps_the_requests_of_its_first_try(world, monkeypatch):
    monkeypatch.setenv("SLUICEWAY_EVALUATION__DATA_QUALITY__MAX_PRODUCTION_DRIFT", "0.25")
    context = build_context(load_settings(world.config))
    world.requested(rows(1))
    first = subject_of(context, world.candidate, champion="1")
    bench = bench_of(context, first)
    evaluation = evaluate(context, first, bench)
    world.requested(rows(2).set_column(1, "fare", pa.array(np.full(4000, 1e6))))
    recorded = evaluation.to_dict()["production"]
    again = subject_of(context, world.candidate, champion="1", production=recorded)
    assert bench_of(context, again).key == bench.key
    afresh = subject_of(context, world.candidate, champion="1")
    assert bench_of(context, afresh).key != bench.key
