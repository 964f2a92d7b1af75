"""Two versions side by side: everything that is not the same is told, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sluiceway.lifecycle.model_diff import differences, facts_of
from sluiceway.registry.version_record import VersionRecord
from sluiceway.registry.versions import ModelVersion

SCHEMA = {
    "version": 1,
    "missing": "NaN",
    "features": [
        {"name": "delay", "kind": "numeric"},
        {"name": "carrier", "kind": "category", "categories": ["AA", "B6"]},
    ],
}
LINEAGE = {
    "data": {"uri": "/t/flights", "version": 3, "digest": "d3", "rows": 300, "row_digest": "r3"},
    "code": {"commit": "c1", "dirty": False, "digest": "x1"},
}
VERSION = ModelVersion(
    "1", "run1", "b1", ("champion",), {"data_ref": "h1", "gate_performance": "PASS", "config_digest": "k1"}, 0.0
)
RECORD = VersionRecord(
    name="flights",
    version=VERSION,
    run_name="first",
    schema=SCHEMA,
    decision={"kind": "binary", "threshold": 0.4, "target": "late"},
    lineage=LINEAGE,
    params={"max_depth": "6", "eta": "0.1"},
    metrics={"cv_auc": 0.9, "seconds_fit": 3.0, "odd": math.nan},
    libraries={"xgboost": "3.2.0", "numpy": "2.0.0"},
    bytes=1000,
)


def told(other, **sizes):
    found = differences(facts_of(RECORD, rounds=10, trees=10), facts_of(other, **{"rounds": 10, "trees": 10, **sizes}))
    return {(one.section, one.what): (one.first, one.second, one.change) for one in found}


def test_a_version_and_itself_do_not_differ():
    assert told(RECORD) == {}


def test_a_run_s_own_times_are_no_difference():
    assert told(replace(RECORD, metrics={**RECORD.metrics, "seconds_fit": 9.0})) == {}


def test_numbers_have_a_change_and_what_one_lacks_is_none():
    other = replace(RECORD, params={"max_depth": "6"}, metrics={"cv_auc": 0.93, "odd": math.nan}, libraries={})
    assert told(other, rounds=12, trees=12) == {
        ("model", "rounds"): (10, 12, 2),
        ("model", "trees"): (10, 12, 2),
        ("parameters", "eta"): ("0.1", None, None),
        ("metrics", "cv_auc"): (0.9, 0.93, pytest.approx(0.03)),
        ("libraries", "xgboost"): ("3.2.0", None, None),
        ("libraries", "numpy"): ("2.0.0", None, None),
    }


def test_columns_differ_by_name_kind_categories_and_order():
    features = [
        {"name": "carrier", "kind": "category", "categories": ["AA", "UA"]},
        {"name": "delay", "kind": "numeric"},
        {"name": "hour", "kind": "numeric"},
    ]
    assert told(replace(RECORD, schema={**SCHEMA, "features": features})) == {
        ("features", "order"): ("delay, carrier", "carrier, delay, hour", None),
        ("features", "column carrier"): ("category: AA, B6", "category: AA, UA", None),
        ("features", "column hour"): (None, "numeric", None),
    }


def test_data_code_gates_and_decision_are_held_against_each_other():
    other = replace(
        RECORD,
        version=replace(
            VERSION,
            version="2",
            digest="b2",
            tags={
                "data_ref": "h2",
                "gate_performance": "FAIL (waived)",
                "gate_fairness": "PASS",
                "config_digest": "k1",
            },
        ),
        decision={
            **RECORD.decision,
            "threshold": 0.5,
            "calibrator": {"scores": [0.1, 0.9], "values": [0.0, 1.0]},
        },
        lineage={
            "data": {**LINEAGE["data"], "version": 4, "digest": "d4", "row_digest": "r4"},
            "code": {"commit": "c2", "dirty": True, "digest": "x1"},
            "base": {"version": "1", "digest": "b1"},
        },
        bytes=None,
    )
    found = {key: (first, second) for key, (first, second, _) in told(other).items()}
    assert found == {
        ("model", "digest"): ("b1", "b2"),
        ("model", "threshold"): (0.4, 0.5),
        ("model", "calibrator"): (None, "2 points, 0 to 1"),
        ("model", "bytes"): (1000, None),
        ("model", "goes on from"): (None, "1"),
        ("data", "version"): (3, 4),
        ("data", "ref"): ("h1", "h2"),
        ("data", "digest"): ("d3", "d4"),
        ("data", "row digest"): ("r3", "r4"),
        ("gates", "performance"): ("PASS", "FAIL (waived)"),
        ("gates", "fairness"): (None, "PASS"),
        ("code", "commit"): ("c1", "c2"),
        ("code", "dirty"): ("false", "true"),
    }


def test_an_imported_version_has_no_data_and_says_what_it_came_from():
    found = told(replace(RECORD, lineage={"imported": {"digest": "s1", "file": "a.ubj", "left_out_rounds": 0}}))
    assert found[("model", "imported")] == (None, "s1", None)
    assert found[("data", "digest")] == ("d3", None, None)
