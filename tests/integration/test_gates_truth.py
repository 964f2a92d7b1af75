"""x"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planted_faults import GRADES, KEY, KINDS, NOW, TARGETS, TIME, Case, clean, planted, scorer, trained, with_column
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.doors import Replica, ReplicaAnswers, ReplicaFacts
from sluiceway.core.verdict import GateResult, Status
from sluiceway.features.encode import encode_rows
from sluiceway.gates.catalogue import gates_of
from sluiceway.gates.context import Champion, Gate, GateContext
from sluiceway.gates.ray_tasks import labels_of
from sluiceway.lifecycle.gate_rows import own_view

EVALUATION = EvaluationSection.model_validate(
    {
        "thresholds": {"auc_roc": 0.75, "accuracy": 0.7},
        "fairness": {"protected_attributes": ["region", "age_group"]},
        "data_quality": {"max_age_days": 30},
    }
)


class Endpoint:
    """A replica in this process: JSON in, the package's own encoding, JSON out."""

    def __init__(self, bundle, swap: Mapping[str, str] | None = None):
        self.scorer, self.swap = scorer(bundle), swap or {}

    def ask_together(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """One request."""
        begun = time.perf_counter()
        asked = json.loads(json.dumps([{name: row[self.swap.get(name, name)] for name in row} for row in rows]))
        scores = self.scorer.score_matrix(encode_rows(asked, self.scorer.schema)[0])
        decisions = self.scorer.decide(scores).tolist()
        if self.scorer.classes:
            decisions = [self.scorer.classes[place] for place in scores.argmax(axis=1)]
        return ReplicaAnswers(scores.tolist(), decisions, [time.perf_counter() - begun])

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """One request each."""
        answers = [self.ask_together([row]) for row in rows]
        return ReplicaAnswers(*([one for a in answers for one in getattr(a, name)] for name in ("scores", "decisions", "seconds")))

    def facts(self) -> ReplicaFacts:
        """Of a small model."""
        return ReplicaFacts(0.1, 2**20, 2**18)


def judged(case: Case, *gates: str, evaluation: EvaluationSection = EVALUATION, replica: Replica | None = None, seed: int = 0, now: float = NOW):
    """Every part of every gate (or of those that are named), each shown what the runner shows it."""
    decision, model = case.candidate.decision, scorer(case.candidate)
    plain = GateContext(
        gate="", section=evaluation.performance, evaluation=evaluation, features=tuple(case.kinds), kinds=case.kinds,
        target=decision["target"], threshold=decision["threshold"], task=decision["kind"],
        classes=tuple(decision["classes"]) if decision["kind"] == "multiclass" else (), key=("loan",), time=TIME, seed=seed,
        now=now, reference=case.facts)  # fmt: skip
    test, given = case.parts.test, {}
    given["test"] = {"test": test, "labels": labels_of(test, plain), "scores": model.score(test), "scorer": model}
    given["train"] = {"train": case.parts.train}
    given["replica"] = {"replica": replica or Endpoint(case.candidate)}
    if case.champion:
        other = scorer(case.champion)
        given["champion"] = {"champion": Champion("1", other.score(test), other.threshold, other)}
    results = {}
    for gate in gates_of(evaluation):
        if gates and gate.name not in gates: continue
        t=time.perf_counter()
        view = own_view(plain, gate)
        for need in gate.needs:
            view = replace(view, **given.get(need, {}))
        verdicts = [v for part in gate.parts(view) for v in gate.function(replace(view, part=part)).verdicts]
        results[gate.name] = GateResult(gate.name, tuple(verdicts), time.perf_counter()-t)
    return results
