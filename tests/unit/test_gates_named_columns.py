"""A misspelt column of a gate's section is refused with its key and the nearest name."""

from __future__ import annotations

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.gates.named_columns import column_problems

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
        "evaluation.slices.declared[0].where: 'zzz' is no column of the table; it has: age_group, gender, fare, "
        "middle_name, late",
    )


def test_columns_that_are_there_and_those_of_own_gates_are_left_alone():
    evaluation = EvaluationSection.model_validate(
        {"fairness": {"protected_attributes": ["gender"]}, "own": {"x": {"function": "a:b", "columns": ["nowhere"]}}}
    )
    assert column_problems(evaluation, KNOWN) == ()
