"""Do the features know the answer, the row or the time?

Single features: each feature alone, its shape learned on training rows (a small tree for numbers, averages for
categories), judged by its AUC on the test rows; of a regression for the upper half of the target, of several classes
for the class that it tells best. Above `max_single_feature` (0.98) with all of the 95 % interval it is a FAIL, named:
such a column was mostly written after the outcome. `max_single_feature: 1` turns it off.

Meaningless labels: every row gets a label by a coin, the same row the same coin wherever it stands. A small model
learns the training rows by heart. On test rows it can only be at chance (AUC 0.5), unless it knows them: more than
`max_shuffled` above chance is a FAIL, test rows are known from training. "By content" takes rows for the same that
have the same features and target. Where these are too coarse to tell rows apart (a table of few categories), rows are
equal by nature, and chance is what the model reaches on training rows that it has not seen. "By key", where data.key
is declared, takes rows of the same key for the same.

Identifiers and dates among the features: the key itself; times and dates; text of which nearly every value is another;
whole numbers that have neighbours and do not repeat, or are spread like hashes; numbers that rise or fall with
data.time. They are a FAIL, named: a model learns them by heart, and their next value has never been seen.

Time, where data.time is declared and the test rows are not all later than the training rows: one small model learns
the earlier 70 % of the training rows, one as many of all times; both are asked about the later test rows. A gain of
more than `max_time_gain` (of the AUC; of a regression of the relative error) is a FAIL: some feature knows its own
time, and the test rows promise more than tomorrow will keep. Split by time (data.split.by: time).

Features in `allow` are exempt from the checks of single features and of identifiers. `rows` bounds what the small
models are trained on.
When it fails: look at where the named column comes from and when it is written. Leave it out, or allow it by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sluiceway.config.gates import LeakageSection
from sluiceway.core.classes import class_places
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, tells_apart
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.identity import row_codes, told_apart
from sluiceway.gates.leaks import Known, Suspects, TimeGain, is_time, known_rows, suspects, ticks_of, time_gain
from sluiceway.gates.single_feature import Alone, alone

Array = npt.NDArray[Any]
NAME = "leakage"
KEY = "__key__"
SINGLE, LABELS, IDENTIFIERS, TIME = PARTS = ("single features", "meaningless labels", "identifiers", "time")


def parts(_: GateContext) -> Sequence[str]:
    """One task a question."""
    return PARTS


def run(context: GateContext) -> GateOutput:
    """One of the four questions."""
    asked = {SINGLE: _single_features, LABELS: _meaningless_labels, IDENTIFIERS: _identifiers, TIME: _time}
    for need, table in (("training", context.train_rows), ("test", context.test_rows)):
        if not table.num_rows:
            nothing = Measurement(context.part, None, 0)
            return GateOutput((Verdict(NAME, Status.INCONCLUSIVE, nothing, reason=f"no {need} rows"),))
    return GateOutput(asked[context.part](context, _section(context)))


def judge_single_features(
    found: Sequence[Alone], section: LeakageSection, *, n: int, names: Sequence[Any] = ()
) -> tuple[Verdict, ...]:
    """A verdict for each feature beyond the limit, or one of the largest AUC.

    Args:
        found: every feature.
        section: the limit, and what is exempt.
        n: test rows.
        names: of the classes, where there are several.
    """
    known = sorted((one for one in found if not math.isnan(one.auc)), key=lambda one: -one.auc)
    if not known:
        nothing = Measurement("AUC of one feature alone", None, n)
        return (Verdict(NAME, Status.INCONCLUSIVE, nothing, reason="the rows have one class only"),)
    limit = Threshold(section.max_single_feature, Direction.AT_MOST)
    beyond = [one for one in known if one.auc > limit.limit and one.feature not in section.allow]
    verdicts = []
    for one in beyond:
        verdict = tells_apart(NAME, _alone(f"AUC of {one.feature} alone", one, n, names), limit)
        reason = verdict.reason or "it tells the target by itself"
        verdicts.append(replace(verdict, reason=reason))
    if not beyond:
        judged = [one for one in known if one.feature not in section.allow] or known
        largest = _alone("AUC of one feature alone", judged[0], n, names)
        exempt = [one.feature for one in known if one.auc > limit.limit]
        told = (judged[0].feature, largest.detail, f"exempt: {', '.join(exempt)}" if exempt else "")
        largest = replace(largest, detail=", ".join(filter(None, told)))
        verdicts.append(Verdict(NAME, Status.PASS, largest, limit))
    return tuple(verdicts)


def judge_known(name: str, known: Known, section: LeakageSection) -> Verdict:
    """Whether test rows are known from training."""
    measurement = known.measurement(name)
    limit = Threshold(section.max_shuffled, Direction.AT_MOST)
    if measurement.value is None:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, "the rows are all alike")
    verdict = tells_apart(NAME, measurement, limit)
    return replace(verdict, reason="test rows are known from training") if verdict.status is Status.FAIL else verdict


def judge_suspects(found: Suspects, section: LeakageSection, *, features: int) -> tuple[Verdict, ...]:
    """Features that identify a row or its time."""
    certain = {name: why for name, why in found.certain.items() if name not in section.allow}
    possible = {name: why for name, why in found.possible.items() if name not in section.allow}
    exempt = [name for name in (*found.certain, *found.possible) if name in section.allow]
    name, limit = "identifiers and dates among the features", Threshold(0, Direction.AT_MOST)
    detail = "; ".join(f"{feature} {why}" for feature, why in certain.items())
    detail = "; ".join(filter(None, (detail, f"exempt: {', '.join(exempt)}" if exempt else "")))
    verdicts = [tells_apart(NAME, Measurement(name, len(certain), features, detail=detail), limit)]
    if possible:
        told = "; ".join(f"{feature} {why}" for feature, why in possible.items())
        measurement = Measurement("possible identifiers among the features", len(possible), found.n, detail=told)
        verdicts.append(Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, "too few rows to tell", enough=1000))
    return tuple(verdicts)


def judge_time_gain(found: TimeGain, section: LeakageSection, *, task: str) -> Verdict:
    """Whether the test rows promise more than later rows will keep."""
    metric = "rmse" if task == "regression" else "AUC"
    name, limit = f"gain of {metric} by having seen the time", Threshold(section.max_time_gain, Direction.AT_MOST)
    if math.isnan(found.gain):
        why = "no later test rows of more than one class" if metric == "AUC" else "no later test rows"
        return Verdict(NAME, Status.INCONCLUSIVE, Measurement(name, None, found.n), limit, why)
    low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
    detail = f"{found.before:.4g} from earlier rows, {found.with_them:.4g} from rows of all times"
    verdict = tells_apart(NAME, Measurement(name, found.gain, found.n, low, high, detail=detail), limit)
    if verdict.status is not Status.FAIL:
        return verdict
    return replace(verdict, reason="a feature knows its own time; split by time to know what tomorrow will keep")


def _single_features(context: GateContext, section: LeakageSection) -> tuple[Verdict, ...]:
    train, test = context.train_rows, context.test_rows
    if section.max_single_feature == 1:
        nothing = Measurement("AUC of one feature alone", None, test.num_rows)
        return (Verdict(NAME, Status.PASS, nothing, reason="turned off by max_single_feature: 1"),)
    train, known = _sample(*_labelled(train, context), section.rows, context)
    asked, k = context.labels, max(2, len(context.classes))
    if context.task == "regression":
        middle = min(
            np.median(known), np.nextafter(known.max(), -np.inf)
        )  # half of the rows may have the largest value
        known, asked = (known > middle).astype(np.float64), (asked > middle).astype(np.float64)
    found = [alone(name, train[name], test[name], known=known, asked=asked, k=k) for name in context.features]
    return judge_single_features(found, section, n=test.num_rows, names=context.classes)


def _meaningless_labels(context: GateContext, section: LeakageSection) -> tuple[Verdict, ...]:
    train, test = context.train_rows, context.test_rows
    options: dict[str, Any] = {"rows": section.rows, "seed": _seed(context)}
    content = [*context.features, context.target]
    codes = row_codes([train, test], content)
    coarse = not told_apart(train.slice(0, section.rows), content, codes[0][: section.rows])
    pairs = [("content", codes, coarse)]
    if context.key and all(KEY in table.column_names for table in (train, test)):
        pairs.append(("key", row_codes([train, test], [KEY]), False))
    verdicts = []
    for by, codes, repeat in pairs:
        known = known_rows(train, test, _kinds(context), (codes[0], codes[1]), repeat=repeat, **options)
        verdicts.append(judge_known(f"AUC above chance of meaningless labels by {by}", known, section))
    return tuple(verdicts)


def _identifiers(context: GateContext, section: LeakageSection) -> tuple[Verdict, ...]:
    rows = context.train_rows
    found = suspects(rows, context.features, key=context.key, time=context.time, rows=section.rows)
    return judge_suspects(found, section, features=len(context.features))


def _time(context: GateContext, section: LeakageSection) -> tuple[Verdict, ...]:
    name, test, column = "gain by having seen the time", context.test_rows, context.time
    nothing = Measurement(name, None, test.num_rows)
    if column is None:
        return (Verdict(NAME, Status.PASS, nothing, reason="no data.time is declared"),)
    train, known = _labelled(context.train_rows, context)
    kinds = {table[column].type for table in (train, test) if column in table.column_names}
    if len(kinds) != 1 or not all(is_time(kind) for kind in kinds):
        why = f"data.time {column!r} is not there, or no timestamp, date or whole number"
        return (Verdict(NAME, Status.FAIL, nothing, reason=why),)
    ticks = [ticks_of(table[column]) for table in (train, test)]
    there = [np.flatnonzero(~np.isnan(each)) for each in ticks]
    earlier, later = (each[places] for each, places in zip(ticks, there, strict=True))
    if not len(earlier) or not len(later):
        return (Verdict(NAME, Status.INCONCLUSIVE, Measurement(name, None, 0), reason="no row has a time"),)
    if earlier.max() < later.min():
        return (Verdict(NAME, Status.PASS, nothing, reason="every test row is later than all training rows"),)
    if earlier.min() == earlier.max():
        return (Verdict(NAME, Status.PASS, nothing, reason="all training rows have the same time"),)
    labels = (known[there[0]], context.labels[there[1]])
    train, test = (_rows(table, places) for table, places in zip((train, test), there, strict=True))
    k = 0 if context.task == "regression" else max(2, len(context.classes))
    options: dict[str, Any] = {"k": k, "rows": section.rows, "seed": _seed(context)}
    found = time_gain(train, test, _kinds(context), labels, (earlier, later), **options)
    return (judge_time_gain(found, section, task=context.task),)


def _rows(table: pa.Table, places: Array) -> pa.Table:
    """Some rows of a table; of all of them no copy."""
    return table if len(places) == table.num_rows else table.take(pa.array(places))


def _alone(name: str, one: Alone, n: int, names: Sequence[Any]) -> Measurement:
    low, high = (None if math.isnan(bound) else bound for bound in (one.low, one.high))
    return Measurement(name, one.auc, n, low, high, detail=f"class {names[one.place]}" if len(names) > 2 else "")


def _labelled(rows: pa.Table, context: GateContext) -> tuple[pa.Table, Array]:
    """Training rows that have a target, and it: places of the classes, or numbers."""
    column = rows[context.target]
    if column.null_count:
        rows = rows.filter(column.is_valid())
        column = rows[context.target]
    if context.task == "multiclass":
        return rows, np.asarray(class_places(column, context.classes, target=context.target), dtype=np.float64)
    return rows, ticks_of(column)


def _sample(rows: pa.Table, labels: Array, limit: int, context: GateContext) -> tuple[pa.Table, Array]:
    if len(labels) <= limit:
        return rows, labels
    places = np.sort(np.random.default_rng(_seed(context)).permutation(len(labels))[:limit])
    return rows.take(pa.array(places)), labels[places]


def _kinds(context: GateContext) -> Mapping[str, str]:
    return {name: context.kinds[name] for name in context.features}


def _section(context: GateContext) -> LeakageSection:
    assert isinstance(context.section, LeakageSection)
    return context.section


def _seed(context: GateContext) -> int:
    return context.seed % 2**63  # a generator takes none below 0


GATE = Gate(NAME, "do the features know the answer, the row or the time?", run, frozenset({"test", "train"}), parts)
