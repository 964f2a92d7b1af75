"""Verdicts are found again by content: data, model, the gate's limits and its code, and by nothing else."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import yaml

from sluiceway.catalog.stores import empty_stores
from sluiceway.config.evaluation import EvaluationSection, FairnessSection
from sluiceway.config.experiment import DataSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import GateResult, Measurement, Status, Verdict
from sluiceway.data.contract.load import parse_contract
from sluiceway.gates.catalogue import find, gates_of
from sluiceway.gates.context import GateContext, JudgedGate
from sluiceway.gates.drawn import CalibrationBin, ReportData
from sluiceway.lifecycle.gate_cache import GateCache, gate_key
from sluiceway.lifecycle.gate_rows import own_view
from sluiceway.lifecycle.subject import ServingModel, Subject
from sluiceway.registry.bundle import Bundle

DECISION = {"kind": "binary", "threshold": 0.5, "target": "late"}
BUNDLE = Bundle(b"{L1", {"features": []}, DECISION, {})
OTHER = Bundle(b"{L2", {"features": []}, DECISION, {})
VERSION = TableVersion("/t", 3, "d" * 64, 100, "v3")
CONTEXT = SimpleNamespace(
    data=DataSection(path="/t", features=("a",), target="late"), experiment=SimpleNamespace(seed=1)
)

KEYED = CONTEXT.data.model_copy(update={"key": ("a",)})


HOUR = 3600.0


def key(
    name="fairness",
    *,
    evaluation=None,
    bundle=BUNDLE,
    version=VERSION,
    champion=None,
    context=CONTEXT,
    source="",
    now=1e9,
    contract=None,
    reference=None,
):
    evaluation = evaluation or EvaluationSection()
    gate = dataclasses.replace(find(name, gates_of(EvaluationSection())), source=source)
    plain = GateContext("", evaluation.performance, evaluation, ("a",), {"a": "numeric"}, "late", 0.5, now=now)
    plain = dataclasses.replace(plain, reference=reference)
    subject = Subject("m", version, bundle, "/b", champion and ServingModel("7", champion, ()))
    return gate_key(context, subject, gate, own_view(plain, gate), contract)


def test_the_same_content_has_the_same_key():
    assert key() == key()
    assert key("fairness") != key("slices")


@pytest.mark.parametrize(
    "changed",
    [
        {"bundle": OTHER},
        {"version": dataclasses.replace(VERSION, digest="e" * 64)},
        {"evaluation": EvaluationSection(fairness=FairnessSection(max_disparity=0.2))},
        {"champion": OTHER},
        {"source": "f" * 64},
        {"context": SimpleNamespace(data=CONTEXT.data, experiment=SimpleNamespace(seed=2))},
        {
            "context": SimpleNamespace(
                data=CONTEXT.data.model_copy(update={"key": ("a",)}), experiment=CONTEXT.experiment
            )
        },
    ],
)
def test_whatever_the_verdict_depends_on_changes_the_key(changed):
    assert key(**changed) != key()


@pytest.mark.parametrize(
    "unchanged",
    [
        {"evaluation": EvaluationSection(fairness=FairnessSection(severity="warn", dry_run=True, timeout_seconds=3))},
        {"evaluation": EvaluationSection(robustness={"max_metric_loss": 0.2}, slices={"discover": False})},
        {"evaluation": EvaluationSection(thresholds={"auc_roc": 0.9}, metrics=("brier",))},
        {"version": dataclasses.replace(VERSION, version=4, ref="newest")},  # another name for the same files
    ],
)
def test_what_it_does_not_depend_on_does_not(unchanged):
    assert key(**unchanged) == key()


def test_thresholds_count_for_the_gates_that_hold_metrics_against_them():
    stricter = EvaluationSection(thresholds={"auc_roc": 0.9})
    assert key("performance", evaluation=stricter) != key("performance")
    assert key("slices", evaluation=stricter) == key("slices")


def test_the_champion_counts_only_where_it_is_looked_at():
    assert key("performance", champion=OTHER) == key("performance")
    assert key("champion", champion=OTHER) != key("champion")


def test_a_champion_of_which_nothing_is_kept_is_not_taken_for_none():
    assert key("data_quality", reference=()) != key("data_quality")


def fresh(value, unit):
    """A contract that promises an age."""
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "t",
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "t", "properties": [{"name": "a"}]}],
        "slaProperties": [{"property": "freshness", "value": value, "unit": unit}],
    }
    return parse_contract(yaml.safe_dump(document), path="c.yaml")


@pytest.mark.parametrize(
    ("settings", "same", "other"),
    [
        ({"name": "fairness"}, 1000 * HOUR, None),
        ({"name": "data_quality"}, 1000 * HOUR, None),
        ({"name": "data_quality", "evaluation": EvaluationSection(data_quality={"max_age_days": 10})}, 1, 12 * HOUR),
        ({"name": "data_quality", "contract": fresh(2, "h")}, 1, 0.1 * HOUR),
        (
            {
                "name": "data_quality",
                "contract": fresh(5, "d"),
                "evaluation": EvaluationSection(data_quality={"max_age_days": 1}),
            },
            1,
            1.2 * HOUR,
        ),
        ({"name": "fairness", "source": "f" * 64}, 1, 24 * HOUR),
    ],
)
def test_an_age_is_judged_again_before_it_has_changed_much(settings, same, other):
    begun = 12_000 * 24 * HOUR
    assert key(**settings, now=begun) == key(**settings, now=begun + same)
    if other is not None:
        assert key(**settings, now=begun) != key(**settings, now=begun + other)


def test_a_gate_sees_no_other_gate_s_section():
    evaluation = EvaluationSection(robustness={"max_metric_loss": 0.2}, fairness={"max_disparity": 0.3})
    plain = GateContext("", evaluation.performance, evaluation, ("a",), {"a": "numeric"}, "late", 0.5)
    view = own_view(plain, find("fairness", gates_of(evaluation)))
    assert view.section.max_disparity == 0.3
    assert view.evaluation.robustness == EvaluationSection().robustness


def test_verdicts_and_pictures_come_back_and_an_error_is_not_kept():
    cache = GateCache(empty_stores().pipeline, SystemClock())
    verdict = Verdict("fairness", Status.INCONCLUSIVE, Measurement("gap", 0.1, 10, 0.05, 0.2), enough=400)
    data = ReportData(calibration=(CalibrationBin(0.1, 0.2, 0.15, 0.25, 30),))
    cache.keep("k1", JudgedGate(GateResult("fairness", (verdict,), 2.5), data))
    found = cache.find("k1")
    assert found.result.cached
    assert found.result.verdicts == (verdict,)
    assert found.result.seconds == 2.5
    assert found.data == data
    error = dataclasses.replace(verdict, status=Status.ERROR)
    cache.keep("k2", JudgedGate(GateResult("fairness", (verdict, error))))
    assert cache.find("k2") is None
    assert cache.find("k3") is None
