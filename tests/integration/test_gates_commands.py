"""``sluiceway gates``: run on any version of a table, list, explain; verdicts are known again by their content."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import yaml

from sluiceway.cli.main import run_command
from sluiceway.config.evaluation import GATES
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.load import load_settings
from sluiceway.config.model_schema import ModelSchema
from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Status
from sluiceway.data.commit import append
from sluiceway.lifecycle.candidate import build_candidate
from sluiceway.lifecycle.evaluation import bench_of, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.import_model import import_model, read_source
from sluiceway.lifecycle.journal import Journal
from sluiceway.lifecycle.registration import register
from sluiceway.lifecycle.release import release
from sluiceway.lifecycle.subject import subject_of
from sluiceway.wiring.context import build_context

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "gates"
OWN = {"function": "fares:cheaper_is_no_riskier", "options": {"column": "fare"}, "severity": "warn"}


def rows(seed, n=4000):
    random = np.random.default_rng(seed)
    fare, age = random.gamma(2.0, 20.0, n), random.integers(18, 80, n)
    odds = 1 / (1 + np.exp(-((fare - 40) / 15 + (age - 50) / 40)))
    bad = (random.random(n) < odds).astype(np.int64)
    ids = pa.array(np.arange(n) + seed * n)
    return pa.table({"id": ids, "fare": fare, "age": age, "bad": bad, "sex": random.choice(["f", "m"], n)})


@pytest.fixture(scope="module")
def config(tmp_path_factory, ray_cluster):
    """A registered model, and the configuration that made it."""
    folder = tmp_path_factory.mktemp("gates-commands")
    append(str(folder / "table"), rows(0), message="first", source="test")
    document = {
        "experiment": {"name": "fares", "seed": 5},
        "data": {"path": str(folder / "table"), "features": ["fare", "age"], "target": "bad", "key": ["id"]},
        "model": {"params": {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3}},
        "training": {"folds": 2, "early_stopping_rounds": None},
        "evaluation": {"thresholds": {"auc_roc": 0.7}, "fairness": {"protected_attributes": ["sex"]}},
        "platform": {"state": str(folder / "state"), "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    context = build_context(load_settings(path))
    candidate = build_candidate(context, context.version())
    subject = subject_of(context, candidate, champion=None)
    evaluation = evaluate(context, subject, bench_of(context, subject))
    results = settle(context, evaluation)
    report = write_report(context, subject, evaluation, results, candidate.training)
    step = ReleaseStep(step="release", name="first")
    assert register(context, step, candidate, evaluation, results, report)["version"] == "1"
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """The commands in this process, on the cluster that the tests have: gives what they printed."""
    monkeypatch.setattr("sluiceway.cli.gates.connect_ray", lambda *_, **__: None)
    monkeypatch.setattr("sluiceway.cli.gates.disconnect", lambda: None)

    def run(*words, code=0):
        found = run_command(["gates", *map(str, words)])
        said = capsys.readouterr()
        assert found == code, said.out + said.err
        return json.loads(said.out) if "--json" in words and code != 2 else said.out + said.err

    return run


def verdicts(document):
    return {one["gate"]: one for one in document["results"]}


def cached(document):
    return {one["gate"] for one in document["results"] if one["cached"]}


def test_known_verdicts_are_taken_and_changed_limits_judge_only_their_own_gate_again(command, config):
    judge = ("run", "fares@1", "-c", config, "--json")
    assert cached(command(*judge)) == set(GATES)
    stricter = command(*judge, "--set", "evaluation.fairness.max_disparity=0.2")
    assert set(GATES) - cached(stricter) == {"fairness"}
    softer = command(*judge, "--set", "evaluation.fairness.severity=warn")
    assert cached(softer) == set(GATES)


def test_a_threshold_that_is_missed_blocks_with_exit_code_1_and_names_itself(command, config):
    missed = ("run", "fares@1", "-c", config, "--set", "evaluation.thresholds.auc_roc=0.99")
    told = command(*missed, code=1)
    assert "performance auc_roc 0." in told
    assert "limit >= 0.99" in told
    assert "FAIL (warn only)" in command(*missed, "--set", "evaluation.performance.severity=warn")


def test_the_limits_of_the_model_are_taken_where_no_configuration_is_named(command, config, monkeypatch):
    monkeypatch.setenv("SLUICEWAY_PLATFORM__STATE", str(config.parent / "state"))
    assert cached(command("run", "fares@1", "--json")) == set(GATES)


def test_another_version_of_the_table_is_judged_and_the_report_is_kept_with_the_model(command, config):
    uri = str(config.parent / "table")
    append(uri, rows(1), message="second", source="test")
    document = command("run", "fares@1", "-c", config, "--data", f"{uri}@1", "--json")
    assert cached(document) == set()
    context = build_context(load_settings(config))
    kept = context.registry.recorded("fares@1")
    assert kept.run_id == document["run"]
    folder = f"gates/{context.version(1).digest[:8]}"
    names = {entry.path for entry in context.registry._connection.client.list_artifacts(kept.run_id, folder)}
    assert {name.rpartition(".")[2] for name in names} == {"html", "json"}
    assert Path(document["report"]).read_text().startswith("<!DOCTYPE html>")
    assert cached(command("run", "fares@1", "-c", config, "--data", "0", "--json")) == set(GATES)


def test_an_own_gate_runs_beside_the_others(command, config, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    ray.cloudpickle.register_pickle_by_value(importlib.import_module("fares"))
    own = f"evaluation.own.cheaper={json.dumps(OWN)}"
    document = command("run", "fares@1", "-c", config, "--data", "0", "--set", own, "--json")
    (found,) = verdicts(document)["cheaper"]["verdicts"]
    assert found["measurement"]["name"] == "rows whose score rises with a lower fare"
    assert found["measurement"]["n"] > 100
    assert "cheaper" in cached(command("run", "fares@1", "-c", config, "--data", "0", "--set", own, "--json"))
    sys.modules.pop("fares", None)


def test_a_release_that_the_gates_block_is_in_mlflow_before_it_is_told(config):
    context = build_context(load_settings(config, overrides=["evaluation.thresholds.auc_roc=0.99"]))
    context.stores.pipeline.create("r1", config_digest="d", config="", now=context.now())
    journal = Journal(context.stores.pipeline, "r1", clock=context.clock)
    told = []
    for summary in release(context, journal, ReleaseStep(step="release", name="blocked", data=0), number=1):
        told.append(summary)
        if summary.status is not Status.PASS:
            break
    assert told[-1].name.endswith("gates")
    client = context.registry._connection.client
    found = client.search_runs([client.get_experiment_by_name("fares").experiment_id])
    (run,) = [run for run in found if run.info.run_name == "blocked"]
    assert run.data.tags["gate_performance"] == "FAIL"
    assert [version.version for version in context.registry.versions("fares")] == ["1"]


def test_what_cannot_be_run_is_refused_with_its_key(command, config):
    own = "evaluation.own={x: {function: 'no_such_module:f'}}"
    assert "evaluation.own.x.function" in command("run", "fares@1", "-c", config, "--set", own, code=2)
    limit = "evaluation.thresholds.accuracy=85"
    told = command("run", "fares@1", "-c", config, "--set", limit, code=2)
    assert "85 is outside of what accuracy can be, from 0 to 1" in told


def test_a_misspelt_column_is_refused_before_the_training_and_before_the_gates(command, config):
    misspelt = "evaluation.fairness.protected_attributes=[sexx]"
    expected = "evaluation.fairness.protected_attributes[0]: 'sexx' is no column of the table; did you mean 'sex'?"
    assert expected in command("run", "fares@1", "-c", config, "--set", misspelt, code=2)
    context = build_context(load_settings(config, overrides=[misspelt]))
    with pytest.raises(ConfigError) as caught:
        build_candidate(context, context.version())
    assert caught.value.problems == (expected,)


def test_a_configuration_that_would_judge_on_rows_of_the_training_is_refused(command, config):
    other_seed = command("run", "fares@1", "-c", config, "--set", "experiment.seed=6", code=2)
    assert "seed 6, trained with 5" in other_seed
    other_key = command("run", "fares@1", "-c", config, "--set", "data.key=[fare]", code=2)
    assert "columns ['fare'], trained with ['id']" in other_key


def test_list_and_explain_teach(command, config):
    assert [row["gate"] for row in command("list", "--json")] == list(GATES)
    assert "fairness" in command("list")
    for name in GATES:
        assert f"evaluation.{name}." in command("explain", name)
    document = command("explain", "fairness", "-c", config, "--json")
    options = {option["key"]: option["value"] for option in document["options"]}
    assert options["evaluation.fairness.protected_attributes"] == ["sex"]
    assert "did you mean 'fairness'" in command("explain", "fairnes", code=2)


def test_an_imported_version_is_judged_and_keeps_its_verdicts(command, config, tmp_path):
    context = build_context(load_settings(config))
    model = tmp_path / "model.ubj"
    model.write_bytes(context.registry.bundle("fares", "1")[1].model)
    schema = ModelSchema(target="bad", threshold=0.5, features=("fare", "age"))
    source = read_source(str(model), context.registry)
    number = import_model(context.registry, source, "fares", schema=schema).version
    assert context.registry.version("fares", number).gates == {}
    softer = ("--set", "evaluation.fairness.severity=warn", "--json")
    judge = ("run", f"fares@{number}", "-c", config)
    command(*judge, *softer)
    assert context.registry.version("fares", number).gates == {}  # by other limits than the configuration's
    command(*judge, "--json")
    found = context.registry.version("fares", number).gates
    assert set(found) == set(GATES)
    assert found["performance"] == "PASS"
