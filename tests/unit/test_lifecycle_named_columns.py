"""A misspelt column or feature is refused with its key and the nearest name."""

from __future__ import annotations

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.load import load_parts
from sluiceway.config.serving import ServingSection
from sluiceway.lifecycle.named_columns import column_problems, range_problems, unlogged_problems
from sluiceway.lifecycle.preflight import section_problems

KNOWN = ("age_group", "gender", "fare", "middle_name", "late")


def test_every_place_that_names_a_column_is_looked_at():
    evaluation = EvaluationSection.model_validate(
        {
            "fairness": {"protected_attributes": ["gendr"], "intersections": [["gender", "age_grup"]]},
            "data_quality": {"allow_null": ["fare", "midle_name"]},
            "leakage": {"allow": ["fair"]},
            "slices": {"declared": [{"name": "s", "where": {"gender": "f", "zzz": 1}}]},
        }
    )
    assert column_problems(evaluation, KNOWN) == (
        "evaluation.fairness.protected_attributes[0]: 'gendr' is no column of the table; did you mean 'gender'?",
        "evaluation.fairness.intersections[0][1]: 'age_grup' is no column of the table; did you mean 'age_group'?",
        "evaluation.data_quality.allow_null[1]: 'midle_name' is no column of the table; did you mean 'middle_name'?",
        "evaluation.leakage.allow[0]: 'fair' is no column of the table; did you mean 'fare'?",
        "evaluation.slices.declared[0].where: 'zzz' is no column of the table; there are: age_group, gender, fare, "
        "middle_name, late",
    )


def test_columns_that_are_there_and_those_of_own_gates_are_left_alone():
    evaluation = EvaluationSection.model_validate(
        {"fairness": {"protected_attributes": ["gender"]}, "own": {"x": {"function": "a:b", "columns": ["nowhere"]}}}
    )
    assert column_problems(evaluation, KNOWN) == ()


def test_what_is_not_logged_has_to_be_a_column_and_what_has_a_range_a_feature(tmp_path):
    serving = ServingSection.model_validate(
        {
            "log": {"drop": ["gender", "middel_name"], "hash": ["age_groups"]},
            "input": {"ranges": {"fare": [0, None], "fair": [0, 9], "late": [0, 1]}},
        }
    )
    assert unlogged_problems(serving, KNOWN) == (
        "platform.serving.log.drop[1]: 'middel_name' is no column of the table; did you mean 'middle_name'?",
        "platform.serving.log.hash[0]: 'age_groups' is no column of the table; did you mean 'age_group'?",
    )
    # The second time by the file, as every command reads it.
    path = tmp_path / "config.yaml"
    path.write_text(
        "experiment: {name: x}\ndata: {path: t, features: [fare], target: late}\n"
        "platform: {serving: {input: {ranges: {fair: [0, 9]}}}}\n"
    )
    (found,) = section_problems(load_parts(path))
    assert found.endswith("platform.serving.input.ranges.fair: 'fair' is no feature; did you mean 'fare'?")
    assert range_problems(serving, ("age_group", "fare")) == (
        "platform.serving.input.ranges.fair: 'fair' is no feature; did you mean 'fare'?",
        "platform.serving.input.ranges.late: 'late' is no feature; did you mean 'fare'?",
    )
