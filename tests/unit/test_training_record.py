"""What is written down of a training: environment, histories, typical rows; and what two of them differ in."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest

from sluiceway.features.encode import encode_rows
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.compare import fold_differences, prediction_difference
from sluiceway.training.environment import Difference, describe_environment, differences, environment_tags
from sluiceway.training.histories import MOST_POINTS, series, thinned
from sluiceway.training.nodes import Node
from sluiceway.training.plan import Cluster
from sluiceway.training.report import FoldReport
from sluiceway.training.typical_rows import typical_rows
from training_reports import a_report, rows

CLUSTER = Cluster((Node(2.0, 4e9),))
SCHEMA = FeatureSchema(
    (
        Feature("seats", "numeric"),
        Feature("delay", "numeric"),
        Feature("carrier", "category", ("AA", "B6", "UA")),
        Feature("never", "numeric"),
    )
)


def a_fold(number: int, rounds: int, best: int) -> FoldReport:
    history = tuple(number + step / 1e6 for step in range(rounds))
    return FoldReport(number, best, rounds, history[best], 100, 1.0, history)


def test_the_environment_names_libraries_lock_and_machine(repository):
    found = describe_environment(CLUSTER)
    assert found == json.loads(json.dumps(found)) == describe_environment(CLUSTER)
    assert found["libraries"]["xgboost"] == version("xgboost")
    lock = (repository / "requirements.lock").read_bytes()
    assert (found["lock"]["file"], found["lock"]["sha256"]) == (
        "requirements.lock",
        hashlib.sha256(lock).hexdigest(),
    )
    assert found["hardware"]["cpus"] >= 1
    assert found["hardware"]["memory_gb"] >= 1
    tags = environment_tags(found)
    assert tags["env_xgboost"] == version("xgboost")
    assert tags["env_lock"] == f"requirements.lock sha256:{hashlib.sha256(lock).hexdigest()}"
    assert tags["env_cluster"] == "1 nodes, 2 CPUs, 0 GPUs"
    assert all(tags.values())


def test_without_a_checkout_the_installed_versions_are_the_lock(tmp_path):
    (tmp_path / "requirements.lock").write_text("of somebody else")
    found = describe_environment(CLUSTER, root=tmp_path)
    text = "".join(f"{name}=={number}\n" for name, number in found["libraries"].items())
    assert found["lock"] == {
        "file": "",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "installed": hashlib.sha256(text.encode()).hexdigest(),
    }
    assert environment_tags(found)["env_lock"].startswith("installed sha256:")


def test_what_differs_between_two_environments():
    then = describe_environment(CLUSTER)
    assert differences(then, then) == ()
    now = {**then, "libraries": {**then["libraries"], "xgboost": "0.1", "new": "1"}}
    assert differences(then, now) == (
        Difference("libraries new", "", "1"),
        Difference("libraries xgboost", version("xgboost"), "0.1"),
    )


@pytest.mark.parametrize("rounds", [1, 5, 1000, 1001, 1999, 5000])
def test_a_history_has_a_thousand_points_at_most_the_best_and_the_last_among_them(rounds):
    folds = [a_fold(0, rounds, rounds // 3), a_fold(1, max(1, rounds - 7), 0)]
    found = thinned(folds)
    for fold, one in zip(folds, found, strict=True):
        assert len(one["round"]) == len(one["value"]) <= MOST_POINTS
        assert one["round"] == sorted(set(one["round"]))
        assert {0, fold.best_iteration, fold.rounds - 1} <= set(one["round"])
        assert one["value"] == [fold.history[step] for step in one["round"]]
    if rounds <= MOST_POINTS:
        assert found[0]["round"] == list(range(rounds))


def test_an_engine_without_histories_has_no_series():
    assert series(thinned([replace(a_fold(0, 3, 1), history=())] * 2), "auc") == {}


def test_the_series_have_mean_and_spread_where_all_folds_have_the_round():
    found = series(thinned([a_fold(0, 5, 2), a_fold(1, 3, 1), a_fold(2, 4, 3)]), "auc")
    assert set(found) == {"fold_1.auc", "fold_2.auc", "fold_3.auc", "cv.auc", "cv.auc_std"}
    assert [len(found[f"fold_{n}.auc"]) for n in (1, 2, 3)] == [5, 3, 4]
    assert [step for step, _ in found["cv.auc"]] == [0, 1, 2]
    assert found["cv.auc"][2][1] == pytest.approx(1 + 2e-6)
    assert found["cv.auc_std"][2][1] == pytest.approx(1.0)  # of 0, 1 and 2


def test_the_series_of_thinned_histories_share_their_rounds():
    found = series(thinned([a_fold(n, 3000 + 500 * n, 7 * n + 1) for n in range(3)]), "auc")
    assert 600 <= len(found["cv.auc"]) <= MOST_POINTS


def test_a_value_that_is_no_number_has_no_spread():
    odd = replace(a_fold(0, 2, 1), history=(math.nan, 0.5))
    assert math.isnan(dict(series(thinned([odd, a_fold(1, 2, 1)]), "auc")["cv.auc_std"])[0])


def test_typical_rows_are_nobody_s_and_what_an_endpoint_takes():
    sample = np.array(
        [
            [100, 0.1, 0, np.nan],
            [150, 0.7, 1, np.nan],
            [180, 0.3, 1, np.nan],
            [200, np.nan, 2, np.nan],
        ],
        dtype=np.float32,
    )
    first, second = typical_rows(sample, SCHEMA)
    assert first == {"seats": 150, "delay": 0.3, "carrier": "B6", "never": None}
    assert second == {"seats": 180, "delay": None, "carrier": "AA", "never": None}
    assert isinstance(first["seats"], int)
    _, unseen = encode_rows([first, second], SCHEMA)
    assert unseen == 0
    assert typical_rows(sample[:0], SCHEMA) == []


def recorded(**changes) -> dict:
    folds = [a_fold(0, 4, 2), a_fold(1, 4, 3)]
    plain = [{k: v for k, v in vars(fold).items() if k != "history"} for fold in folds]
    return {"metric": "auc", "rounds": 3, "folds": plain, "histories": thinned(folds), **changes}


def test_equal_folds_differ_in_nothing():
    assert list(fold_differences(recorded(), json.loads(json.dumps(recorded())))) == []


def test_the_first_difference_of_two_cross_validations_is_told():
    now = recorded(rounds=4)
    now["folds"][1]["metric"] = 0.25
    now["folds"][1]["seconds"] = 99.0  # how long it took is no result
    now["histories"][1]["value"][2:] = [0.5, 0.25]
    found = list(fold_differences(recorded(), now))
    assert [one.what for one in found] == [
        "rounds",
        "fold 2 auc",
        "fold 2 auc at round 2, the first that differs",
    ]
    assert (found[1].then, found[1].now) == ("1.000003", "0.25")
    (one,) = fold_differences(recorded(), recorded(folds=recorded()["folds"][:1]))
    assert (one.what, one.then, one.now) == ("folds", "2", "1")


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_predictions_of_two_models_are_compared(kind):
    one, other = a_report(kind, rounds=3), a_report(kind, rounds=4)
    x, _ = rows(50, seed=9)
    assert prediction_difference(one.model, one.model, x) == 0
    assert prediction_difference(one.model, other.model, x) > 0
    assert math.isnan(prediction_difference(one.model, other.model, x[:0]))


def test_models_of_other_classes_cannot_be_compared():
    x, _ = rows(50, seed=9)
    assert math.isnan(prediction_difference(a_report("binary").model, a_report("multiclass").model, x))
