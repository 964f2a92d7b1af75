"""What ``sluiceway init`` drafts is a configuration that loads."""

from __future__ import annotations

import pytest

from sluiceway.config.experiment import ExperimentSection
from sluiceway.lifecycle.draft import experiment_name


@pytest.mark.parametrize(
    ("table", "target", "expected"),
    [
        ("s3://b/data/flights/", "late", "flights_late"),
        ("data/-x", "y", "x_y"),
        ("data/销售", "是否", "model"),
        ("data/销售", "late", "late"),
        ("data/sales", "是否", "sales"),
        ("data/Überzüge", "spät", "berz_ge_sp_t"),
        ("data/" + "long_table_name_" * 6, "a_rather_long_target_column", ("long_table_name_" * 6 + "_a_r")[:100]),
    ],
)
def test_the_name_of_the_experiment_is_one_that_the_configuration_takes(table, target, expected):
    assert ExperimentSection(name=experiment_name(table, target)).name == expected
