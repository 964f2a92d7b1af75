"""From answers to rows: what is logged of whom, what is dropped, what is hashed."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
import xxhash

from serving_models import CARRIERS, GRADES, examples, train_grades, train_small
from sluiceway.catalog.folded import FOLD_FROM, ROW
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.schema import folded_predictions, predictions
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.ledger import Answer
from sluiceway.serving.log_rows import LOG_SCHEMA, KeyedHash, log_table
from sluiceway.serving.record_batches import About, LogPlan, from_bytes, record_batches, to_bytes
from sluiceway.serving.record_keeping import catalog_rows, keep_records
from sluiceway.serving.route import load_route, load_scorer

SECRET = b"s" * 32
KEYS = KeyedHash(SECRET, "routing key")
# 2026-11-26 10:00:00.25 UTC
NOON = 1_795_687_200.25


@pytest.fixture(scope="module")
def route(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    champion = train_small(folder, seed=1)
    others = train_small(folder, seed=2, carriers=("B6", "UA", "WN"))
    document = TrafficDocument("fraud", 3, champion.arm("1", 0.5), (others.arm("2", 0.5, "app"),))
    return load_route(document, {}, load=load_scorer)[0]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    model = train_grades(tmp_path_factory.mktemp("models"), seed=4)
    return load_route(TrafficDocument("grades", 1, model.arm("7", 1.0)), {}, load=load_scorer)[0]


def answer(arm, request_id, *, rows=1, seed=1, paired=None, **more):
    matrix, _ = examples(rows, seed=seed)
    schema = (paired or arm).scorer.schema
    assert len(schema.names) == matrix.shape[1]
    scores = arm.scorer.score_matrix(matrix)
    return Answer(request_id, NOON, 3, arm, scores, arm.scorer.decide(scores), matrix, paired, **more)


def logged(answers, plan=None, *, hashed=(), secret=SECRET):
    """The rows of the log as dictionaries, through bytes as on their way."""
    batches = [from_bytes(to_bytes(batch)) for batch in record_batches(answers, plan or LogPlan(1.0))]
    tables = [
        log_table(batch, endpoint="fraud", keys=KEYS, hashed=hashed, secret=secret)
        for batch in batches
        if About.of(batch).logged
    ]
    return [row for table in tables for row in table.to_pylist()]


def recorded(batches):
    """The catalog's records of batches."""
    rows = (row for batch in batches for row in catalog_rows(batch, endpoint="fraud", keys=KEYS))
    return [PredictionRecord._make(row) for row in rows]


def test_a_row_of_the_log_is_the_answer_and_what_the_model_saw(route):
    given = answer(route.champion, "one", seed=5, seconds=0.003, key="customer 7")
    (row,) = logged([given])
    assert {name: row[name] for name in LOG_SCHEMA.names} == {
        "request_id": "one",
        "time": row["time"],
        "day": date(2026, 11, 26),
        "endpoint": "fraud",
        "generation": 3,
        "arm": "champion",
        "version": "1",
        "key_hash": KEYS.text("customer 7"),
        "score": given.scores[0],
        "decision": given.decisions[0],
        "class": None,
        "probabilities": None,
        "latency_seconds": 0.003,
        "champion_version": None,
        "champion_score": None,
        "champion_decision": None,
    }
    assert row["time"].timestamp() == pytest.approx(NOON, abs=1e-6)
    delay, distance, carrier = given.matrix[0]
    assert row["numeric_delay"] == pytest.approx(delay)
    assert row["numeric_distance"] == (None if np.isnan(distance) else distance)
    assert row["category_carrier"] == CARRIERS[int(carrier)]


def test_the_columns_have_the_types_that_are_documented(route):
    (batch,) = record_batches([answer(route.champion, "one")], LogPlan(1.0))
    schema = log_table(batch, endpoint="fraud", keys=KEYS, hashed=(), secret=SECRET).schema
    assert schema.names == [*LOG_SCHEMA.names, "numeric_delay", "numeric_distance", "category_carrier"]
    assert pa.schema([schema.field(name) for name in LOG_SCHEMA.names]).equals(LOG_SCHEMA)
    assert (schema.field("numeric_delay").type, schema.field("category_carrier").type) == (pa.float32(), pa.string())


def test_a_challengers_row_has_the_champions_score_and_features(route):
    given = answer(route.challengers[0], "c", rows=40, seed=6, paired=route.champion)
    rows = logged([given])
    expected = route.champion.scorer.score_matrix(given.matrix)
    assert [row["champion_score"] for row in rows] == pytest.approx(expected.tolist())
    assert {(row["arm"], row["version"], row["champion_version"]) for row in rows} == {("challenger", "2", "1")}
    # In the champion's categories, although the challenger has others.
    assert [row["category_carrier"] for row in rows] == [CARRIERS[int(code)] for code in given.matrix[:, 2]]
    assert [row["request_id"] for row in rows] == [f"c/{i}" for i in range(40)]
    assert {row["latency_seconds"] for row in rows} == {None}


def test_a_missing_category_is_null(route):
    given = answer(route.champion, "m", rows=2)
    given.matrix[0, 2] = np.nan
    assert [row["category_carrier"] for row in logged([given])] == [None, CARRIERS[int(given.matrix[1, 2])]]


def test_several_classes_have_their_probabilities_and_the_class(graded):
    given = answer(graded.champion, "g", rows=5)
    rows = logged([given])
    for row, scores in zip(rows, given.scores, strict=True):
        assert row["probabilities"] == pytest.approx(scores.tolist())
        assert row["class"] == GRADES[scores.argmax()]
        assert row["score"] == pytest.approx(scores.max())


def test_single_rows_and_many_of_all_arms_go_together(route):
    answers = [
        answer(route.champion, "a", rows=1, seed=1),
        answer(route.challengers[0], "b", rows=3, seed=2, paired=route.champion),
        answer(route.champion, "c/4", rows=2, seed=3),
        answer(route.challengers[0], "d#9", rows=2, seed=4, paired=route.champion),
        answer(route.champion, "e", rows=1, seed=5),
    ]
    batches = list(record_batches(answers, LogPlan(1.0)))
    assert len(batches) == 2
    rows = logged(answers)
    ids = ["a", "b/0", "b/1", "b/2", "c/4/0", "c/4/1", "d/0#9", "d/1#9", "e"]
    assert sorted(row["request_id"] for row in rows) == ids
    by_id = {row["request_id"]: row for row in rows}
    assert by_id["b/2"]["score"] == pytest.approx(answers[1].scores[2])
    assert by_id["c/4/1"]["score"] == pytest.approx(answers[2].scores[1])
    records = recorded(batches)
    assert sorted(record.request_id for record in records) == ids


def test_a_large_request_of_the_champion_alone_is_one_record(route, catalog):
    """Pairs and shadows are compared by the database, row by row; so is what is small."""
    store, champion = RecordStore(catalog), route.champion
    answers = [
        answer(champion, "one", seed=1),
        answer(champion, "few", rows=FOLD_FROM - 1, seed=2),
        answer(champion, "many", rows=300, seed=3, key="ada"),
        answer(champion, "more", rows=FOLD_FROM, seed=4),
        answer(route.challengers[0], "pairs", rows=300, seed=5, paired=champion),
        answer(replace(champion, name="shadow"), "seen#2", rows=300, seed=6),
    ]
    sent = [from_bytes(to_bytes(batch)) for batch in record_batches(answers, LogPlan())]
    rows = sum(len(one.scores) for one in answers)
    assert sum(keep_records(store, batch, endpoint="fraud", keys=KEYS) for batch in sent) == rows
    assert sum(keep_records(store, batch, endpoint="fraud", keys=KEYS) for batch in sent) == 0
    with catalog.connect() as connection:
        kept = {row.request_id: row for row in connection.execute(sa.select(folded_predictions))}
        singles = connection.execute(sa.select(sa.func.count()).select_from(predictions)).scalar_one()
    assert set(kept) == {"many", "more"}
    assert singles == rows - 300 - FOLD_FROM
    assert (kept["many"].version, kept["many"].generation, kept["many"].key_hash) == ("1", 3, KEYS.text("ada"))
    body = np.frombuffer(kept["many"].body, ROW)
    np.testing.assert_array_equal(body["row"], np.arange(300))
    np.testing.assert_array_equal(body["score"], answers[2].scores)
    np.testing.assert_array_equal(body["decision"], answers[2].decisions)


def test_large_batches_are_cut(route, monkeypatch):
    monkeypatch.setattr("sluiceway.serving.record_batches.ROWS_PER_BATCH", 10)
    answers = [answer(route.champion, f"r{i}", rows=4, seed=i) for i in range(6)]
    answers.append(answer(route.champion, "large", rows=25))
    sizes = [batch.num_rows for batch in record_batches(answers, LogPlan())]
    assert sum(sizes) == 49
    assert max(sizes) == 25  # a request is in one piece
    assert sorted(sizes)[:-1] == [8, 8, 8]


def test_the_sample_is_by_the_request_id_alone(route):
    plan = LogPlan(0.3)
    ids = [f"request {i}" for i in range(3000)]
    chosen = [name for name in ids if plan.takes(name)]
    # Five standard errors of 0.3 in 3000.
    assert abs(len(chosen) / len(ids) - 0.3) < 0.042
    assert chosen == [name for name in ids if xxhash.xxh64_intdigest(name.encode()) / 2**64 < 0.3]
    assert set(chosen) <= {name for name in ids if LogPlan(0.5).takes(name)}
    assert plan.takes(f"{chosen[0]}#12")  # a shadow's row of the same request
    answers = [answer(route.champion, name, seed=i) for i, name in enumerate(ids[:60])]
    assert {row["request_id"] for row in logged(answers, plan)} == set(chosen) & set(ids[:60])
    # The catalog gets all of them.
    assert sum(batch.num_rows for batch in record_batches(answers, plan)) == 60
    assert [LogPlan(share).takes("x") for share in (0.0, 1.0)] == [False, True]


def test_what_is_not_logged_takes_no_features_along(route):
    (batch,) = record_batches([answer(route.champion, "one")], LogPlan(0.0))
    assert not About.of(batch).logged
    assert not [name for name in batch.schema.names if "delay" in name]


def test_dropped_features_never_leave_the_replica(route):
    plan = LogPlan(1.0, frozenset({"delay"}))
    (batch,) = record_batches([answer(route.champion, "one")], plan)
    assert [name for name in batch.schema.names if name.startswith(("numeric_", "category_"))] == [
        "numeric_distance",
        "category_carrier",
    ]


def test_hashed_features_stay_equal_and_cannot_be_looked_up(route):
    given = answer(route.champion, "h", rows=200, seed=8)
    rows = logged([given], hashed=("carrier", "distance"))
    assert not {"category_carrier", "numeric_distance"} & set(rows[0])
    pairs = {(CARRIERS[int(code)], row["hashed_carrier"]) for code, row in zip(given.matrix[:, 2], rows, strict=True)}
    assert len(pairs) == len(CARRIERS)
    assert len({told for _, told in pairs}) == len(CARRIERS)
    missing = [row["hashed_distance"] is None for row in rows]
    assert missing == np.isnan(given.matrix[:, 1]).tolist()
    # Nobody finds a value by hashing all that there could be, without the secret.
    guesses = {hashlib.blake2b(name.encode(), digest_size=16).hexdigest() for name in CARRIERS}
    assert not guesses & {told for _, told in pairs}
    other = {row["hashed_carrier"] for row in logged([given], hashed=("carrier",), secret=b"t" * 32)}
    assert not other & {told for _, told in pairs}


def test_one_value_has_one_hash_whatever_its_type_and_another_in_another_feature():
    one, two = KeyedHash(SECRET, "feature a"), KeyedHash(SECRET, "feature b")
    told = [one.column(pa.array(values))[0].as_py() for values in ([3.0], ["3"], pa.array([3.0], pa.float32()))]
    assert len(set(told)) == 1
    assert len(told[0]) == 32
    assert two.column(pa.array(["3"]))[0].as_py() != told[0]
    assert one.column(pa.array(["x", None, "x"])).to_pylist()[1] is None


def test_the_catalog_has_no_features_and_the_hash_of_a_key_only(route):
    given = answer(route.champion, "one", rows=2, key="customer 7")
    records = recorded(record_batches([given], LogPlan(1.0)))
    assert Counter(record.key_hash for record in records) == {KEYS.text("customer 7"): 2}
    by_chance = recorded(record_batches([answer(route.champion, "two")], LogPlan(1.0)))
    assert {record.key_hash for record in by_chance} == {""}


@pytest.mark.parametrize("rows", [FOLD_FROM - 1, FOLD_FROM])
@pytest.mark.parametrize("first", ["champion", "challenger"])
def test_of_two_answers_with_one_id_the_first_stays_whatever_their_size(route, catalog, rows, first):
    store, champion = RecordStore(catalog), route.champion
    by = {
        "champion": answer(champion, "again", rows=rows),
        "challenger": answer(route.challengers[0], "again", rows=rows, paired=champion),
    }
    second = "challenger" if first == "champion" else "champion"

    def keep(given):
        sent = [from_bytes(to_bytes(batch)) for batch in record_batches([given], LogPlan())]
        return sum(keep_records(store, batch, endpoint="fraud", keys=KEYS) for batch in sent)

    assert [keep(by[first]), keep(by[second]), keep(by[first])] == [rows, 0, 0]
    outcomes = OutcomeStore(catalog)
    store.add_feedback("fraud", [FeedbackRecord("again/0", 1.0, NOON, NOON)])
    assert [(one.request_id, one.arm) for one in outcomes.judged_since("fraud", 0.0)] == [("again/0", first)]
    assert [keep(by[second]), keep(by[first])] == [0, 0]  # also where rows of it have been unfolded
    assert [(one.arm, one.predictions) for one in outcomes.accuracy("fraud")] == [(first, rows)]
