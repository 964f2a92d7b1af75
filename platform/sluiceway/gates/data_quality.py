"""Gate: are the training rows what they are taken for?

It judges facts (:mod:`sluiceway.gates.column_facts`), not rows, so that the rows of the champion's version are not
needed any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sluiceway.config.evaluation import DataQualitySection
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.column_facts import ColumnFacts, LabelFacts
from sluiceway.gates.statistics.distances import psi, psi_categories

GATE = "data_quality"


def data_quality(
    facts: Sequence[ColumnFacts],
    labels: LabelFacts,
    *,
    section: DataQualitySection,
    features: Sequence[str],
    reference: Sequence[ColumnFacts] | None = None,
) -> GateResult:
    """One verdict a rule, with the value of the worst column and the names of all that break it.

    Args:
        facts: of the training rows, computed with ``reference`` where there is one.
        labels: of their target.
        section: limits.
        features: columns that have to be there.
        reference: facts of the champion's training version; without it drift and association are not judged.
    """
    n = labels.n
    present = {f.name for f in facts}
    absent = [name for name in features if name not in present]
    verdicts = [] if not absent else [_absent(absent, n)]
    if facts:
        verdicts += [_nulls(facts, section), _variance(facts, section)]
    verdicts += _classes(labels, section)
    if reference:
        known = {f.name: f for f in reference}
        both = [(f, known[f.name]) for f in facts if f.name in known and f.kind == known[f.name].kind]
        changed = [f.name for f in facts if f.name in known and f.kind != known[f.name].kind]
        verdicts += [_kind_changed(changed, n)] if changed else []
        verdicts += [_drift(both, section), _association(both, section)] if both else []
    return GateResult(GATE, tuple(verdicts))


def drift(facts: ColumnFacts, reference: ColumnFacts) -> float:
    """Population stability index of one column against the reference; NaN where a side has no rows.

    Raises:
        ValueError: the facts were computed without this reference.
    """
    if facts.kind == "category":
        return psi_categories(dict(reference.categories), dict(facts.categories))
    return psi(reference.counts, facts.compared)


def _nulls(facts: Sequence[ColumnFacts], section: DataQualitySection) -> Verdict:
    def share(f: ColumnFacts) -> float:
        return f.nulls / f.n if f.n else math.nan

    exempt = [f.name for f in facts if f.name in section.allow_null and f.nulls < f.n]
    judged = [(f.name, share(f)) for f in facts if f.name not in exempt]
    note = f"exempt: {', '.join(exempt)}" if exempt else ""
    return _worst("share of missing values", judged, section.max_null_share, Direction.AT_MOST, facts[0].n, note)


def _variance(facts: Sequence[ColumnFacts], section: DataQualitySection) -> Verdict:
    judged = [(f.name, 0.0 if f.variance is None else f.variance) for f in facts]
    return _worst("variance", judged, section.min_variance, Direction.AT_LEAST, facts[0].n)


def _classes(labels: LabelFacts, section: DataQualitySection) -> list[Verdict]:
    if not labels.classes:
        limit = Threshold(section.min_variance, Direction.AT_LEAST)
        return [judge(GATE, Measurement("variance of the target", labels.variance, labels.n), limit)]
    smallest = min(labels.classes, key=lambda c: c[1])
    rows = smallest[1] if len(labels.classes) > 1 else 0
    detail = f"class {smallest[0]}" if len(labels.classes) > 1 else f"only class {smallest[0]}"
    measurement = Measurement("rows of the smallest class", rows, labels.n, detail=detail)
    verdicts = [judge(GATE, measurement, Threshold(section.min_class_rows, Direction.AT_LEAST))]
    if section.class_balance is not None:
        low, high = section.class_balance
        rarest, commonest = _balance(labels)
        verdicts.append(judge(GATE, rarest, Threshold(low, Direction.AT_LEAST)))
        verdicts.append(judge(GATE, commonest, Threshold(high, Direction.AT_MOST)))
    return verdicts


def _balance(labels: LabelFacts) -> tuple[Measurement, Measurement]:
    """What has to be at least the lower end of the band, and what at most its upper end."""
    if len(labels.classes) <= 2:
        share = dict(labels.classes).get("1", 0) / labels.n
        balance = Measurement("share of positive rows", share, labels.n)
        return balance, balance
    ordered = sorted(labels.classes, key=lambda c: c[1])
    rarest, commonest = (
        Measurement(f"share of the {told} class", rows / labels.n, labels.n, detail=f"class {name}")
        for told, (name, rows) in (("smallest", ordered[0]), ("largest", ordered[-1]))
    )
    return rarest, commonest


def _drift(both: Sequence[tuple[ColumnFacts, ColumnFacts]], section: DataQualitySection) -> Verdict:
    judged = [(f.name, drift(f, r)) for f, r in both]
    return _worst(
        "drift (PSI) against the champion's version", judged, section.max_drift, Direction.AT_MOST, both[0][0].n
    )


def _association(both: Sequence[tuple[ColumnFacts, ColumnFacts]], section: DataQualitySection) -> Verdict:
    # A column without an association has none to lose.
    judged = [(f.name, max(0.0, r.own_auc - f.own_auc)) for f, r in both if not math.isnan(r.own_auc)]
    name = "fall of a feature's own AUC against the champion's version"
    return _worst(name, judged, section.max_association_loss, Direction.AT_MOST, both[0][0].n)


def _worst(
    name: str, judged: Sequence[tuple[str, float]], limit: float, direction: Direction, n: int, note: str = ""
) -> Verdict:
    threshold = Threshold(limit, direction)
    if not judged:
        return Verdict(
            GATE, Status.PASS if note else Status.INCONCLUSIVE, Measurement(name, None, n, detail=note), threshold
        )
    pick: Callable[..., tuple[str, float]] = max if direction is Direction.AT_MOST else min
    unknown = [pair for pair in judged if math.isnan(pair[1])]
    column, value = unknown[0] if unknown else pick(judged, key=lambda pair: pair[1])
    broken = [k for k, v in judged if math.isnan(v) or (v > limit if direction is Direction.AT_MOST else v < limit)]
    detail = f"breaks it: {', '.join(broken)}" if broken else f"worst: {column}"
    detail = f"{detail}; {note}" if note else detail
    return judge(GATE, Measurement(name, None if math.isnan(value) else value, n, detail=detail), threshold)


def _absent(absent: Sequence[str], n: int) -> Verdict:
    measurement = Measurement("features that are not in the rows", len(absent), n, detail=", ".join(absent))
    return judge(GATE, measurement, Threshold(0, Direction.AT_MOST))


def _kind_changed(changed: Sequence[str], n: int) -> Verdict:
    detail = ", ".join(changed)
    measurement = Measurement("features that turned from numbers to text or back", len(changed), n, detail=detail)
    return judge(GATE, measurement, Threshold(0, Direction.AT_MOST))
