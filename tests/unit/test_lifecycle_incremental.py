"""What a model may go on from: its trees stay, so they must not know the rows that judge, nor break what is asked."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from sluiceway.config.experiment import DataSection, IncrementalSection, ModelSection, SplitSection, TrainingSection
from sluiceway.config.search import SearchSection
from sluiceway.core.errors import ConfigError, ModelError
from sluiceway.core.references import TableVersion
from sluiceway.data.time_order import TimeCuts
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.lifecycle import incremental
from sluiceway.lifecycle.incremental import Base, check_drawn, first_trial, going_on
from sluiceway.registry.bundle import Bundle
from sluiceway.training.recipe import Recipe

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric")))
OLD, NEW = (TableVersion("/t", number, f"d{number}", 100, str(number)) for number in (0, 1))


def trees(**params) -> bytes:
    rows = np.arange(40.0).reshape(20, 2)
    data = xgboost.DMatrix(rows, np.arange(20) % 2)
    return bytes(xgboost.train({**params, "nthread": 1}, data, 2).save_raw("ubj"))


@pytest.fixture(scope="module")
def booster() -> bytes:
    return trees(objective="binary:logistic")


@pytest.fixture
def go_on(booster, monkeypatch):
    """Goes on from a model of ``theirs`` parameters with ``mine``; ``cuts``: where validation begins, old and new."""
    monkeypatch.setattr(incremental, "table_schema", lambda *_: pa.schema([("at", pa.int64()), ("id", pa.int64())]))
    monkeypatch.setattr(incremental, "newest_tick", lambda version, name: 1000 + version.version)

    def run(mine=None, theirs=None, *, by="row", cuts=(700, 700), window="new", objective=""):
        found = {OLD: cuts[0], NEW: cuts[1]}
        monkeypatch.setattr(
            incremental, "time_cuts", lambda version, data: TimeCuts(found[version], found[version] + 100, (), 0)
        )
        data = DataSection(
            path="/t", features=("a", "b"), target="y", key=("id",), time="at", split=SplitSection(by=by)
        )
        training = TrainingSection(incremental=IncrementalSection(base="1", window=window))
        lineage = {
            "membership": incremental.membership_of(data, 3, OLD),
            "data": {"uri": "/t", "version": 0, "digest": "d0", "rows": 100},
            "config": ModelSection(params=theirs or {}).model_dump(mode="json"),
        }
        decision = {"kind": "regression" if objective else "binary", "threshold": 0.5, "target": "y"}
        needs = {"quantile_alpha": 0.5} if objective == "reg:quantileerror" else {}
        model = trees(objective=objective, **needs) if objective else booster
        base = Base("1", Bundle(model, SCHEMA.to_dict(), decision, lineage))
        context = SimpleNamespace(training=training, data=data, experiment=SimpleNamespace(name="m"))
        section = ModelSection(params=mine or {})
        if objective:
            section = ModelSection(type="XGBRegressor", params={"objective": objective, **(mine or {})})
        recipe = Recipe(data, section, training, 3, SCHEMA, () if objective else (0, 1))
        return going_on(context, recipe, base, NEW)

    return run


def test_the_trees_and_the_window_are_those_of_the_base(go_on, booster):
    recipe = go_on({"max_depth": 3}, {"max_depth": 4})
    assert (recipe.base, recipe.later_than) == (booster, 1000)


@pytest.mark.parametrize("window", ["new", 300])
def test_rows_that_the_base_has_learnt_choose_and_judge_nothing(go_on, window):
    """Older rows that came since move the cuts back; a version that was gone back to has them earlier, too."""
    with pytest.raises(ModelError, match="it has learnt from rows that are validation or test rows of version 1 of /t"):
        go_on(by="time", cuts=(700, 699), window=window)
    assert go_on(by="time", cuts=(700, 700), window=window).base
    assert go_on(by="time", cuts=(700, 900), window=window).base


def test_where_rows_stay_in_their_parts_no_cut_is_asked_for(go_on):
    assert go_on(by="row", cuts=(700, 1)).base


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("monotone_constraints", {"a": 1}, {"a": -1}),
        ("interaction_constraints", [["a"], ["b"]], [["a", "b"]]),
        ("base_score", 0.1, 0.5),
        ("num_parallel_tree", 4, 2),
    ],
)
def test_what_must_hold_for_the_whole_model_is_what_it_was(go_on, name, one, other):
    assert go_on({name: one}, {name: one}).base
    for mine, theirs in (({name: one}, {}), ({}, {name: one}), ({name: one}, {name: other})):
        with pytest.raises(ModelError, match=rf"m@1 cannot be gone on from: its {name} "):
            go_on(mine, theirs)


@pytest.mark.parametrize(
    ("objective", "name", "one", "other"),
    [
        ("reg:quantileerror", "quantile_alpha", 0.9, 0.5),
        ("reg:tweedie", "tweedie_variance_power", 1.2, 1.8),
        ("reg:pseudohubererror", "huber_slope", 0.2, 3.0),
    ],
)
def test_what_is_part_of_an_objective_counts_with_that_one_only(go_on, objective, name, one, other):
    for mine, theirs in (({name: one}, {}), ({name: one}, {name: other})):
        assert go_on(mine, theirs).base  # of binary:logistic
        with pytest.raises(ModelError, match=rf"m@1 cannot be gone on from: its {name} "):
            go_on(mine, theirs, objective=objective)
    assert go_on({}, {name: one}).base
    assert go_on({name: one}, {name: one}, objective=objective).base


def test_what_says_nothing_is_no_constraint(go_on):
    said = {"monotone_constraints": {"a": 0}, "interaction_constraints": [], "base_score": None}
    said |= {"num_parallel_tree": 1, "tweedie_variance_power": 1.5, "huber_slope": 1, "scale_pos_weight": 1}
    assert go_on(said, {}).base
    assert go_on({}, said).base
    assert go_on({"interaction_constraints": [["b", "a"]]}, {"interaction_constraints": [["a", "b"]]}).base


def test_a_weight_of_the_base_does_not_hold_on_in_silence(go_on):
    assert go_on({"scale_pos_weight": 2}, {"scale_pos_weight": 5}).base
    assert go_on({"scale_pos_weight": 2}, {}).base
    for none in ({}, {"scale_pos_weight": None}):
        with pytest.raises(ModelError, match=r"gone on from: its scale_pos_weight is 5, which would hold on"):
            go_on(none, {"scale_pos_weight": 5})


def drawn(booster, space, **theirs) -> None:
    """Look at a space whose configured model is the base's own."""
    lineage = {"config": {"params": theirs}}
    base = Base("7", Bundle(booster, SCHEMA.to_dict(), {"kind": "binary"}, lineage))
    check_drawn(SearchSection(space=space, trials=2), ModelSection(params=theirs), base)


def test_a_search_draws_nothing_that_the_base_forbids(booster):
    fine = {
        "max_depth": {"whole": [2, 9]},
        "scale_pos_weight": {"real": [1.0, 5.0]},
        "objective": {"choice": ["binary:logistic"]},
        "num_parallel_tree": {"choice": [2]},
    }
    drawn(booster, fine, num_parallel_tree=2, scale_pos_weight=3)
    check_drawn(SearchSection(space={"base_score": {"real": [0.1, 0.9]}}, trials=2), ModelSection(), None)
    wrong = {
        "max_depth": {"whole": [2, 9]},
        "objective": {"choice": ["reg:logistic", "binary:logistic"]},
        "base_score": {"real": [0.1, 0.9]},
        "num_parallel_tree": {"whole": [1, 2]},
    }
    with pytest.raises(ConfigError, match="does not fit version 7") as caught:
        drawn(booster, wrong, num_parallel_tree=2)
    told = [problem.partition(" is ")[0] for problem in caught.value.problems]
    assert told == [
        "search.space.objective: its objective",
        "search.space.base_score: its base_score",
        "search.space.num_parallel_tree: its num_parallel_tree",
    ]


def test_a_search_that_draws_the_weight_says_it_in_the_first_trial_too(go_on, booster):
    """Of trial 0 that says nothing, XGBoost would train with the base's weight, and write down none."""
    space = {"max_depth": {"whole": [2, 9]}, "scale_pos_weight": {"real": [1.0, 5.0]}}
    draws, others = (
        SearchSection(space={name: space[name] for name in names}, trials=2) for names in (space, ["max_depth"])
    )
    base, light = (
        Base("7", Bundle(booster, SCHEMA.to_dict(), {"kind": "binary"}, {"config": {"params": params}}))
        for params in ({"scale_pos_weight": 4}, {})
    )
    silent, says = ModelSection(params={"max_depth": 3}), ModelSection(params={"scale_pos_weight": 2})
    found = first_trial(draws, silent, base)
    assert found.params == {"max_depth": 3, "scale_pos_weight": 1}
    check_drawn(draws, found, base)
    assert go_on(found.params, {"scale_pos_weight": 4}).base
    for search, model, before in (
        (draws, says, base),
        (draws, silent, light),
        (draws, silent, None),
        (others, silent, base),
    ):
        assert first_trial(search, model, before) is model
    with pytest.raises(ConfigError, match="does not fit version 7"):
        check_drawn(others, silent, base)
