"""What a search may try, and what is refused before anything starts."""

import pytest
from pydantic import ValidationError

from sluiceway.config.experiment import ModelSection, TrainingSection
from sluiceway.config.load import load_parts, load_settings
from sluiceway.config.search import DrawSection, SearchSection
from sluiceway.core.errors import ConfigError
from sluiceway.lifecycle.preflight import section_problems
from sluiceway.training.search_space import check_space, is_inside, space_problems, with_params

MODEL = ModelSection(params={"n_estimators": 50, "max_depth": 6})
SPACE = {
    "max_depth": {"whole": [3, 10]},
    "learning_rate": {"real": [0.01, 0.3], "log": True},
    "grow_policy": {"choice": ["depthwise", "lossguide"]},
}


def space(**draws) -> SearchSection:
    return SearchSection(space=draws, trials=3)


def problems(**draws) -> tuple[str, ...]:
    return space_problems(space(**draws), MODEL, TrainingSection())


def test_a_space_that_fits_has_no_problems():
    assert problems(**SPACE) == ()
    check_space(space(**SPACE), MODEL, TrainingSection())


@pytest.mark.parametrize(
    ("name", "draw", "told"),
    [
        ("max_dept", {"whole": [3, 5]}, "search.space.max_dept: XGBClassifier has no such parameter; did you mean"),
        ("subsample", {"real": [0.5, 1.5]}, "1.5 cannot be used; a number above 0 and at most 1 is needed"),
        ("subsample", {"real": [0, 1]}, "0.0 cannot be used"),
        ("max_depth", {"real": [2, 5]}, "2.0 cannot be used; a whole number"),
        ("grow_policy", {"choice": ["depthwise", "widthwise"]}, "'widthwise' cannot be used; it may be: depthwise"),
        ("random_state", {"whole": [1, 9]}, "cannot be given here: the seed is experiment.seed"),
    ],
)
def test_what_the_parameter_cannot_be_is_told_with_its_key(name, draw, told):
    found = problems(**{name: draw})
    assert len(found) >= 1
    assert all(line.startswith(f"search.space.{name}: ") for line in found)
    assert any(told in line for line in found)


def test_what_only_the_classes_of_the_target_forbid_is_told_with_them():
    search, training = space(base_score={"choice": [0.3, 7.0]}), TrainingSection()
    assert space_problems(search, MODEL, training) == ()
    assert space_problems(search, MODEL, training, classes=3) == ()
    (told,) = space_problems(search, MODEL, training, classes=2)
    assert told.startswith("search.space.base_score: 7.0 cannot be used; of two classes it is a probability")


def test_problems_of_the_model_itself_are_not_told_twice():
    model = ModelSection(params={"max_dept": 3})
    assert space_problems(space(max_depth={"whole": [2, 3]}), model, TrainingSection()) == ()


def test_grace_folds_are_folds():
    search = SearchSection(space=SPACE, trials=3, grace_folds=6)
    assert space_problems(search, MODEL, TrainingSection(folds=5)) == (
        "search.grace_folds: a trial has training.folds = 5 folds, not 6",
    )


def test_without_a_space_there_is_nothing_to_search():
    with pytest.raises(ConfigError, match="nothing is declared") as caught:
        check_space(SearchSection(), MODEL, TrainingSection())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "draw",
    [
        {},
        {"whole": [1, 2], "choice": [1]},
        {"whole": [3, 3]},
        {"whole": [5, 3]},
        {"whole": [0.5, 2]},
        {"real": [0.1, float("inf")]},
        {"real": [0, 1], "log": True},
        {"choice": []},
        {"choice": ["a"], "log": True},
        {"whole": [1, 2], "step": 1},
    ],
)
def test_a_draw_is_one_range_or_one_choice(draw):
    with pytest.raises(ValidationError):
        DrawSection.model_validate(draw)


def test_a_search_has_a_budget():
    with pytest.raises(ValidationError, match=r"search\.trials or search\.minutes is needed"):
        SearchSection(space=SPACE)
    assert SearchSection(space=SPACE, minutes=0.5).trials is None
    with pytest.raises(ValidationError, match="at least 1, or auto"):
        SearchSection(concurrent=0)


@pytest.mark.parametrize(
    ("params", "inside"),
    [
        ({"max_depth": 3, "learning_rate": 0.3, "grow_policy": "depthwise", "gamma": 1}, True),
        ({"max_depth": 11, "learning_rate": 0.3, "grow_policy": "depthwise"}, False),
        ({"max_depth": 3.0, "learning_rate": 0.3, "grow_policy": "depthwise"}, False),
        ({"max_depth": True, "learning_rate": 0.3, "grow_policy": "depthwise"}, False),
        ({"max_depth": 3, "learning_rate": 0.3, "grow_policy": "other"}, False),
        ({"max_depth": 3, "grow_policy": "depthwise"}, False),
    ],
)
def test_what_could_have_been_drawn(params, inside):
    assert is_inside(space(**SPACE), params) is inside


def test_drawn_parameters_replace_the_configured_ones():
    assert with_params(MODEL, {"max_depth": 2}).params == {"n_estimators": 50, "max_depth": 2}
    assert MODEL.params["max_depth"] == 6


def test_a_file_tells_all_problems_with_their_keys(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "experiment: {name: a}\n"
        "data: {path: t, features: [x], target: y}\n"
        "search: {trials: 2, space: {max_depth: {whole: [-1, 5]}, eta: {real: [0.1, 0.2]}}}\n"
    )
    found = section_problems(load_parts(path))
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [
        "search.space.max_depth",
        "search.space.eta",
    ]
    settings = load_settings(path, overrides=["search.trials=7"])
    assert settings.search.trials == 7
