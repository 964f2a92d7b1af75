"""What a batch of scores is going to be: its name, its columns, who does it, and what is refused before it runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_scores import pinned, plan, rows, table_of
from serving_models import GRADES, train_grades, train_small
from sluiceway.core.errors import BackendError, ConfigError, DataError, InputError, SchemaMismatchError
from sluiceway.core.references import ModelReference, TableVersion
from sluiceway.core.repository import TrackedTable
from sluiceway.data import commit, commit_files, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.lifecycle.batch_plan import (
    DIGEST,
    MODEL,
    ScoreRequest,
    check_source,
    content_id,
    declared_key,
    earlier_report,
)
from sluiceway.lifecycle.score_columns import (
    Kept,
    Origin,
    ScoreColumns,
    kept_columns,
    refuse_other_features,
    unseen_categories,
)
from sluiceway.lifecycle.score_pool import LEAST_CPUS, pool_of
from sluiceway.training.nodes import Node
from sluiceway.training.plan import Cluster

SCHEMA = rows(1, seed=1).schema
NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)
ORIGIN = Origin("late", "3", "d" * 64, "/lake/flights", 7, "b", NOW)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("models"), seed=1)


@pytest.fixture
def source(tmp_path) -> TableVersion:
    return table_of(tmp_path / "flights", rows(50, seed=1))


def test_the_name_of_a_batch_is_its_content(model, tmp_path):
    version = TableVersion("/lake/flights", 7, "ab" * 32, 50, "newest")
    request = ScoreRequest(version, ModelReference("late", "3"), model.bundle)
    kept, uri = (Kept("id", "id"),), "/lake/scores"
    name = content_id(request, kept, uri)
    assert name.startswith("score-")
    assert len(name) == len("score-") + 32
    # Not of how it was asked for: the same rows by another tag, the same model by another number.
    same = replace(
        request, source=replace(version, ref="v7"), model=ModelReference("late", "4"), device="cpu", actors=2
    )
    assert content_id(same, kept, uri) == name
    other = train_small(tmp_path, seed=2)
    others = [
        content_id(replace(request, source=replace(version, version=8)), kept, uri),
        content_id(replace(request, source=replace(version, digest="cd" * 32)), kept, uri),
        content_id(replace(request, source=replace(version, uri="/lake/other")), kept, uri),
        content_id(replace(request, bundle=other.bundle), kept, uri),
        content_id(request, (Kept("id", "flight"),), uri),
        content_id(request, (*kept, Kept("carrier", "carrier")), uri),
        content_id(request, kept, "/lake/more"),
    ]
    assert len({name, *others}) == 8


def test_the_name_of_a_batch_is_the_same_in_every_release(model):
    version = TableVersion("/lake/flights", 7, "ab" * 32, 50, "newest")
    bundle = type("Named", (), {"digest": "d" * 64})()
    request = ScoreRequest(version, ModelReference("late", "3"), bundle)
    found = content_id(request, (Kept("id", "id"),), "/lake/scores")
    assert found == "score-d1cd356ffec12af1ce9d63332273c1a4"


def test_columns_are_kept_under_their_name_or_another():
    assert kept_columns(["id", "carrier=airline", "id"], SCHEMA, table="t") == (
        Kept("id", "id"),
        Kept("carrier", "airline"),
    )
    odd = pa.schema([("a=b", pa.int64()), ("c", pa.int64())])
    assert kept_columns(["a=b", "a=b=c2"], odd, table="t") == (Kept("a=b", "a=b"), Kept("a=b", "c2"))


@pytest.mark.parametrize(
    ("names", "error", "told"),
    [
        (["ids"], SchemaMismatchError, "no column 'ids'; did you mean 'id'? to keep"),
        (["id=score"], ConfigError, "scoring writes a column 'score' of its own"),
        (["id=Batch_ID"], ConfigError, "scoring writes a column 'Batch_ID' of its own"),
        (["id", "carrier=ID"], ConfigError, "two columns would be called so"),
        (["id="], ConfigError, "a column needs a name"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(names, error, told):
    with pytest.raises(error) as refused:
        kept_columns(names, SCHEMA, table="t")
    assert told in str(refused.value)


def test_every_column_that_does_not_fit_the_model_is_told_at_once():
    features = FeatureSchema(
        (
            Feature("delays", "numeric"),
            Feature("distance", "category", ("a",)),
            Feature("carrier", "numeric"),
            Feature("delay", "numeric"),
        )
    )
    with pytest.raises(SchemaMismatchError) as refused:
        refuse_other_features(SCHEMA, features, table="flights")
    told = refused.value.message
    assert "no column 'delays'; did you mean 'delay'?" in told
    assert "'distance' is double, the model was trained on a category column" in told
    assert "'carrier' is string, the model was trained on a numeric column" in told
    assert "'delay' is" not in told
    refuse_other_features(SCHEMA, FeatureSchema((Feature("carrier", "category"),)), table="flights")


def batch(n: int = 3) -> pa.RecordBatch:
    return rows(n, seed=1).combine_chunks().to_batches()[0]


def test_a_score_stands_beside_the_key_and_where_it_comes_from():
    columns = ScoreColumns((Kept("id", "flight"),), (pa.int64(),), (), True, ORIGIN)
    found = columns.rows(batch(), np.array([0.2, 0.5, 0.9]), np.array([0.0, 1.0, 1.0]))
    assert found.schema == columns.schema
    assert found.to_pylist()[1] == {
        "flight": 1,
        "score": 0.5,
        "decision": 1,
        "model": "late",
        "model_version": "3",
        "model_digest": "d" * 64,
        "source": "/lake/flights",
        "source_version": 7,
        "batch_id": "b",
        "scored_at": NOW,
    }


@pytest.mark.parametrize("classes", [GRADES, (3, 1, 2)])
def test_of_several_classes_the_likeliest_is_the_decision(classes):
    columns = ScoreColumns((), (), classes, False, ORIGIN)
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    found = columns.rows(batch(2), scores, np.empty(0))
    assert found["score"].to_pylist() == [0.7, 0.5]
    assert found["decision"].to_pylist() == [classes[1], classes[0]]
    assert [dict(row) for row in found["probabilities"].to_pylist()] == [
        dict(zip(map(str, classes), row, strict=True)) for row in scores.tolist()
    ]


def test_a_model_without_a_threshold_decides_nothing():
    columns = ScoreColumns((), (), (), False, ORIGIN)
    assert "decision" not in columns.schema.names
    assert columns.rows(batch(), np.array([1.5, 2.5, 3.5]), np.empty(0))["score"].to_pylist() == [1.5, 2.5, 3.5]


def test_unknown_categories_are_counted_and_missing_ones_are_not():
    features = FeatureSchema((Feature("carrier", "category", ("AA",)), Feature("delay", "numeric")))
    given = pa.record_batch({"carrier": pa.array(["AA", None, "ZZ", "YY"]), "delay": [1.0, None, None, 2.0]})
    matrix = np.array([[0, 1], [np.nan, np.nan], [np.nan, np.nan], [np.nan, 2]], np.float32)
    assert unseen_categories(given, matrix, features) == {"carrier": 2}


# Who scores.


def cluster(cpus: float, *, node: float | None = None, gpus: float = 0) -> Cluster:
    return Cluster((Node(node or cpus, 1e9, gpus), *([Node(cpus - node, 1e9)] if node else [])))


def test_every_cpu_has_an_actor_as_far_as_there_is_work():
    pool = pool_of(cluster(8), free_cpus=8, shares=100, device="cpu", actors=None)
    assert (pool.actors, pool.cpus, pool.gpus, pool.threads) == (8, 1.0, 0.0, 1)
    few = pool_of(cluster(8, node=4), free_cpus=8, shares=2, device="cpu", actors=None)
    assert (few.actors, few.cpus, few.threads) == (2, 1.0, 4)
    one = pool_of(cluster(8, node=4), free_cpus=8, shares=1, device="cpu", actors=None)
    assert (one.actors, one.threads) == (1, 4)
    assert pool_of(cluster(8), free_cpus=8, shares=100, device="cpu", actors=3).actors == 3
    assert pool_of(cluster(2), free_cpus=2, shares=100, device="cpu", actors=16).actors == 16


def test_beside_replicas_that_hold_the_cpus_less_is_reserved():
    assert pool_of(cluster(2), free_cpus=1, shares=9, device="cpu", actors=None).cpus == 0.5
    assert pool_of(cluster(2), free_cpus=0, shares=9, device="cpu", actors=None).cpus == LEAST_CPUS


@pytest.mark.parametrize(("cpus", "gpus", "actors", "part"), [(16, 1, 8, 0.125), (16, 4, 16, 0.25), (6, 2, 6, 0.3333)])
def test_actors_share_the_gpus(cpus, gpus, actors, part):
    pool = pool_of(cluster(cpus, gpus=gpus), free_cpus=cpus, shares=100, device="cuda", actors=None)
    assert (pool.actors, pool.gpus, pool.device) == (actors, part, "cuda")
    assert pool.gpus * actors <= gpus


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(BackendError, match="the Ray cluster has none"):
        pool_of(cluster(8), free_cpus=8, shares=1, device="cuda", actors=None)


# What is refused before anything is read.


def test_the_key_is_the_repositorys_or_the_contracts(source):
    uri = source.uri
    assert declared_key(uri, [TrackedTable("/lake/other", ("x",)), TrackedTable(uri, ("id",))]) == ("id",)
    assert declared_key(f"{uri}/_branches/{'0' * 32}", [TrackedTable(uri, ("id",))]) == ("id",)
    assert declared_key(uri, [TrackedTable(uri)]) == ()
    (Path(uri) / "_contract.yaml").write_text(
        """
apiVersion: v3.1.0
kind: DataContract
id: flights
version: 1.0.0
status: active
schema:
  - name: flights
    properties:
      - {name: delay, logicalType: number}
      - {name: carrier, logicalType: string, primaryKey: true, primaryKeyPosition: 2}
      - {name: number, physicalName: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
"""
    )
    assert declared_key(uri, []) == ("id", "carrier")


def test_scores_that_could_not_be_told_apart_are_refused(source, model, tmp_path):
    with pytest.raises(InputError, match="nobody has declared a key"):
        plan(source, model.bundle, tmp_path / "scores", keep=())
    planned = plan(source, model.bundle, tmp_path / "scores", keep=(), key=("id",))
    assert [field.name for field in planned.target.schema][:2] == ["id", "score"]
    assert planned.read == ("delay", "distance", "carrier", "id")


@pytest.mark.parametrize(
    ("given", "told"),
    [({"device": "gpu"}, "--device is 'gpu'"), ({"actors": 0}, "--actors is 0"), ({"batch_id": " "}, "--batch-id")],
)
def test_options_that_make_no_sense_are_refused(source, model, tmp_path, given, told):
    with pytest.raises(ConfigError, match=told):
        plan(source, model.bundle, tmp_path / "scores", **given)


def test_a_table_without_the_models_columns_is_refused(tmp_path, model):
    other = table_of(tmp_path / "other", pa.table({"id": [1], "delay": ["late"]}))
    request = ScoreRequest(other, ModelReference("late", "3"), model.bundle, ("id",))
    with pytest.raises(SchemaMismatchError, match=r"'delay' is .*'distance'.*'carrier'"):
        check_source(request, ())


def test_scores_go_to_no_table_that_they_do_not_fit(source, model, tmp_path):
    for target in (source.uri, f"{source.uri}/_branches/{'0' * 32}", f"file://{source.uri}"):
        with pytest.raises(DataError, match="is the table that is scored"):
            plan(source, model.bundle, target)
    with pytest.raises(DataError, match="lies inside the Delta table"):
        plan(source, model.bundle, f"{source.uri}/scores")
    other = tmp_path / "other"
    commit.append(str(other), pa.table({"id": [1], "score": ["high"]}), message="other", source="test")
    with pytest.raises(SchemaMismatchError, match="score is double, the table has string") as refused:
        plan(source, model.bundle, other)
    assert "go to a table of their own" in refused.value.hint
    assert refused.value.exit_code == 2


def test_scores_of_another_kind_of_model_do_not_go_to_the_same_table(source, model, tmp_path):
    first, grades = plan(source, model.bundle, tmp_path / "scores"), train_grades(tmp_path / "models", seed=1)
    commit.append(first.target.uri, first.columns.schema.empty_table(), message="made", source="test")
    with pytest.raises(SchemaMismatchError, match="probabilities is not in the table"):
        plan(source, grades.bundle, tmp_path / "scores")


def delivered(planned, **more):
    """The commit of a plan's batch, without rows."""
    where = f"{planned.request.source.uri}@{planned.request.source.version}"
    told = {MODEL: str(planned.request.model), DIGEST: planned.request.bundle.digest}
    delivery = Delivery("made", where, planned.batch_id, more=more or told)
    commit_files.add_files(planned.target, [], mode=commit_files.APPEND, delivery=delivery)


def test_a_batch_that_is_there_is_told_as_what_it_is(source, model, tmp_path):
    delivered(plan(source, model.bundle, tmp_path / "scores", batch_id="day"))
    commit.append(source.uri, rows(5, seed=2, first=50), message="more", source="test")
    champion = train_small(tmp_path, seed=2).bundle
    later = plan(pinned(source.uri), champion, tmp_path / "scores", batch_id="day")
    later = replace(later, request=replace(later.request, model=ModelReference("late", "4")))
    found = earlier_report(later)
    assert (found.model, found.digest, found.source) == ("late@3", model.bundle.digest, f"{source.uri}@0")


def test_a_batch_whose_entry_was_cleaned_up_is_found_all_the_same(source, model, tmp_path):
    planned = plan(source, model.bundle, tmp_path / "scores", batch_id="day")
    delivered(planned)
    delivered(plan(source, model.bundle, tmp_path / "scores", batch_id="next day"))
    tables.open_table(planned.target.uri).create_checkpoint()
    (tmp_path / "scores" / "_delta_log" / f"{0:020}.json").unlink()
    assert earlier_report(planned).skipped


def test_a_name_that_another_batch_has_is_refused(source, model, tmp_path):
    delivered(plan(source, model.bundle, tmp_path / "scores", batch_id="day"))
    loans = table_of(tmp_path / "loans", rows(5, seed=3))
    with pytest.raises(InputError, match=r"batch day of .* is there already .*late@3, rows of .*flights@0"):
        earlier_report(plan(loans, model.bundle, tmp_path / "scores", batch_id="day"))
    other = plan(source, train_small(tmp_path, seed=2).bundle, tmp_path / "scores", batch_id="day")
    with pytest.raises(InputError, match="is there already"):
        earlier_report(replace(other, request=replace(other.request, model=ModelReference("early", "3"))))
    foreign = plan(source, model.bundle, tmp_path / "scores", batch_id="foreign")
    delivered(foreign, note="no scores")
    with pytest.raises(InputError, match="no model"):
        earlier_report(foreign)


def test_a_batch_that_is_there_is_found_by_its_name(source, model, tmp_path):
    planned = plan(source, model.bundle, tmp_path / "scores")
    assert earlier_report(planned) is None
    delivered(planned)
    found = earlier_report(planned)
    assert (found.skipped, found.version, found.model, found.source) == (True, 0, "late@3", f"{source.uri}@0")
    assert earlier_report(plan(source, model.bundle, tmp_path / "scores", batch_id="other")) is None


def test_a_batch_that_was_taken_back_is_refused_and_not_said_to_be_there(source, model, tmp_path):
    delivered(plan(source, model.bundle, tmp_path / "scores", batch_id="monday"))
    planned = plan(source, model.bundle, tmp_path / "scores", batch_id="tuesday")
    delivered(planned)
    commit.restore(planned.target.uri, 0, message="tuesday was wrong")
    with pytest.raises(InputError, match=r"batch tuesday .* version 1 .* version 2 went back to version 0") as caught:
        earlier_report(planned)
    assert "--batch-id" in caught.value.hint
    assert earlier_report(plan(source, model.bundle, tmp_path / "scores", batch_id="monday")).version == 0
    delivered(plan(source, model.bundle, tmp_path / "scores", batch_id="tuesday again"))
    with pytest.raises(InputError, match="went back to version 0"):
        earlier_report(planned)
    commit.restore(planned.target.uri, 1, message="it was right")
    assert earlier_report(planned).version == 1
    with pytest.raises(InputError, match=r"version 4 went back to version 1"):
        earlier_report(plan(source, model.bundle, tmp_path / "scores", batch_id="tuesday again"))
