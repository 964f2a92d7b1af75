"""The gates of ``fares.py`` on made-up rows: a gate is a function of a GateContext, so that a test needs no Ray."""

from __future__ import annotations

import fares
import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import OwnGateSection
from sluiceway.core.verdict import Status
from sluiceway.gates.context import GateContext


class Model:
    """A model in one line: the score rises with the fare, or falls where ``sign`` is -1."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def score(self, rows: pa.Table) -> np.ndarray:
        """Shape (n_rows,)."""
        return 1 / (1 + np.exp(-self.sign * (rows["fare"].to_numpy() - 50) / 20))


def context(rows: pa.Table, model: Model, train: pa.Table | None = None, **options: object) -> GateContext:
    """What the runner would give to the gate."""
    return GateContext(
        gate="ours",
        section=OwnGateSection(function="fares:cheaper_is_no_riskier"),
        evaluation=EvaluationSection(),
        features=("fare",),
        kinds={"fare": "numeric"},
        target="bad",
        threshold=0.5,
        options=options,
        test=rows,
        labels=np.zeros(rows.num_rows),
        scores=model.score(rows),
        train=train,
        scorer=model,
    )


def rows(*routes: str) -> pa.Table:
    """A row a route."""
    return pa.table({"fare": np.linspace(5.0, 200.0, len(routes)), "route": routes})


@pytest.mark.parametrize(("sign", "expected"), [(1.0, Status.PASS), (-1.0, Status.FAIL)])
def test_a_score_that_rises_with_a_lower_fare_fails(sign: float, expected: Status) -> None:
    (verdict,) = fares.cheaper_is_no_riskier(context(rows(*"ab" * 50), Model(sign), column="fare"))
    assert verdict.status is expected
    assert verdict.measurement.n == 100


def test_without_rows_nothing_passes() -> None:
    empty = rows("a").slice(0, 0)
    for gate in (fares.cheaper_is_no_riskier, fares.known_from_training):
        (verdict,) = gate(context(empty, Model(), empty, column="fare"))
        assert verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("new", "expected"), [(0, Status.PASS), (5, Status.PASS), (8, Status.INCONCLUSIVE), (30, Status.FAIL)]
)
def test_values_that_training_has_not_seen_are_counted_and_named(new: int, expected: Status) -> None:
    asked = rows(*["NCE"] * (100 - new), *["OSL"] * new)
    (verdict,) = fares.known_from_training(context(asked, Model(), rows("NCE", "LYS"), column="route"))
    assert verdict.status is expected
    assert verdict.measurement.value == new / 100
    assert ("OSL" in verdict.line()) is (new > 0)


def test_a_column_that_is_not_there_fails() -> None:
    (verdict,) = fares.known_from_training(context(rows("NCE"), Model(), rows("NCE"), column="airline"))
    assert verdict.status is Status.FAIL
    assert "'airline'" in verdict.reason
