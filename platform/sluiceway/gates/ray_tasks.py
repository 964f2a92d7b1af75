"""Gates as Ray tasks; the only module of this room that knows Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from sluiceway.core.classes import class_places
from sluiceway.core.doors import Replica, Scorer
from sluiceway.core.errors import DataError
from sluiceway.core.verdict import GateResult, Measurement, Status, Verdict
from sluiceway.gates.context import Champion, Gate, GateContext, GateOutput, JudgedGate
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.task_errors import told, told_of_process, told_with_place

Array = npt.NDArray[Any]
# Less than a whole one: replicas hold a tenth or so of a CPU each, and must not keep every second gate waiting.
TASK_CPUS = 0.75
OnDone = Callable[[JudgedGate], None]


@dataclass(frozen=True)
class ChampionModel:
    """The model that serves now.

    Attributes:
        version: of the registered model.
        scorer: has to pickle.
        threshold: of its decisions, or None.
        note: see :class:`~sluiceway.gates.context.Champion`.
        unfit: why it cannot be compared with at all (another kind of model, say), or "".
    """

    version: str
    scorer: Scorer
    threshold: float | None
    note: str = ""
    unfit: str = ""


@dataclass(frozen=True)
class GateInputs:
    """Everything that the gates judge.

    Attributes:
        contexts: by the gate's name what it gets, without rows.
        test: reference of the test rows (pa.Table).
        train: reference of the training rows (pa.Table).
        scorer: the model; has to pickle.
        champion: the model that serves now, or None.
        replica: the candidate in a real replica, or None; has to pickle.
        timeout_seconds: for all gates together, waiting for CPUs included.
    """

    contexts: Mapping[str, GateContext]
    test: Any
    train: Any
    scorer: Scorer
    champion: ChampionModel | None
    replica: Replica | None
    timeout_seconds: float


@dataclass
class _Running:
    """A gate whose tasks run."""

    gate: Gate
    parts: list[str]
    limit: float
    deadline: float
    tries: int
    outputs: dict[str, GateOutput] = field(default_factory=dict)
    seconds: float = 0.0


def judge(gates: Sequence[Gate], inputs: GateInputs, *, on_done: OnDone | None = None) -> tuple[JudgedGate, ...]:
    """Run gates side by side, each part as one Ray task; all of them always run.

    The test rows are scored once by the candidate and once by the champion, and shared. An exception in a task, the
    death of its worker, or a gate that is not done in time gives an ERROR that names it, never a PASS.

    Args:
        gates: what to run.
        inputs: what is judged.
        on_done: called in this process with each gate as it is done.

    Returns:
        One a gate, in their order.
    """
    if not gates:
        return ()
    begun = time.monotonic()
    shared = _Shared(inputs)
    try:
        waiting: dict[Any, tuple[_Running, str]] = {}
        for gate in gates:
            waiting |= _submit(gate, inputs, shared, begun)
        done = _collect(waiting, on_done)
    finally:
        shared.cancel()
    return tuple(done[gate.name] for gate in gates)


class _Shared:
    """What several tasks use: put into the object store once, scored once."""

    def __init__(self, inputs: GateInputs) -> None:
        context = next(iter(inputs.contexts.values()))
        self.scorer = ray.put(inputs.scorer)
        self.test, self.train = inputs.test, inputs.train
        self.replica = ray.put(inputs.replica)
        options = {"num_cpus": TASK_CPUS, "max_retries": 1}
        classes = len(context.classes)
        self.scores = ray.remote(_score).options(**options).remote(self.scorer, inputs.test, context.features, classes)
        self.champion = (
            ray.remote(_score_champion).options(**options).remote(inputs.champion, inputs.test, classes)
            if inputs.champion
            else ray.put((None, "", ""))
        )

    def cancel(self) -> None:
        """Nothing to do for a finished task; a hung one would keep its CPU."""
        for reference in (self.scores, self.champion):
            ray.cancel(reference, force=True)


def _submit(gate: Gate, inputs: GateInputs, shared: _Shared, begun: float) -> dict[Any, tuple[_Running, str]]:
    context = inputs.contexts[gate.name]
    section = context.section
    limit = min(section.timeout_seconds or math.inf, inputs.timeout_seconds)
    parts = list(gate.parts(context)) or [""]
    running = _Running(gate, parts, limit, begun + limit, 1 + section.retries)
    options: dict[str, Any] = {"num_cpus": TASK_CPUS, "max_retries": section.retries}
    if section.memory_mb:
        options["memory"] = section.memory_mb * 1024**2
    tasks = {}
    for part in parts:
        name = " ".join(filter(None, ("gate", gate.name, part)))
        reference = (
            ray.remote(_call)
            .options(name=name, **options)
            .remote(
                gate.function,
                replace(context, part=part),
                shared.test if "test" in gate.needs else None,
                shared.scores if "test" in gate.needs else None,
                shared.scorer if "test" in gate.needs else None,
                shared.train if "train" in gate.needs else None,
                shared.champion if "champion" in gate.needs else None,
                shared.replica if "replica" in gate.needs else None,
            )
        )
        tasks[reference] = (running, part)
    return tasks


def _collect(waiting: dict[Any, tuple[_Running, str]], on_done: OnDone | None) -> dict[str, JudgedGate]:
    done: dict[str, JudgedGate] = {}
    try:
        while waiting:
            nearest = min(running.deadline for running, _ in waiting.values())
            ready, _ = ray.wait(
                list(waiting), num_returns=1, timeout=max(0.0, nearest - time.monotonic()), fetch_local=False
            )
            for reference in ready or _late(waiting):
                running, part = waiting.pop(reference)
                late = not ready
                running.outputs[part], seconds = _fetch(reference, running, part, late=late)
                running.seconds = max(running.seconds, seconds)
                if late:
                    ray.cancel(reference, force=True)
                if len(running.outputs) == len(running.parts):
                    done[running.gate.name] = judged = _joined(running)
                    if on_done is not None:
                        on_done(judged)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
    return done


def _late(waiting: dict[Any, tuple[_Running, str]]) -> list[Any]:
    now = time.monotonic()
    return [reference for reference, (running, _) in waiting.items() if running.deadline <= now]


def _fetch(reference: Any, running: _Running, part: str, *, late: bool) -> tuple[GateOutput, float]:
    if late:
        return _error(running.gate.name, part, f"not done after {running.limit:g} s"), running.limit
    try:
        found: tuple[GateOutput, float] = ray.get(reference)
    except Exception as error:  # noqa: BLE001 (whatever a gate died of is its verdict, not the end of the others)
        name = running.gate.name
        if isinstance(error, (WorkerCrashedError, OutOfMemoryError)):
            return _error(name, part, told_of_process(name, running.tries, scored="test" in running.gate.needs)), 0.0
        # Ray wraps what the task raised; its own text carries a remote traceback of many lines.
        return _error(name, part, told(getattr(error, "cause", None) or error)), 0.0
    return found


def _error(gate: str, part: str, reason: str) -> GateOutput:
    return GateOutput((Verdict(gate, Status.ERROR, Measurement(part or gate, None, 0), reason=reason),))


def _joined(running: _Running) -> JudgedGate:
    outputs = [running.outputs[part] for part in running.parts]
    data = ReportData()
    for output in outputs:
        data = data.merged(output.data)
    name = running.gate.name
    verdicts = tuple(verdict for output in outputs for verdict in output.verdicts)
    if not verdicts:
        nothing = Measurement("checks", None, 0)
        verdicts = (Verdict(name, Status.INCONCLUSIVE, nothing, reason="the gate has checked nothing"),)
    facts = tuple(fact for output in outputs for fact in output.facts)
    return JudgedGate(GateResult(name, verdicts, running.seconds), data, facts)


def _call(
    function: Callable[[GateContext], Any],
    context: GateContext,
    test: pa.Table | None,
    scores: Array | None,
    scorer: Scorer | None,
    train: pa.Table | None,
    champion: tuple[Champion | None, str, str] | None,
    replica: Replica | None,
) -> tuple[GateOutput, float]:
    """One part of a gate, and the seconds that it took; whatever its function raises is an ERROR that says where."""
    began = time.monotonic()
    if test is not None and scores is not None:
        context = replace(context, test=test, labels=labels_of(test, context), scores=scores, scorer=scorer)
    found, unfit, error = champion or (None, "", "")
    context = replace(context, train=train, champion=found, champion_unfit=unfit, champion_error=error, replica=replica)
    try:
        given = function(context)
        output = given if isinstance(given, GateOutput) else GateOutput(tuple(given))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (it may be a user's own)
        output = _error(context.gate, context.part, told_with_place(error, function))
    _check_given(output, context.gate)
    return output, time.monotonic() - began


def _check_given(output: GateOutput, gate: str) -> None:
    """Refuse what is no verdict of this gate; a gate of the user may give anything.

    Raises:
        TypeError: something else than a verdict.
        ValueError: a verdict in the name of another gate.
    """
    for verdict in output.verdicts:
        if not isinstance(verdict, Verdict):
            raise TypeError(f"the gate gave {str(verdict)[:80]!r}, which is no Verdict")
        if verdict.check != gate:
            raise ValueError(f"the gate gave a verdict of {verdict.check!r}; `check` has to be context.gate, {gate!r}")


def _score(scorer: Scorer, rows: pa.Table, features: Sequence[str], classes: int) -> Array:
    scores = np.asarray(scorer.score(rows.select(list(features))), dtype=np.float64)
    if scores.shape != ((rows.num_rows, classes) if classes else (rows.num_rows,)):
        of = f" and {classes} classes" if classes else ""
        raise DataError(f"the model gave scores of shape {scores.shape} for {rows.num_rows} rows{of}")
    return scores


def _score_champion(model: ChampionModel, rows: pa.Table, classes: int) -> tuple[Champion | None, str, str]:
    """The champion on these rows, or why there is none: the gates that only look at it in passing go on."""
    if model.unfit:
        return None, f"the champion, version {model.version}, {model.unfit}", ""
    try:
        scores = _score(model.scorer, rows, rows.column_names, classes)
    except Exception as error:  # noqa: BLE001 (the gate champion makes an ERROR of it)
        return None, "", f"the champion, version {model.version}, cannot score these rows: {error}"
    return Champion(model.version, scores, model.threshold, model.scorer, model.note), "", ""


def labels_of(rows: pa.Table, context: GateContext) -> Array:
    """The target of rows, as gates take it.

    Raises:
        DataError: a row has no target, or one that is none of the classes.
    """
    target = context.target
    column = rows[target]
    if context.task == "multiclass":
        return np.asarray(class_places(column, context.classes, target=target), dtype=np.float64)
    if column.null_count:
        raise DataError(
            f"{column.null_count} test rows have no {target!r}", hint="leave rows without an outcome out of the table"
        )
    typed = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    values: Array = typed.cast(pa.float64()).to_numpy()
    return values
