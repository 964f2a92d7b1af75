"""A model that goes on from the champion, on rows that the champion has not seen."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import xgboost
import yaml

from sluiceway.config.load import load_settings
from sluiceway.core.errors import ConfigError, DataError, ModelError
from sluiceway.data.commit import append
from sluiceway.lifecycle.candidate import build_candidate, candidate_key
from sluiceway.lifecycle.evaluation import bench_of, evaluate
from sluiceway.lifecycle.subject import subject_of
from sluiceway.registry.mlflow_registry import CHAMPION, RunRecord
from sluiceway.wiring.context import build_context

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

ROWS, DAY = 3_000, 86_400_000_000


def delivery(number):
    """A month of rows; what makes a flight late drifts from month to month."""
    random = np.random.default_rng(abs(number))
    a, b = random.normal(size=(2, ROWS))
    at = np.sort(random.integers(number * 30 * DAY, (number + 1) * 30 * DAY, ROWS))
    signal = a * (1 - number) + b + random.normal(size=ROWS) * 0.5
    return pa.table(
        {
            "id": np.arange(ROWS) + number * ROWS,
            "at": pa.array(at, pa.timestamp("us")),
            "a": a,
            "b": b,
            "carrier": random.choice(["AA", "UA", "B6"][: 2 + max(number, 0)], ROWS),
            "late": (signal > 0).astype(np.int8),
            "early": (signal < 0).astype(np.int8),
        }
    )


def context_of(folder, **training):
    document = {
        "experiment": {"name": "going-on", "seed": 3},
        "data": {
            "path": str(folder / "table"),
            "features": ["a", "b", "carrier"],
            "target": "late",
            "key": ["id"],
            "time": "at",
        },
        "model": {"params": {"n_estimators": 30, "max_depth": 4, "learning_rate": 0.3}},
        "training": {"folds": 3, "early_stopping_rounds": None, **training},
        "evaluation": {"metrics": ["auc_roc"], "thresholds": {"auc_roc": 0.6}},
        "platform": {"state": str(folder / "state"), "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return build_context(load_settings(path))


@pytest.fixture(scope="module")
def champion(tmp_path_factory, ray_cluster):
    """A folder whose registry has a champion, trained on the first month; the second month has come since."""
    folder = tmp_path_factory.mktemp("incremental")
    append(str(folder / "table"), delivery(0), message="first", source="test")
    context = context_of(folder, incremental={})
    candidate = build_candidate(context, context.version())  # nothing serves yet: from the beginning
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    assert "base" not in bundle.lineage
    run = context.registry.log_run(RunRecord("going-on", "first", {}, {}, (), {}, {}))
    context.registry.promote("going-on", context.registry.register("going-on", bundle, run))
    append(str(folder / "table"), delivery(1), message="second", source="test")
    return folder, bundle


def test_new_rows_are_learnt_and_old_trees_kept(champion):
    folder, old = champion
    context = context_of(folder, incremental={"window": "new"})
    version = context.version()
    candidate = build_candidate(context, version)
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    assert bundle.lineage["base"] == {"version": "1", "digest": old.digest}
    assert candidate.training["base"] == "1"
    before, after = (xgboost.Booster(model_file=bytearray(each.model)) for each in (old, bundle))
    assert (before.num_boosted_rounds(), after.num_boosted_rounds()) == (30, 60)
    assert bytes(after[:30].save_raw("ubj")) == bytes(before.save_raw("ubj"))
    assert candidate.training["rows"]["train"] == pytest.approx(ROWS * 0.7, rel=0.1)  # of the second month alone
    assert bundle.schema == old.schema  # the champion's codes; the new carrier is missing to both


@pytest.mark.soak
def test_what_has_gone_on_is_judged_as_any_other_and_repeats_to_the_byte(champion):
    folder, _ = champion
    context = context_of(folder, incremental={"window": "new"})
    version = context.version()
    candidate = build_candidate(context, version)
    subject = subject_of(context, candidate, champion=None)
    evaluation = evaluate(context, subject, bench_of(context, subject))  # as any other model, on all test rows
    results = {result.gate: result for result in evaluation.results}
    assert results["performance"].status.name in {"PASS", "FAIL"}
    scratch = build_candidate(context_of(folder), version)
    assert candidate.digest != scratch.digest
    again = build_candidate(context, version)
    assert again.digest == candidate.digest


def test_a_window_of_time(champion):
    folder, _ = champion
    context = context_of(folder, incremental={"window": "10d"})
    candidate = build_candidate(context, context.version())
    assert candidate.training["rows"]["train"] == pytest.approx(ROWS / 3 * 0.7, rel=0.15)


@pytest.mark.soak
def test_folds_in_time_order_share_the_window(tmp_path, ray_cluster):
    def by_time(**training):
        context = context_of(tmp_path, **training)
        split = context.data.split.model_copy(update={"by": "time"})
        return dataclasses.replace(context, data=context.data.model_copy(update={"split": split}))

    append(str(tmp_path / "table"), delivery(0), message="first", source="test")
    context = by_time()
    first = build_candidate(context, context.version())
    run = context.registry.log_run(RunRecord("going-on", "first", {}, {}, (), {}, {}))
    bundle = context.bundles.get(first.uri, first.digest)
    context.registry.promote("going-on", context.registry.register("going-on", bundle, run))
    append(str(tmp_path / "table"), delivery(1), message="second", source="test")
    context = by_time(incremental={"window": "new"})
    candidate = build_candidate(context, context.version())
    sizes = [fold["rows"] for fold in candidate.training["folds"]]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == pytest.approx(candidate.training["rows"]["train"] * 3 / 4, abs=3)
    for older in (-1, -2, -3):
        append(str(tmp_path / "table"), delivery(older), message="x", source="test")
    with pytest.raises(ModelError, match="it has learnt from rows that are validation or test rows of version 4"):
        build_candidate(context, context.version())


def test_the_key_of_a_candidate_knows_the_base(champion):
    folder, _ = champion
    going_on, anew = context_of(folder, incremental={}), context_of(folder)
    version = going_on.version()
    key = candidate_key(going_on, version)
    assert key == candidate_key(going_on, version) != candidate_key(anew, version)


def test_what_cannot_be_gone_on_from(champion):
    folder, _ = champion
    context = context_of(folder, incremental={})
    fewer = context.data.model_copy(update={"features": ("a", "b")})
    with pytest.raises(ModelError, match="its features are a, b, carrier"):
        build_candidate(dataclasses.replace(context, data=fewer), context.version())
    with pytest.raises(DataError, match=r"no row of version 0 .* is later than those that going-on@1 has seen"):
        build_candidate(context, context.version(0))
    with pytest.raises(ModelError, match="no version or alias '7'"):
        build_candidate(context_of(folder, incremental={"base": "7"}), context.version())
    counts = context.model.model_copy(update={"type": "XGBRegressor", "params": {"objective": "count:poisson"}})
    unjudged = context.evaluation.model_copy(update={"metrics": ("mae",), "thresholds": {}})
    with pytest.raises(ModelError, match="it is of kind binary, and the rows are of kind regression"):
        build_candidate(dataclasses.replace(context, model=counts, evaluation=unjudged), context.version())
    early = context.data.model_copy(update={"target": "early"})
    with pytest.raises(ModelError, match="its target is late"):
        build_candidate(dataclasses.replace(context, data=early), context.version())
    other = context.experiment.model_copy(update={"seed": 4})
    with pytest.raises(ModelError, match="placed in training, validation and test by another seed"):
        build_candidate(dataclasses.replace(context, experiment=other), context.version())
    keyless = context.data.model_copy(update={"key": ()})
    with pytest.raises(ModelError, match="by another seed, key, group or split"):
        build_candidate(dataclasses.replace(context, data=keyless), context.version())
    timeless = dataclasses.replace(context, data=context.data.model_copy(update={"time": None}))
    with pytest.raises(ConfigError) as caught:
        build_candidate(timeless, context.version())
    assert "data.time" in str(caught.value)
    assert context.registry.alias("going-on", CHAMPION) == "1"
