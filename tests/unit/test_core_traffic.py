"""The document that says which share of the requests goes where."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

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


def test_what_earlier_releases_wrote_is_read() -> None:
    arm = {"version": "1", "weight": 1.0, "bundle": "/bundles/1", "digest": "d1", "application": ""}
    written = {"endpoint": "flights", "generation": 7, "champion": arm, "challengers": [], "rollout_id": "r1"}
    read = TrafficDocument.from_json(json.dumps(written))
    assert read == TrafficDocument("flights", 7, Arm("1", 1.0, "/bundles/1", "d1"), (), "r1")
    assert (read.shadows, read.warm, read.salt) == ((), (), "")


def test_shadows_and_warm_arms_count_for_nothing_in_the_sum_and_come_back_from_json() -> None:
    shadow, warm = Arm("8", 0.9, "/bundles/8", "d8", "app8"), Arm("9", 0.0, "/bundles/9", "d9")
    whole = replace(document(0.5, 0.5), shadows=(shadow,), warm=(warm,), salt="r1")
    assert [arm.version for arm in whole.arms] == ["1", "2", "8", "9"]
    assert TrafficDocument.from_json(whole.to_json()) == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"shadows": (Arm("8", 1.1, "", ""),)},
        {"shadows": (Arm("8", -0.1, "", ""),)},
        {"warm": (Arm("9", 0.1, "", ""),)},
        {"warm": (Arm("1", 0.0, "", ""),)},
        {"shadows": (Arm("2", 0.1, "", ""),)},
    ],
    ids=["too much", "less than nothing", "warm with a weight", "champion and warm", "challenger and shadow"],
)
def test_arms_that_cannot_be_are_refused(changes: dict[str, tuple[Arm, ...]]) -> None:
    with pytest.raises(InputError, match="flights"):
        replace(document(0.5, 0.5), **changes)
