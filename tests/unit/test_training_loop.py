"""The loop against scikit-learn and itself, without Ray."""

import dataclasses
import threading

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from sklearn.metrics import mean_squared_error, roc_auc_score

from sluiceway.core.errors import BackendError, DataError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training import matrices
from sluiceway.training.encoded import Target, encode_block
from sluiceway.training.loop import Loop, LoopSpec, boost
from sluiceway.training.rows import EncodedBlocks, arrange

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b[0]", "numeric"), Feature("c", "category", ("x", "y", "z"))))
BINARY = Target("target", "binary", (0, 1))
PARAMS = {"objective": "binary:logistic", "eval_metric": "auc", "max_bin": 64, "nthread": 1, "seed": 3, "eta": 0.3}


def table(rows=3000, *, seed=0, binary=True, folds=3):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, rows))
    c = random.choice(["x", "y", "z"], rows)
    signal = a + (c == "y") * 1.5 - 0.7 + random.normal(size=rows)
    return pa.table(
        {
            "a": pa.array(a, mask=random.random(rows) < 0.1),
            "b[0]": b,
            "c": pa.array(c, mask=random.random(rows) < 0.05),
            "target": (signal > 0).astype(np.int8) if binary else signal,
            "__part__": random.choice(3, rows, p=[0.7, 0.2, 0.1]).astype(np.uint8),
            "__fold__": random.integers(0, folds, rows).astype(np.uint8),
            "__key__": random.integers(0, 2**63, rows).astype(np.uint64) * 2,
        }
    )


def rows_of(*tables, binary=True):
    target = BINARY if binary else Target("target", "regression")
    blocks = [encode_block(t, schema=SCHEMA, target=target) for t in tables]
    return arrange(EncodedBlocks(lambda: blocks, 3), width=3, weighted=False)


def spec(params=PARAMS, **given):
    settings = {"rounds": 60, "early_stopping": 5, "folds": 3, "names": None, "every": 0} | given
    settings = {"maximise": True, "kind": "binary", "classes": 2} | settings
    return LoopSpec(params, types=("q", "q", "c"), **settings)


def run(rows, the_spec=None, events=None):
    heard = events.append if events is not None else lambda event: None
    return boost(*rows, spec=the_spec or spec(), emit=heard, stop=lambda: False)


def test_metrics_are_scikit_learns():
    train, validation = rows_of(table())
    result = run((train, validation))
    for report in result.folds:
        own = train.fold == report.fold
        assert report.metric == pytest.approx(roc_auc_score(train.y[own], result.oof[own]), abs=1e-6)
        assert report.rows == own.sum()
        assert report.rounds == min(60, report.best_iteration + 6)
    assert result.rounds == np.median([report.best_iteration + 1 for report in result.folds])
    model = xgboost.Booster(model_file=bytearray(result.model))
    assert model.num_boosted_rounds() == result.rounds
    assert model.feature_types == ["q", "q", "c"]
    np.testing.assert_allclose(model.inplace_predict(validation.x), result.validation, rtol=1e-6)
    assert roc_auc_score(validation.y, result.validation) > 0.85


def test_regression():
    rows = rows_of(table(binary=False), binary=False)
    params = PARAMS | {"objective": "reg:squarederror", "eval_metric": "rmse"}
    result = run(rows, spec(params, kind="regression", classes=0, maximise=False))
    for report in result.folds:
        own = rows[0].fold == report.fold
        assert report.metric == pytest.approx(mean_squared_error(rows[0].y[own], result.oof[own]) ** 0.5, rel=1e-5)
        assert report.metric < rows[0].y.std()


def test_without_early_stopping_all_rounds_count():
    result = run(rows_of(table()), spec(rounds=7, early_stopping=None))
    assert [report.best_iteration for report in result.folds] == [6, 6, 6]
    assert result.rounds == 7


def test_the_order_and_the_blocks_of_the_rows_do_not_matter(monkeypatch):
    params = PARAMS | {"subsample": 0.8, "colsample_bytree": 0.7}
    data = table()
    data = pa.concat_tables([data, data.slice(0, 50)])  # rows that are there twice
    once = run(rows_of(data), spec(params))
    shuffled = data.take(np.random.default_rng(1).permutation(len(data)))
    again = run(rows_of(shuffled[:500], shuffled[500:500], shuffled[500:]), spec(params))
    assert once.model == again.model
    assert once.folds[0].metric == again.folds[0].metric
    monkeypatch.setattr(matrices, "BLOCK", 137)
    assert run(rows_of(data), spec(params)).folds[0].metric == pytest.approx(once.folds[0].metric, abs=0.01)


def test_a_fold_never_sees_its_own_rows():
    data = table(rows=2000)
    noise = data.set_column(3, "target", pa.array(np.random.default_rng(9).integers(0, 2, 2000).astype(np.int8)))
    result = run(rows_of(noise), spec(rounds=40, early_stopping=None))
    assert all(report.metric < 0.6 for report in result.folds)


def test_progress_is_told_and_asked_to_stop():
    events = []
    run(rows_of(table()), spec(every=1), events=events)
    assert [event["fold"] for event in events if event.get("done")] == [0, 1, 2]
    assert events[-1].get("final") or "round" in events[-1]
    with pytest.raises(BackendError, match="nobody waits"):
        boost(*rows_of(table()), spec=spec(), emit=lambda event: None, stop=lambda: True)


def test_folds_of_one_class_and_of_no_rows():
    data = table()
    train, validation = rows_of(data)
    one = dataclasses.replace(train, y=np.where(train.fold == 1, 1, train.y).astype(np.float32))
    with pytest.raises(DataError, match="fold 2 of 3 have the label 1"):
        run((one, validation))
    with pytest.raises(DataError, match="fold 4 of 4 has no rows"):
        run((train, validation), spec(folds=4))


def test_no_validation_rows_and_an_all_null_column():
    data = table()
    data = data.set_column(4, "__part__", pa.array(np.zeros(len(data), np.uint8)))
    data = data.set_column(2, "c", pa.nulls(len(data), pa.string()))
    result = run(rows_of(data))
    assert result.validation.shape == (0,)
    assert result.folds[0].metric > 0.7


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1, None], "missing"),
        ([0.0, 1.0, float("inf")], "infinite"),
        ([0, 1, 2], "other than 0 and 1"),
        (["0", "1", "1"], "type string"),
    ],
)
def test_labels_that_cannot_be_learnt(labels, told):
    data = table(rows=3).set_column(3, "target", pa.array(labels))
    data = data.set_column(4, "__part__", pa.array([0, 0, 1], pa.uint8()))
    with pytest.raises(DataError, match=told):
        encode_block(data, schema=SCHEMA, target=BINARY)


def test_bools_are_labels_and_the_test_part_stays_behind():
    data = table(rows=3).set_column(3, "target", pa.array([True, False, True]))
    data = data.set_column(4, "__part__", pa.array([2, 0, 1], pa.uint8()))
    block = encode_block(data, schema=SCHEMA, target=BINARY)
    assert block["y"].to_pylist() == [0.0, 1.0]
    train, validation = arrange(EncodedBlocks(lambda: [block], 3), width=3, weighted=False)
    assert (len(train), len(validation)) == (1, 1)


@pytest.mark.parametrize(
    ("objective", "metric", "classes"),
    [("binary:logistic", "auc", 2), ("multi:softprob", "mlogloss", 3), ("reg:squarederror", "rmse", 0)],
)
def test_the_average_is_the_mean_of_the_folds_before_the_link_and_the_best_fold_is_one_of_them(
    objective, metric, classes
):
    train, validation = rows_of(table(binary=False), binary=False)
    if classes:
        edges = [-0.7, 0.7][: classes - 1]
        train, validation = (
            dataclasses.replace(r, y=np.digitize(r.y, edges).astype(np.float32)) for r in (train, validation)
        )
    params = PARAMS | {"objective": objective, "eval_metric": metric} | ({"num_class": 3} if classes == 3 else {})
    kind = {2: "binary", 3: "multiclass", 0: "regression"}[classes]
    settings = {"kind": kind, "classes": classes, "maximise": metric == "auc"}
    loop = Loop(train, spec=spec(params, **settings))
    folds = [loop.fold(number) for number in range(3)]
    matrix = xgboost.DMatrix(validation.x, feature_types=["q", "q", "c"])

    def margins(model):
        return xgboost.Booster(model_file=bytearray(model)).predict(matrix, output_margin=True)

    average = run((train, validation), spec(params, final="average", **settings))
    mean = np.mean([margins(fold.model) for fold in folds], axis=0)
    np.testing.assert_allclose(margins(average.model), mean, atol=1e-5)
    assert average.rounds == sum(fold.report.best_iteration + 1 for fold in folds)

    best = run((train, validation), spec(params, final="best_fold", **settings))
    metrics = [fold.report.metric for fold in folds]
    assert best.model == folds[int(np.argmax(metrics) if metric == "auc" else np.argmin(metrics))].model


def test_side_by_side_they_are_the_models_of_one_after_the_other():
    rows = rows_of(table())
    params = PARAMS | {"subsample": 0.8}
    heard = []
    one = boost(*rows, spec=spec(params), emit=lambda event: None, stop=lambda: False)
    more = dataclasses.replace(spec(params), params=params | {"nthread": 2})
    both = boost(*rows, spec=more, emit=heard.append, stop=lambda: False, together=True)
    assert both.model == one.model
    assert both.oof.tolist() == one.oof.tolist()
    assert [fold.history for fold in both.folds] == [fold.history for fold in one.folds]
    assert [fold.fold for fold in both.folds] == [0, 1, 2]
    assert {event["fold"] for event in heard if event.get("done")} == {0, 1, 2}
    assert both.seconds["folds"] > 0


def test_whoever_asks_to_stop_stops_all_of_them():
    rows = rows_of(table())
    more = dataclasses.replace(spec(), params=PARAMS | {"nthread": 2})
    with pytest.raises(BackendError, match="nobody waits for it"):
        boost(*rows, spec=more, emit=lambda event: None, stop=lambda: True, together=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fold")]


def test_a_metric_that_is_not_a_number_is_refused():
    train, validation = rows_of(table())
    nothing = dataclasses.replace(train, weight=np.zeros(len(train), np.float32))
    with pytest.raises((DataError, xgboost.core.XGBoostError)):
        run((nothing, validation))
    numbers = spec(
        PARAMS | {"objective": "reg:squarederror", "eval_metric": "rmsle"},
        maximise=False, kind="regression", classes=0,
    )  # fmt: skip
    negative = dataclasses.replace(train, y=train.y - 5)
    with pytest.raises(DataError, match="rmsle of fold 1 is not a number"):
        run((negative, validation), numbers)
