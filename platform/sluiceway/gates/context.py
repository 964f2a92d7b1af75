"""What a gate gets, and what it gives: the interface of the gates, those of the package and your own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import GateSection
from sluiceway.core.classes import Class
from sluiceway.core.doors import Replica, Scorer
from sluiceway.core.verdict import GateResult, Verdict
from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.metrics import Task

Array = npt.NDArray[Any]
# What is sent to a gate's tasks only where it asks for it. ``test`` brings the labels, the scores and the model.
Need = Literal["test", "train", "champion", "replica"]


@dataclass(frozen=True)
class Champion:
    """The model that serves now, on the same test rows.

    Attributes:
        version: of the registered model.
        scores: of the test rows, as the candidate's.
        threshold: a score at or above it is a positive decision, or None.
        scorer: the model.
        note: what a reader has to know of the comparison, e.g. that it was trained on some of these rows; or "".
    """

    version: str
    scores: Array
    threshold: float | None
    scorer: Scorer
    note: str = ""


@dataclass(frozen=True)
class GateContext:
    """What a gate may look at, in its task.

    Attributes:
        gate: its name.
        section: its own section of the configuration.
        evaluation: the whole section ``evaluation``.
        features: columns that the model sees.
        kinds: ``numeric`` or ``category`` by feature, as the model has them.
        target: column that it predicts.
        key: columns that identify a row (``data.key``); empty where none is declared.
        time: column of the row's time (``data.time``), or None.
        threshold: a score at or above it is a positive decision; None for regression and for several classes.
        task: kind of the model.
        classes: values of the target in the order of the scores, where there are more than two.
        seed: of samples and disturbances.
        now: UTC epoch seconds of the judging.
        part: which of the gate's tasks this is; "" where it has one only.
        options: of an own gate.
        test: test rows: features, target, protected and other declared columns, ``__key__`` (uint64, hash of the
            row's key). Columns are numbers, booleans, text, dictionary-encoded text, dates or times.
        labels: of the test rows, shape (n,), float64: 0 or 1; places of the classes; real numbers for regression.
        scores: of the test rows, shape (n,), float64: probability of the positive class or the prediction; of several
            classes shape (n, k).
        train: training rows with the same columns, a million at most, drawn by hash.
        scorer: the model.
        champion: the model that serves now, or None.
        champion_unfit: why the champion is no model to compare with (of another kind, of other classes), or "".
        champion_error: why the champion could not score these rows, or "".
        reference: facts of the columns that the champion was trained on; None before there is one and of an imported
            one, empty where they were not kept.
        production: facts of recent requests, over the bins of the training rows; empty where none are recorded.
        contract: verdicts of the table's contract on this version; empty where none is declared.
        version_time: UTC epoch seconds at which the version of the table was written, or None.
        replica: the candidate in a real replica, for the gate ``serving``.
    """

    gate: str
    section: GateSection
    evaluation: EvaluationSection
    features: tuple[str, ...]
    kinds: Mapping[str, str]
    target: str
    threshold: float | None
    task: Task = "binary"
    classes: tuple[Class, ...] = ()
    key: tuple[str, ...] = ()
    time: str | None = None
    seed: int = 0
    now: float = 0.0
    part: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    test: pa.Table | None = None
    labels: Array = field(default_factory=lambda: np.empty(0))
    scores: Array = field(default_factory=lambda: np.empty(0))
    train: pa.Table | None = None
    scorer: Scorer | None = None
    champion: Champion | None = None
    champion_unfit: str = ""
    champion_error: str = ""
    reference: tuple[ColumnFacts, ...] | None = None
    production: tuple[ColumnFacts, ...] = ()
    contract: tuple[Verdict, ...] = ()
    version_time: float | None = None
    replica: Replica | None = None

    @property
    def test_rows(self) -> pa.Table:
        """The test rows; for gates that asked for them."""
        return _there(self.test, "test")

    @property
    def train_rows(self) -> pa.Table:
        """The training rows; for gates that asked for them."""
        return _there(self.train, "train")

    @property
    def main_metric(self) -> str:
        """The metric that losses are told in: ``auc_roc``, or ``rmse`` of a regression."""
        return "rmse" if self.task == "regression" else "auc_roc"


@dataclass(frozen=True)
class GateOutput:
    """What a gate's task gives back.

    Attributes:
        verdicts: what it checked; none at all is INCONCLUSIVE.
        data: what the report draws of it.
        facts: facts of the training rows, from the gate ``data_quality``.
    """

    verdicts: tuple[Verdict, ...]
    data: ReportData = field(default_factory=ReportData)
    facts: tuple[ColumnFacts, ...] = ()


GateFunction = Callable[[GateContext], GateOutput | Iterable[Verdict]]


def one_part(_: GateContext) -> Sequence[str]:
    """The parts of a gate that is one task."""
    return ("",)


@dataclass(frozen=True)
class Gate:
    """A gate: a pure function of what it asks for.

    Attributes:
        name: as in the configuration.
        title: one line for people, what question it answers.
        function: gives the verdicts of one part.
        needs: what is sent to its tasks.
        parts: names of its tasks, from a context without rows; they run side by side.
        source: digest of code that is not this package's, for an own gate.
    """

    name: str
    title: str
    function: GateFunction
    needs: frozenset[Need] = frozenset({"test"})
    parts: Callable[[GateContext], Sequence[str]] = one_part
    source: str = ""


@dataclass(frozen=True)
class JudgedGate:
    """All parts of one gate.

    Attributes:
        result: the verdicts.
        data: what the report draws.
        facts: of the training rows, from ``data_quality``.
    """

    result: GateResult
    data: ReportData = field(default_factory=ReportData)
    facts: tuple[ColumnFacts, ...] = ()


def _there(rows: pa.Table | None, need: Need) -> pa.Table:
    if rows is None:
        raise LookupError(f"the gate did not ask for {need!r}; its `needs` say what it gets")
    return rows
