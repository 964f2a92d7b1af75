"""Is any part of the rows served far worse than the whole?

The main metric (AUC; accuracy of several classes; RMSE of a regression) of a part of the test rows is held against that
of all of them. The loss is the difference, of a regression the share by which the RMSE is larger; limit max_loss.

Declared slices (`declared`: a name, and `where` with a value or `[from, below]` for each column), one verdict each:
within the limit it is a PASS; beyond it, FAIL says that it is no chance, by a 95 % interval that knows what the slice
and the whole have in common, with Holm's correction for the number of slices; otherwise INCONCLUSIVE. A slice of fewer
than min_rows rows, or of too few rows of a class, is INCONCLUSIVE: somebody asked for it. A column that is not there
FAILs.

Discovered slices (`discover`, on unless turned off), one verdict for all: the test rows are drawn into two halves by
their key. On one half a small tree looks for combinations of features where the model is wrong more often than its own
scores say. Its worst parts, five at most, are then measured on the other half, which had no say in the choice. Only
those FAIL that are confirmed there: worse than all rows, and worse than their scores promise, both beyond max_loss with
an error of 5 % for all of them together. The others are listed as not confirmed. With too few rows to look for any it
is INCONCLUSIVE, as a warning only.

What it does not see: a part that is hard, and whose scores say so (all near the average), is not the model's mistake.
Declare it if you care about it. The AUC of a narrow slice is low by nature, because its rows are alike.

When it fails: the line has the slice in words, such as `dep_hour >= 19 and carrier in B6, UA`. Look at these rows:
labels that come late, a feature that is missing or means something else there, too few of them in training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.config.gates import SliceSection, SlicesSection
from sluiceway.core.verdict import Direction, Measurement, Severity, Status, Threshold, Verdict, judge, tells_apart
from sluiceway.gates.bad_slices import FoundSlice, find_slices, rows_needed
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.drawn import ReportData, SliceScore
from sluiceway.gates.enough_rows import FEWEST_OF_A_CLASS
from sluiceway.gates.groups import encoded_column
from sluiceway.gates.metrics import Task
from sluiceway.gates.slice_metrics import METRIC, PartMetric, WholeRows
from sluiceway.gates.statistics.differences import holm_levels

Array = npt.NDArray[Any]
NAME = "slices"
ALPHA = 0.05  # of all declared slices together, two-sided


def run(context: GateContext) -> GateOutput:
    """The gate."""
    section = context.section
    assert isinstance(section, SlicesSection)
    scored = WholeRows(context.labels, context.scores, context.task)
    kinds = {name: context.kinds.get(name, "numeric") for name in context.features}
    return slices(context.test_rows, scored, kinds=kinds, section=section, seed=context.seed)


def slices(
    rows: pa.Table, scored: WholeRows, *, kinds: Mapping[str, str], section: SlicesSection, seed: int = 0
) -> GateOutput:
    """Judge the declared slices, and look for others.

    Args:
        rows: test rows with the features and the columns of the declared slices; ``__key__`` draws the halves.
        scored: their labels and scores.
        kinds: ``numeric`` or ``category`` by feature.
        section: slices and limits.
        seed: of the halves.
    """
    n = rows.num_rows
    wrong = int(np.isnan(scored.scores).reshape(n, -1).any(axis=1).sum()) if n else 0
    if n == 0 or wrong:
        return GateOutput(
            (judge(NAME, Measurement("rows without a score", wrong, n), Threshold(0, Direction.AT_MOST)),)
        )
    if not section.declared and not section.discover:
        reason = "no slice is declared, and none is looked for"
        return GateOutput((Verdict(NAME, Status.PASS, Measurement("slices", 0, n), reason=reason),))
    verdicts, drawn = declared_slices(rows, scored, section)
    if section.discover:
        verdict, found = discovered_slices(rows, scored, kinds, section, seed)
        verdicts, drawn = (*verdicts, verdict), (*drawn, *found)
    return GateOutput(verdicts, ReportData(slices=drawn))


def declared_slices(
    rows: pa.Table, scored: WholeRows, section: SlicesSection
) -> tuple[tuple[Verdict, ...], tuple[SliceScore, ...]]:
    """One verdict for each declared slice, in their order."""
    found: list[PartMetric | str] = []
    for chosen in section.declared:
        inside = rows_inside(rows, chosen)
        found.append(inside if isinstance(inside, str) else scored.part(inside))
    metrics = [metric for metric in found if isinstance(metric, PartMetric) and not _lacking(metric, section)]

    def lower_bounds(alpha: float) -> Array:
        return np.array([scored.loss(metric, alpha)[1] for metric in metrics])

    levels = iter(holm_levels(lower_bounds, section.max_loss, ALPHA))
    verdicts, drawn = [], []
    for chosen, metric in zip(section.declared, found, strict=True):
        name = f"{chosen.name} {METRIC[scored.task]} loss"
        if isinstance(metric, str):
            measurement, limit = Measurement(name, None, rows.num_rows), Threshold(section.max_loss, Direction.AT_MOST)
            verdicts.append(Verdict(NAME, Status.FAIL, measurement, limit, metric))
            continue
        lacking = _lacking(metric, section)
        loss = scored.loss(metric, ALPHA if lacking else float(next(levels)))
        verdicts.append(_judged(name, metric, scored, loss, section, lacking))
        drawn.append(_drawn(chosen.name, "declared", metric, scored.whole.value, loss, judged=not lacking))
    return tuple(verdicts), tuple(drawn)


def discovered_slices(
    rows: pa.Table, scored: WholeRows, kinds: Mapping[str, str], section: SlicesSection, seed: int
) -> tuple[Verdict, tuple[SliceScore, ...]]:
    """One verdict for all slices that are found: none of them may be confirmed."""
    n, needed = rows.num_rows, rows_needed(section.min_rows)
    name, limit = "discovered slices confirmed", Threshold(0, Direction.AT_MOST)
    if n < needed:
        few = Verdict(NAME, Status.INCONCLUSIVE, Measurement(name, None, n), limit, "too few rows to look for any")
        # Nobody has asked for a slice by name: small data are no reason to hold a model up.
        enough = None if math.isnan(scored.whole.value) else needed
        return dataclasses.replace(few, enough=enough, severity=Severity.WARN), ()
    if math.isnan(scored.whole.value):
        return judge(NAME, Measurement(name, None, n), limit), ()
    found, confirmed_on = find_slices(
        rows, scored, kinds, min_rows=section.min_rows, max_loss=section.max_loss, seed=seed
    )
    bad = [each for each in found if each.confirmed]
    told = "; ".join([_told(each, scored.task) for each in bad] or [_named(each) for each in found])
    heading = f", {'confirmed' if bad else 'not confirmed'}: " if told else ""
    detail = f"{len(found)} found on one half{heading}{told}"
    if not confirmed_on:
        nothing = Measurement(name, None, 0, detail="the rows' keys have so few values that one half has too few rows")
        return Verdict(NAME, Status.INCONCLUSIVE, nothing, limit, "no rows to confirm slices on"), ()
    verdict = judge(NAME, Measurement(name, len(bad), confirmed_on, detail=detail), limit)
    if verdict.status is Status.PASS:
        verdict = dataclasses.replace(verdict, reason="no slice was confirmed")
    return verdict, tuple(_drawn_found(each) for each in found)


def rows_inside(rows: pa.Table, chosen: SliceSection) -> Array | str:
    """Which rows belong to a declared slice, shape (n,), bool; or why nobody can tell."""
    inside = np.ones(rows.num_rows, dtype=np.bool_)
    for column, wanted in chosen.where.items():
        if column not in rows.column_names:
            return f"{column!r} is not a column of the test rows"
        values = rows[column]
        try:
            if isinstance(wanted, tuple):
                inside &= _between(values, *wanted)
            else:
                inside &= _equal(values, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            return f"{column!r} is of type {values.type} and cannot be held against {wanted!r}"
    return inside


def _equal(values: pa.ChunkedArray, wanted: str | bool | float) -> Array:
    if pa.types.is_dictionary(values.type):
        encoded = encoded_column(values)
        same = pc.equal(encoded.dictionary, pa.scalar(wanted).cast(encoded.dictionary.type))
        return _true(same.take(encoded.indices))
    if isinstance(wanted, bool) is not pa.types.is_boolean(values.type):
        # A number is neither true nor false, though a cast would make it so.
        raise pa.ArrowInvalid("a boolean is only held against booleans")
    return _true(pc.equal(values, pa.scalar(wanted).cast(values.type)))


def _between(values: pa.ChunkedArray, start: float | None, below: float | None) -> Array:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)):
        raise pa.ArrowInvalid("a range is one of numbers")
    numbers = values.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray((numbers >= (-math.inf if start is None else start)) & ~(numbers >= _end(below)))


def _end(below: float | None) -> float:
    return math.nan if below is None else below


def _true(mask: pa.ChunkedArray | pa.Array) -> Array:
    return np.asarray(pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _lacking(metric: PartMetric, section: SlicesSection) -> str:
    """Why a slice is not judged, or ""."""
    if metric.n < section.min_rows:
        return "too few rows"
    if metric.few_of_a_class:
        return f"only {metric.rarer} rows of one class"
    return ""


def _judged(
    name: str,
    metric: PartMetric,
    scored: WholeRows,
    loss: tuple[float, float, float],
    section: SlicesSection,
    lacking: str,
) -> Verdict:
    what = METRIC[scored.task]
    detail = f"{what} {metric.value:.3f} against {scored.whole.value:.3f} of all rows"
    if math.isnan(metric.value):
        detail = f"{what} cannot be taken"
    known = not any(math.isnan(bound) for bound in loss)
    value, low, high = loss if known else (None, None, None)
    measurement = Measurement(name, value, metric.n, low, high, detail=detail)
    limit = Threshold(section.max_loss, Direction.AT_MOST)
    if not lacking:
        return tells_apart(NAME, measurement, limit)
    # Where a slice has no row, or none of a class, nobody knows how many rows would bring some.
    enough = section.min_rows if metric.rarer else None
    if metric.n >= section.min_rows and metric.rarer:
        enough = math.ceil(metric.n * FEWEST_OF_A_CLASS / metric.rarer)
    return Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, lacking, enough=enough)


def _told(found: FoundSlice, task: Task) -> str:
    value, whole, promised, (loss, low, _) = found.metric.value, found.whole, found.promised, found.loss
    metric = f"{METRIC[task]} {value:.3f}, of all rows {whole:.3f}, promised {promised:.3f}"
    return f"{found.name} ({found.metric.n:,} rows): {metric}, loss {loss:.3f} and at least {low:.3f}"


def _named(found: FoundSlice) -> str:
    return f"{found.name} (" + (f"loss {found.loss[0]:.3f})" if found.judged else f"{found.metric.n:,} rows, too few)")


def _drawn_found(found: FoundSlice) -> SliceScore:
    score = _drawn(found.name, "discovered", found.metric, found.whole, found.loss, judged=found.judged)
    return dataclasses.replace(score, confirmed=found.confirmed)


def _drawn(
    name: str, found: str, metric: PartMetric, whole: float, loss: tuple[float, float, float], *, judged: bool
) -> SliceScore:
    value, low, high = metric.interval(0.05)
    return SliceScore(name, found, metric.n, value, low, high, whole, judged, loss[0], loss[1])


GATE = Gate(NAME, "is any part of the rows served far worse than the whole?", run)
