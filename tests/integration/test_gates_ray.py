"""The gates as real Ray tasks: all of them run, and whatever happens to one is its verdict, never a PASS."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
import ray
from scipy.special import expit

from sluiceway.config.evaluation import EvaluationSection, FairnessSection
from sluiceway.core.verdict import GateResult, Measurement, Status, Verdict
from sluiceway.gates.ray_tasks import GateInputs, GateRequest, judge_model, run_gates
from sluiceway.gates.report import render

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

# Workers cannot import a test file: its functions and classes travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

FEATURES = ("a", "b", "c")
GATES = ("performance", "fairness", "robustness", "data_quality")


class Truth:
    def score(self, rows):
        a = np.nan_to_num(rows["a"].to_numpy().astype(float))
        b = np.nan_to_num(rows["b"].to_numpy().astype(float))
        return expit(2 * a + b)


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
    return pa.table({"a": a, "b": b, "c": c, "late": late, "group": group})


def make_inputs(scorer, *, train=None, reference=None, timeout=120.0):
    return GateInputs(
        test=ray.put(make_rows(1)),
        train=ray.put(make_rows(2) if train is None else train),
        scorer=scorer,
        features=FEATURES,
        target="late",
        threshold=0.5,
        evaluation=EvaluationSection(
            thresholds={"auc_roc": 0.8},
            fairness=FairnessSection(protected_attributes=("group",)),
            timeout_seconds=timeout,
        ),
        reference=reference,
    )


def answer(name):
    return GateResult(name, (Verdict(name, Status.PASS, Measurement("x", 1.0, 10)),))


def die(_name):
    os._exit(1)


def sleep(name):
    time.sleep(300)
    return answer(name)


def meet(folder, name, other):
    (folder / name).touch()
    until = time.monotonic() + 60
    while not (folder / other).exists():
        assert time.monotonic() < until, f"{other} never came: no CPU for it"
        time.sleep(0.05)
    return answer(name)


def raise_error(name):
    raise KeyError(name)


def test_a_good_model_passes_and_everything_for_the_report_comes_back():
    seen = []
    judged = judge_model(make_inputs(Truth()), on_done=seen.append)
    assert [r.gate for r in judged.results] == list(GATES)
    assert [r.status for r in judged.results] == [Status.PASS] * 4
    assert {r.gate for r in seen} == set(GATES)
    assert all(r.seconds > 0 for r in judged.results)
    assert len(judged.data.roc) > 10
    assert {g.group for g in judged.data.groups} == {"east", "west"}
    assert [f.name for f in judged.facts] == list(FEATURES)
    page = render(judged.results, title="m", facts={}, lineage={}, data=judged.data)
    assert page.count("<svg") == 3


def test_faults_in_the_training_rows_are_found_in_the_task():
    first = judge_model(make_inputs(Truth()))
    rows = make_rows(3)
    shuffled = pa.array(np.random.default_rng(4).permutation(rows["a"].to_numpy()))
    second = judge_model(make_inputs(Truth(), train=rows.set_column(0, "a", shuffled), reference=first.facts))
    statuses = {r.gate: r.status for r in second.results}
    assert statuses["data_quality"] is Status.FAIL
    assert statuses["performance"] is Status.PASS
    failed = [v for v in second.results[3].verdicts if v.status is Status.FAIL]
    assert [v.measurement.detail for v in failed] == ["breaks it: a"]


@pytest.mark.parametrize(("scorer", "text"), [(Broken(), "no such tree"), (Short(), "shape (3,)")])
def test_a_model_that_cannot_score_is_an_error_of_the_gates_that_need_it(scorer, text):
    judged = judge_model(make_inputs(scorer))
    statuses = {r.gate: r.status for r in judged.results}
    assert statuses["performance"] is Status.ERROR
    assert statuses["fairness"] is Status.ERROR
    assert statuses["robustness"] is not Status.PASS
    assert statuses["data_quality"] is Status.PASS
    assert text in judged.results[0].verdicts[0].reason
    assert "\n" not in judged.results[0].verdicts[0].reason
    assert all(r.blocks for r in judged.results[:3])


def test_a_worker_that_dies_and_a_task_that_raises():
    gates = [GateRequest("performance", die, ("performance",)), GateRequest("fairness", raise_error, ("fairness",))]
    gates.append(GateRequest("robustness", answer, ("robustness",)))
    results = run_gates(gates, timeout_seconds=60)
    assert [r.gate for r in results] == ["performance", "fairness", "robustness"]
    assert [r.status for r in results] == [Status.ERROR, Status.ERROR, Status.PASS]
    assert "WorkerCrashedError" in results[0].verdicts[0].reason
    assert "KeyError" in results[1].verdicts[0].reason


def test_a_gate_that_is_late_is_an_error_and_leaves_its_cpu(tmp_path):
    gates = [GateRequest("performance", sleep, ("performance",)), GateRequest("fairness", answer, ("fairness",))]
    run_gates([gates[1]] * 2, timeout_seconds=120)  # workers may take long to start on a busy machine
    results = run_gates(gates, timeout_seconds=5)
    assert [r.status for r in results] == [Status.ERROR, Status.PASS]
    assert "not done after 5 s" in results[0].verdicts[0].reason
    # Both can only meet where the late gate's CPU is free again (the cluster has two).
    pair = [("fairness", "robustness"), ("robustness", "fairness")]
    both = [GateRequest(name, meet, (tmp_path, name, other), cpus=0.8) for name, other in pair]
    assert [r.status for r in run_gates(both, timeout_seconds=90)] == [Status.PASS, Status.PASS]
