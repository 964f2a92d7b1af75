"""The document that says which share of the requests goes where."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.core.errors import InputError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, Arm, TrafficDocument


def document(champion: float, *challengers: float) -> TrafficDocument:
    arms = tuple(Arm(str(2 + i), w, f"/bundles/{i}", f"d{i}", f"app{i}") for i, w in enumerate(challengers))
    return TrafficDocument("flights", 7, Arm("1", champion, "/bundles/c", "dc"), arms, "r1")


@given(weight=st.floats(0, 1), split=st.floats(0, 1))
def test_it_comes_back_from_json_as_it_was(weight: float, split: float) -> None:
    original = document(1 - weight, weight * split, weight * (1 - split))
    again = TrafficDocument.from_json(original.to_json())
    assert again == original
    assert again.to_json() == original.to_json()


def test_it_is_immutable_and_hashable() -> None:
    assert len({document(1.0), document(1.0)}) == 1
    with pytest.raises(AttributeError):
        document(1.0).generation = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    "weights", [(0.5,), (0.9, 0.2), (1.1, -0.1), (-0.1, 1.1), (float("nan"), 1.0), (0.0, 0.0), (float("inf"), 0.0)]
)
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="sum to 1"):
        document(*weights)


def test_weights_that_are_no_shares_are_refused_when_they_are_read_too() -> None:
    body = json.loads(document(0.5, 0.5).to_json())
    body["champion"]["weight"] = 0.9
    with pytest.raises(InputError, match="flights"):
        TrafficDocument.from_json(json.dumps(body))


def test_a_quantile_read_from_the_buckets_is_off_by_15_percent_at_most() -> None:
    pairs = list(itertools.pairwise(LATENCY_BOUNDS_SECONDS))
    assert all(1 < high / low < 1.15001 for low, high in pairs)
    assert LATENCY_BOUNDS_SECONDS[0] == 1e-4
    assert LATENCY_BOUNDS_SECONDS[-1] > 50
