"""Gates as Ray tasks; the only module of this room that knows Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.classes import Class, class_places
from sluiceway.core.doors import Scorer
from sluiceway.core.errors import DataError
from sluiceway.core.verdict import GateResult, Measurement, Status, Verdict
from sluiceway.gates.column_facts import ColumnFacts, column_facts, label_facts
from sluiceway.gates.data_quality import data_quality
from sluiceway.gates.fairness import fairness, group_scores
from sluiceway.gates.metrics import Task
from sluiceway.gates.performance import performance
from sluiceway.gates.report_data import ReportData, class_data, curves
from sluiceway.gates.robustness import robustness

Array = npt.NDArray[Any]
OnDone = Callable[[GateResult], None]


@dataclass(frozen=True)
class GateOutput:
    """What a gate's task gives back.

    Attributes:
        result: the verdicts.
        data: what the report draws of it.
        facts: facts of the training rows, from the data quality gate.
    """

    result: GateResult
    data: ReportData = field(default_factory=ReportData)
    facts: tuple[ColumnFacts, ...] = ()


@dataclass(frozen=True)
class GateRequest:
    """One gate to run.

    Attributes:
        gate: its name.
        function: runs in the task; called with the arguments, object references among them resolved.
        arguments: plain values and object references.
        cpus: that Ray reserves.
        memory_bytes: that Ray reserves, or None.
    """

    gate: str
    function: Callable[..., GateOutput | GateResult]
    arguments: tuple[Any, ...] = ()
    cpus: float = 1.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class GateInputs:
    """Everything that the four gates judge.

    Attributes:
        test: reference of the test rows (pa.Table): features, target, protected columns.
        train: reference of the training rows (pa.Table): features and target.
        scorer: the model; has to pickle.
        features: columns that the model sees.
        target: column that it predicts.
        threshold: a score at or above it is a positive decision; None for regression and for several classes.
        evaluation: limits.
        task: kind of the model.
        classes: values of the target in the order of the scores, where there are more than two.
        seed: of samples and disturbances.
        reference: facts of the champion's training version, or None before there is one.
        memory_bytes: that Ray reserves for each gate, or None.
    """

    test: Any
    train: Any
    scorer: Scorer
    features: tuple[str, ...]
    target: str
    threshold: float | None
    evaluation: EvaluationSection
    task: Task = "binary"
    classes: tuple[Class, ...] = ()
    seed: int = 0
    reference: tuple[ColumnFacts, ...] | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Judgement:
    """All gates of one model.

    Attributes:
        results: of the gates, in the order in which they are named.
        data: what the report draws.
        facts: of the training rows, to be stored with the model; empty when the data quality gate ended in an ERROR.
    """

    results: tuple[GateResult, ...]
    data: ReportData = field(default_factory=ReportData)
    facts: tuple[ColumnFacts, ...] = ()


def judge_model(inputs: GateInputs, *, on_done: OnDone | None = None) -> Judgement:
    """Run the four gates in parallel; the test rows are scored once and shared.

    Args:
        inputs: what is judged.
        on_done: called in this process with each result as it comes.
    """
    scorer = ray.put(inputs.scorer)
    scores = _submit_scoring(inputs, scorer)
    try:
        outputs = _run(_requests(inputs, scorer, scores), inputs.evaluation.timeout_seconds, on_done)
    finally:
        ray.cancel(scores, force=True)  # nothing to do for a finished task; a hung one would keep its CPU
    data = ReportData()
    for output in outputs:
        data = data.merged(output.data)
    facts = next((output.facts for output in outputs if output.facts), ())
    return Judgement(tuple(output.result for output in outputs), data, facts)


def _submit_scoring(inputs: GateInputs, scorer: Any) -> Any:
    options = {"num_cpus": 1, "max_retries": 1, **({"memory": inputs.memory_bytes} if inputs.memory_bytes else {})}
    return ray.remote(_score).options(**options).remote(scorer, inputs.test, inputs.features, len(inputs.classes))


def _requests(inputs: GateInputs, scorer: Any, scores: Any) -> tuple[GateRequest, ...]:
    plain = replace(inputs, test=None, train=None, scorer=None)  # type: ignore[arg-type]

    def request(gate: str, function: Callable[..., GateOutput], *arguments: Any) -> GateRequest:
        return GateRequest(gate, function, (plain, *arguments), memory_bytes=inputs.memory_bytes)

    return (
        request("performance", _performance, inputs.test, scores),
        request("fairness", _fairness, inputs.test, scores),
        request("robustness", _robustness, inputs.test, scorer),
        request("data_quality", _data_quality, inputs.train),
    )


def run_gates(
    gates: Sequence[GateRequest], *, timeout_seconds: float, on_done: OnDone | None = None
) -> tuple[GateResult, ...]:
    """Run gates in parallel, each as one Ray task; all of them always run.

    An exception in a task, the death of its worker, or a gate that is not done in time gives a result with one ERROR
    verdict that names it, never a PASS.

    Args:
        gates: what to run.
        timeout_seconds: for all of them together, waiting for CPUs included.
        on_done: called in this process with each result as it comes.

    Returns:
        One result a request, in their order.
    """
    return tuple(output.result for output in _run(gates, timeout_seconds, on_done))


def _run(gates: Sequence[GateRequest], timeout_seconds: float, on_done: OnDone | None) -> tuple[GateOutput, ...]:
    begun = time.monotonic()
    waiting = {_submit(request): request for request in gates}
    done: dict[str, GateOutput] = {}
    try:
        while waiting:
            left = max(0.0, timeout_seconds - (time.monotonic() - begun))
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=left, fetch_local=False)
            if not ready:
                late = f"not done after {timeout_seconds:g} s"
                fresh = {r.gate: GateOutput(_error(r.gate, late, timeout_seconds)) for r in waiting.values()}
            else:
                gate = waiting.pop(ready[0]).gate
                fresh = {gate: _fetch(ready[0], gate, time.monotonic() - begun)}
            done |= fresh
            for output in fresh.values():
                if on_done is not None:
                    on_done(output.result)
            if not ready:
                break
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
    return tuple(done[request.gate] for request in gates)


def _submit(request: GateRequest) -> Any:
    options: dict[str, Any] = {"num_cpus": request.cpus, "max_retries": 1, "name": f"gate {request.gate}"}
    if request.memory_bytes:
        options["memory"] = request.memory_bytes
    return ray.remote(_call).options(**options).remote(request.function, *request.arguments)


def _fetch(reference: Any, gate: str, seconds: float) -> GateOutput:
    try:
        output: GateOutput = ray.get(reference)
    except Exception as error:  # noqa: BLE001 (whatever a gate died of is its verdict, not the end of the others)
        # Ray wraps what the task raised; its own text carries a remote traceback of many lines.
        cause = getattr(error, "cause", None) or error
        first = next((line for line in str(cause).splitlines() if line.strip()), "")
        return GateOutput(_error(gate, f"{type(cause).__name__}: {first}", seconds))
    return output


def _error(gate: str, reason: str, seconds: float) -> GateResult:
    verdict = Verdict(gate, Status.ERROR, Measurement(gate, None, 0), reason=reason)
    return GateResult(gate, (verdict,), seconds=seconds)


def _call(function: Callable[..., GateOutput | GateResult], *arguments: Any) -> GateOutput:
    begun = time.monotonic()
    given = function(*arguments)
    output = GateOutput(given) if isinstance(given, GateResult) else given
    return replace(output, result=replace(output.result, seconds=time.monotonic() - begun))


def _score(scorer: Scorer, rows: pa.Table, features: Sequence[str], classes: int) -> Array:
    scores = np.asarray(scorer.score(rows.select(list(features))), dtype=np.float64)
    if scores.shape != ((rows.num_rows, classes) if classes else (rows.num_rows,)):
        of = f" and {classes} classes" if classes else ""
        raise DataError(f"the model gave scores of shape {scores.shape} for {rows.num_rows} rows{of}")
    return scores


def _labels(rows: pa.Table, inputs: GateInputs) -> Array:
    target = inputs.target
    column = rows[target]
    if inputs.task == "multiclass":
        return class_places(column, inputs.classes, target=target)
    if column.null_count:
        raise DataError(f"{column.null_count} test rows have no {target!r}", hint="drop rows without a target")
    typed = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    values: Array = typed.cast(pa.float64()).to_numpy()
    return values


def _performance(inputs: GateInputs, rows: pa.Table, scores: Array) -> GateOutput:
    labels = _labels(rows, inputs)
    result = performance(labels, scores, threshold=inputs.threshold, evaluation=inputs.evaluation, task=inputs.task)
    if inputs.task == "multiclass":
        return GateOutput(result, class_data(labels, scores, inputs.classes))
    return GateOutput(result, curves(labels, scores) if inputs.task == "binary" else ReportData())


def _fairness(inputs: GateInputs, rows: pa.Table, scores: Array) -> GateOutput:
    labels = _labels(rows, inputs)
    section = inputs.evaluation.fairness
    groups = {name: rows[name] for name in section.protected_attributes if name in rows.column_names}
    result = fairness(labels, scores, groups, section=section, task=inputs.task)
    found = [
        score
        for name, values in groups.items()
        for score in group_scores(name, labels, scores, values, section=section, task=inputs.task)
    ]
    return GateOutput(result, ReportData(groups=tuple(found[:200])))


def _robustness(inputs: GateInputs, rows: pa.Table, scorer: Scorer) -> GateOutput:
    return GateOutput(
        robustness(
            rows,
            _labels(rows, inputs),
            scorer,
            features=inputs.features,
            section=inputs.evaluation.robustness,
            task=inputs.task,
            seed=inputs.seed,
        )
    )


def _data_quality(inputs: GateInputs, rows: pa.Table) -> GateOutput:
    facts = column_facts(rows, inputs.features, inputs.target, reference=inputs.reference, classes=inputs.classes)
    labels = label_facts(rows, inputs.target, classifier=inputs.task == "binary", classes=inputs.classes)
    section = inputs.evaluation.data_quality
    result = data_quality(facts, labels, section=section, features=inputs.features, reference=inputs.reference)
    return GateOutput(result, facts=facts)
