"""The gates as real Ray tasks: all of them run, and whatever happens to one is its verdict, never a PASS."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import ray
from scipy.special import expit

from sluiceway.config.evaluation import GATES, EvaluationSection, FairnessSection
from sluiceway.config.gates import PerformanceSection
from sluiceway.core.verdict import Measurement, Status, Verdict
from sluiceway.gates.catalogue import gates_of
from sluiceway.gates.context import Gate, GateContext
from sluiceway.gates.ray_tasks import ChampionModel, GateInputs, judge
from sluiceway.gates.report.page import render

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

# Workers cannot import a test file: its functions and classes travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

FEATURES = ("a", "b", "c")
# The gate `serving` asks a replica, which test_serving_preflight has.
JUDGED = tuple(name for name in GATES if name != "serving")


class Truth:
    def score(self, rows):
        a = np.nan_to_num(rows["a"].to_numpy().astype(float))
        b = np.nan_to_num(rows["b"].to_numpy().astype(float))
        return expit(2 * a + b)


class Worse:
    def score(self, rows):
        return expit(np.nan_to_num(rows["b"].to_numpy().astype(float)))


class Broken:
    def score(self, rows):
        raise ValueError("no such tree\nsecond line")


class Short:
    def score(self, rows):
        return np.zeros(3)


def make_rows(seed, n=4000):
    random = np.random.default_rng(seed)
    a, b = random.standard_normal(n), random.standard_normal(n)
    late = (random.random(n) < expit(2 * a + b)).astype(np.int64)
    c, group = random.choice(["x", "y"], n), random.choice(["east", "west"], n)
    key = random.integers(0, 2**63, n, dtype=np.uint64)
    return pa.table({"a": a, "b": b, "c": c, "late": late, "group": group, "__key__": key})


def make_inputs(scorer, *, train=None, reference=None, champion=None, evaluation=None):
    evaluation = evaluation or EvaluationSection(
        thresholds={"auc_roc": 0.8}, fairness=FairnessSection(protected_attributes=("group",)), timeout_seconds=240
    )
    plain = GateContext(
        gate="",
        section=evaluation.performance,
        evaluation=evaluation,
        features=FEATURES,
        kinds={"a": "numeric", "b": "numeric", "c": "category"},
        target="late",
        threshold=0.5,
        now=time.time(),
        reference=reference,
    )
    return GateInputs(
        contexts={
            name: dataclasses.replace(plain, gate=name, section=evaluation.gate(name)) for name in evaluation.gate_names
        },
        test=ray.put(make_rows(1)),
        train=ray.put(make_rows(2) if train is None else train),
        scorer=scorer,
        champion=champion,
        replica=None,
        timeout_seconds=evaluation.timeout_seconds,
    )


def run(inputs, **arguments):
    gates = [gate for gate in gates_of(EvaluationSection()) if gate.name in JUDGED]
    return {one.result.gate: one for one in judge(gates, inputs, **arguments)}


@pytest.fixture(scope="module")
def good(ray_cluster):
    seen = []
    judged = run(make_inputs(Truth()), on_done=lambda one: seen.append(one.result.gate))
    return judged, seen


def test_a_good_model_passes_every_gate_and_everything_for_the_report_comes_back(good):
    judged, seen = good
    assert tuple(judged) == JUDGED
    lines = [v.line() for one in judged.values() for v in one.result.verdicts if v.status is not Status.PASS]
    assert lines == []
    assert sorted(seen) == sorted(JUDGED)
    assert all(one.result.seconds > 0 for one in judged.values())
    assert len(judged["performance"].data.roc) > 10
    assert {g.group for g in judged["fairness"].data.groups} == {"east", "west"}
    assert [f.name for f in judged["data_quality"].facts] == list(FEATURES)
    assert judged["robustness"].data.disturbances
    page = render([one.result for one in judged.values()], title="m", facts={}, lineage={})
    assert "performance" in page


def test_faults_in_the_training_rows_are_found_in_the_task(good):
    facts = good[0]["data_quality"].facts
    rows = make_rows(3)
    shuffled = pa.array(np.random.default_rng(4).permutation(rows["a"].to_numpy()))
    second = run(make_inputs(Truth(), train=rows.set_column(0, "a", shuffled), reference=facts))
    assert second["data_quality"].result.status is Status.FAIL
    assert second["performance"].result.status is Status.PASS
    failed = [v for v in second["data_quality"].result.verdicts if v.status is Status.FAIL]
    assert any("breaks it: a" in v.measurement.detail for v in failed)


@pytest.mark.parametrize(("scorer", "text"), [(Broken(), "no such tree"), (Short(), "shape (3,)")])
def test_a_model_that_cannot_score_is_an_error_of_the_gates_that_need_it(scorer, text):
    judged = run(make_inputs(scorer))
    for name in ("performance", "champion", "fairness", "robustness", "calibration", "slices"):
        result = judged[name].result
        assert result.status is Status.ERROR, name
        assert result.blocks
        assert text in result.verdicts[0].reason
        assert "\n" not in result.verdicts[0].reason


def test_the_champion_is_scored_on_the_same_rows_and_one_that_cannot_is_an_error_of_its_gate_only():
    better = run(make_inputs(Truth(), champion=ChampionModel("3", Worse(), 0.5)))
    assert better["champion"].result.status in (Status.PASS, Status.FAIL)  # FAIL: better than anybody believes
    worse = run(make_inputs(Worse(), champion=ChampionModel("3", Truth(), 0.5)))
    assert worse["champion"].result.status is Status.FAIL
    dead = run(make_inputs(Truth(), champion=ChampionModel("3", Broken(), 0.5)))
    assert dead["champion"].result.status is Status.ERROR
    assert "version 3, cannot score these rows" in dead["champion"].result.verdicts[0].reason
    assert not dead["fairness"].result.blocks
    assert not dead["robustness"].result.blocks


def test_rows_without_a_target_are_an_error_that_says_what_to_do():
    inputs = make_inputs(Truth())
    rows = make_rows(1)
    holed = rows.set_column(3, "late", pa.array([None, *rows["late"].to_pylist()[1:]]))
    gates = [gate for gate in gates_of(EvaluationSection()) if gate.name in ("performance", "calibration")]
    for one in judge(gates, dataclasses.replace(inputs, test=ray.put(holed))):
        (verdict,) = one.result.verdicts
        expected = "DataError: 1 test rows have no 'late'; leave rows without an outcome out of the table"
        assert (verdict.status, verdict.reason) == (Status.ERROR, expected)


def answer(context):
    return [Verdict(context.gate, Status.PASS, Measurement(context.part or "x", 1.0, 10))]


def die(_context):
    os._exit(1)


def sleep(context):
    time.sleep(300)
    return answer(context)


def raise_error(context):
    raise KeyError(context.gate)


def nothing(_context):
    return []


def text(_context):
    return "PASS"


def in_anothers_name(_context):
    return [Verdict("performance", Status.PASS, Measurement("x", 1.0, 10))]


def meet(folder, context):
    """Both can only meet where there is a CPU for each."""
    (folder / context.gate).touch()
    other = folder / ("slices" if context.gate == "fairness" else "fairness")
    until = time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < until, f"no CPU for {other.name}"
        time.sleep(0.05)
    return answer(context)


def gate(name, function, **arguments):
    return Gate(name, "", function, needs=frozenset(), **arguments)


def test_a_worker_that_dies_a_task_that_raises_and_a_gate_without_a_verdict():
    gates = [gate("performance", die), gate("fairness", raise_error), gate("slices", nothing)]
    gates.append(gate("robustness", answer, parts=lambda _: ("one", "two", "three")))
    gates += [gate("leakage", text), gate("calibration", in_anothers_name)]
    results = [one.result for one in judge(gates, make_inputs(Truth()))]
    assert [r.gate for r in results] == ["performance", "fairness", "slices", "robustness", "leakage", "calibration"]
    assert [r.status for r in results[:4]] == [Status.ERROR, Status.ERROR, Status.INCONCLUSIVE, Status.PASS]
    assert [r.status for r in results[4:]] == [Status.ERROR, Status.ERROR]
    assert "'P', which is no Verdict" in results[4].verdicts[0].reason
    assert "has to be context.gate, 'calibration'" in results[5].verdicts[0].reason
    died = results[0].verdicts[0].reason
    assert died.startswith("the process of gate performance ended before it had judged, 2 times: os._exit, ")
    raised = results[1].verdicts[0].reason
    assert raised.startswith("KeyError: 'fairness' (")
    assert raised.endswith(f"test_gates_ray.py, line {raise_error.__code__.co_firstlineno + 1})")
    assert [r.blocks for r in results] == [True, True, True, False, True, True]
    assert [v.measurement.name for v in results[3].verdicts] == ["one", "two", "three"]


def test_a_gate_that_is_late_is_an_error_and_leaves_its_cpu(tmp_path):
    warm = [gate("performance", answer), gate("fairness", answer)]
    judge(warm, make_inputs(Truth()))  # workers may take long to start on a busy machine
    evaluation = EvaluationSection(performance=PerformanceSection(timeout_seconds=5))
    gates = [gate("performance", sleep), gate("fairness", answer)]
    results = [one.result for one in judge(gates, make_inputs(Truth(), evaluation=evaluation))]
    assert [r.status for r in results] == [Status.ERROR, Status.PASS]
    assert "not done after 5" in results[0].verdicts[0].reason
    both = [gate(name, partial(meet, tmp_path)) for name in ("fairness", "slices")]
    assert [one.result.status for one in judge(both, make_inputs(Truth()))] == [Status.PASS, Status.PASS]
