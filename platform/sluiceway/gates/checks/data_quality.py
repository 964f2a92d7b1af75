"""Are the training rows what they are taken for?

Judged on the training rows (a million of them at most, drawn by hash):
  features that are not in the rows        none may lack.
  share of missing values                  of the worst feature: at most `max_null_share`, but for `allow_null`. One
                                           without any value fails all the same.
  variance                                 of the flattest feature: at least `min_variance`.
  rows of the smallest class               at least `min_class_rows`; the shares within `class_balance` if it is set.
  share of duplicate training rows         at most `max_duplicate_share`; by `data.key` where one is declared (then 0
                                           if nothing else is said), else by features and target (then only shown).
  share of test rows that were trained on  at most `max_overlap`, likewise. Of a sample of the training rows the true
                                           share is larger; the line says so.
  age of the newest row                    at most `max_age_days`, by `data.time`, else by the time at which the table's
                                           version was written. Times more than a day ahead of the clock do not count.
  contract                                 what the table's contract says of this version, unless `contract: ignore`.

Judged against the rows that the champion was trained on, once there is one:
  drift (PSI)                              population stability index of the feature that moved most, less what chance
                                           adds to it (bins - 1 times 1/n + 1/m): at most `max_drift`.
  fall of a feature's own AUC              where it is more than chance takes (three standard errors): at most
                                           `max_association_loss`. A shuffled or swapped column keeps its distribution
                                           and loses this.
  turned from numbers to text or back      no feature may.
Where nothing is kept of those rows, drift and fall are INCONCLUSIVE. Of an imported champion nobody knows its rows:
they are not judged.

Judged against recent requests in production only where `max_production_drift` is set, else shown: drift (PSI).

A line names every feature that breaks the rule. What is asked for and cannot be known is INCONCLUSIVE and blocks.

When it fails: look at the ingest of the named columns first (units, joins, defaults), at `sluiceway data diff` between
the versions, and at the split if test rows were trained on. A feature that is missing by nature goes to `allow_null`; a
drift that is real and wanted is waived for one release, after which the new version is the one to compare with; so is
a champion of which nothing is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from sluiceway.config.gates import DataQualitySection
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.checks.performance import reported
from sluiceway.gates.column_facts import ColumnFacts, LabelFacts, column_facts, counts_over, label_facts
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.drift import Pair, drift, drift_scores
from sluiceway.gates.row_facts import SAMPLE, SECONDS_OF_A_DAY, Copies, Newest, copies, newest

NAME = "data_quality"
DRAWN = 30  # features whose drift the report shows
CERTAIN = 3.0  # standard errors: one feature in 700 falls as far by chance
FORGOTTEN = "nothing is kept of the rows that the champion was trained on"
REQUESTS = 200  # fewer in production say nothing of their distribution


def run(context: GateContext) -> GateOutput:
    """Judge the training rows, by themselves and against what the champion was trained on."""
    section, train, test = context.section, context.train_rows, context.test_rows
    assert isinstance(section, DataQualitySection)
    features, target, classes = context.features, context.target, context.classes
    facts = column_facts(train, features, target, reference=context.reference, classes=classes)
    labels = label_facts(train, target, classifier=context.task != "regression", classes=classes)
    known = {f.name: f for f in context.production}
    pairs = [
        (f, known[f.name], counts_over(train, known[f.name], single=True) if f.kind == "numeric" else ())
        for f in facts
        if f.name in known and known[f.name].kind == f.kind
    ]
    found = copies(train, test, key=context.key, content=(*features, target))
    latest = newest((train, test), context.time, now=context.now) if context.time else None
    verdicts = (
        *judge_columns(facts, labels, section=section, features=features, reference=context.reference),
        judge_production(pairs, section, features if context.production else ()),
        *judge_copies(found, section),
        *judge_age(latest, context.version_time, now=context.now, section=section, rows=train.num_rows + test.num_rows),
        *judge_contract(context.contract, section, train.num_rows),
    )
    scores = drift_scores(_champion_pairs(facts, context.reference), "champion", section.max_drift)
    scores += drift_scores(pairs, "production", section.max_production_drift)
    largest = sorted(scores, key=lambda s: (-s.value, s.feature))[:DRAWN]
    return GateOutput(verdicts, ReportData(drift=tuple(largest)), facts)


def judge_columns(
    facts: Sequence[ColumnFacts],
    labels: LabelFacts,
    *,
    section: DataQualitySection,
    features: Sequence[str],
    reference: Sequence[ColumnFacts] | None = None,
) -> tuple[Verdict, ...]:
    """One verdict a rule, with the value of the worst column and the names of all that break it.

    Args:
        facts: of the training rows, computed with ``reference`` where there is one.
        labels: of their target.
        section: limits.
        features: columns that have to be there.
        reference: facts of the champion's training version. None: drift and association are not judged; none in it:
            they cannot be known.
    """
    n = labels.n
    present = {f.name for f in facts}
    absent = [name for name in features if name not in present]
    verdicts = [] if not absent else [_none_of("features that are not in the rows", absent, n)]
    if facts:
        verdicts += [_nulls(facts, section), _variance(facts, section)]
    verdicts += _classes(labels, section)
    if reference:
        known = {f.name: f for f in reference}
        changed = [f.name for f in facts if f.name in known and f.kind != known[f.name].kind]
        verdicts += [_none_of("features that turned from numbers to text or back", changed, n)] if changed else []
        both = _champion_pairs(facts, reference)
        verdicts += [_drift(both, section, n), _association(both, section, n)] if both else []
    if reference is not None and not reference:
        unknown = (_drift((), section, n), _association((), section, n))
        verdicts += [dataclasses.replace(verdict, reason=FORGOTTEN) for verdict in unknown]
    return tuple(verdicts)


def judge_production(pairs: Sequence[Pair], section: DataQualitySection, recorded: Sequence[str]) -> Verdict:
    """Drift against recent requests.

    Args:
        pairs: facts of the training rows, of the requests, and rows in the bins of the latter.
        section: limits.
        recorded: features that the requests were sent with; none where no requests are recorded.
    """
    name, limit = "drift (PSI) against recent requests", section.max_production_drift
    if not pairs:
        threshold = None if limit is None else Threshold(limit, Direction.AT_MOST, REQUESTS)
        status = Status.PASS if limit is None else Status.INCONCLUSIVE
        why = "no feature of theirs can be compared" if recorded else "none are recorded"
        reason = why if limit is not None else f"{why}, and no limit is set"
        return Verdict(NAME, status, Measurement(name, None, 0), threshold, reason)
    judged = [(f.name, drift(f, r, compared)) for f, r, compared in pairs]
    requests = min(r.n for _, r, _ in pairs)
    compared = {f.name for f, _, _ in pairs}
    left = ", ".join(feature for feature in recorded if feature not in compared)
    note = f"not in the log as they were: {left}" if left else ""
    if limit is not None:
        return _worst(name, judged, limit, Direction.AT_MOST, requests, note, n_needed=REQUESTS)
    column, value = max(judged, key=lambda pair: -math.inf if math.isnan(pair[1]) else pair[1])
    detail = "; ".join(filter(None, (f"worst: {column}", note)))
    return reported(NAME, Measurement(name, None if math.isnan(value) else value, requests, detail=detail))


def judge_copies(found: Copies, section: DataQualitySection) -> tuple[Verdict, Verdict]:
    """Duplicates among the training rows, and test rows that are among them."""
    sample = f"the training rows are a sample of {SAMPLE:,}" if found.sampled else ""
    strict = 0.0 if found.keyed else None

    def judged(name: str, rows: int, n: int, asked: float | None, detail: str) -> Verdict:
        measurement = Measurement(name, rows / n if n else None, n, detail=f"{rows:,} rows by {found.by}{detail}")
        limit = strict if asked is None else asked
        return reported(NAME, measurement) if limit is None else judge(NAME, measurement, _at_most(limit))

    # Rows of one key are in a sample together, but copies by content may have been drawn apart.
    apart = f"; {sample}, more of them may be copies" if sample and not found.keyed else ""
    missed = f"; {sample}, the true share is larger" if sample else ""
    repeated = judged(
        "share of duplicate training rows", found.repeated, found.train, section.max_duplicate_share, apart
    )
    n = found.test if found.train else 0  # without training rows nothing is known of the test rows
    shared = judged("share of test rows that were trained on", found.shared, n, section.max_overlap, missed)
    return repeated, shared


def judge_age(
    found: Newest | None, version_time: float | None, *, now: float, section: DataQualitySection, rows: int
) -> tuple[Verdict, ...]:
    """The age of the newest row; nothing where it is neither known nor asked for.

    Args:
        found: by the rows' own time, or None where they have none.
        version_time: UTC epoch seconds at which the version was written, taken where the rows have no time.
        now: UTC epoch seconds.
        section: limits.
        rows: that were looked at.
    """
    epoch, n, detail = (version_time, rows, "by the time at which the version was written")
    if found is not None:
        epoch, n, detail = found.epoch, found.rows, ""
        detail = f"{found.later:,} rows are later than now and do not count" if found.later else ""
    limit = section.max_age_days
    name = "age of the newest row"
    if epoch is None:
        if limit is None:
            return ()
        why = "no row has a time that has passed" if found else "neither the rows nor the version have a time"
        measurement = Measurement(name, None, n, unit=" days", detail=detail if found else "")
        return (Verdict(NAME, Status.INCONCLUSIVE, measurement, _at_most(limit), why),)
    days = max(0.0, now - epoch) / SECONDS_OF_A_DAY
    measurement = Measurement(name, days, n, unit=" days", detail=detail)
    return (reported(NAME, measurement) if limit is None else judge(NAME, measurement, _at_most(limit)),)


def judge_contract(verdicts: Sequence[Verdict], section: DataQualitySection, rows: int) -> tuple[Verdict, ...]:
    """What the contract of the table said, in this gate's name; one line where there is none or it is ignored."""
    if not verdicts or section.contract == "ignore":
        reason = f"{len(verdicts)} rules are ignored" if verdicts else "none is declared"
        status = Status.PASS if rows else Status.INCONCLUSIVE
        return (Verdict(NAME, status, Measurement("contract of the table", None, rows), reason=reason),)
    return tuple(
        dataclasses.replace(
            v,
            check=NAME,
            measurement=dataclasses.replace(v.measurement, name=f"contract {v.check}: {v.measurement.name}"),
        )
        for v in verdicts
    )


def _champion_pairs(facts: Sequence[ColumnFacts], reference: Sequence[ColumnFacts] | None) -> list[Pair]:
    known = {f.name: f for f in reference or ()}
    return [(f, known[f.name], f.compared) for f in facts if f.name in known and f.kind == known[f.name].kind]


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
        return [judge(NAME, Measurement("variance of the target", labels.variance, labels.n), limit)]
    smallest = min(labels.classes, key=lambda c: c[1])
    rows = smallest[1] if len(labels.classes) > 1 else 0
    detail = f"class {smallest[0]}" if len(labels.classes) > 1 else f"only class {smallest[0]}"
    measurement = Measurement("rows of the smallest class", rows, labels.n, detail=detail)
    verdicts = [judge(NAME, measurement, Threshold(section.min_class_rows, Direction.AT_LEAST))]
    if section.class_balance is not None:
        low, high = section.class_balance
        rarest, commonest = _balance(labels)
        verdicts.append(judge(NAME, rarest, Threshold(low, Direction.AT_LEAST)))
        verdicts.append(judge(NAME, commonest, _at_most(high)))
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


def _drift(both: Sequence[Pair], section: DataQualitySection, n: int) -> Verdict:
    judged = [(f.name, drift(f, r, compared)) for f, r, compared in both]
    return _worst("drift (PSI) against the champion's version", judged, section.max_drift, Direction.AT_MOST, n)


def _association(both: Sequence[Pair], section: DataQualitySection, n: int) -> Verdict:
    # A column without an association has none to lose.
    judged = [(f.name, _fall(f, r)) for f, r, _ in both if not math.isnan(r.own_auc)]
    name = "fall of a feature's own AUC against the champion's version"
    return _worst(name, judged, section.max_association_loss, Direction.AT_MOST, n)


def _fall(facts: ColumnFacts, reference: ColumnFacts) -> float:
    """Of a feature's own AUC: 0 as long as chance could have done it, NaN where the feature has no AUC any more."""
    if math.isnan(facts.own_auc):
        return math.nan
    # Below 0.5 a feature knows nothing, which is no less than nothing.
    fall = max(reference.own_auc, 0.5) - max(facts.own_auc, 0.5)
    return fall if fall > CERTAIN * math.hypot(facts.own_error, reference.own_error) else 0.0


def _worst(
    name: str,
    judged: Sequence[tuple[str, float]],
    limit: float,
    direction: Direction,
    n: int,
    note: str = "",
    *,
    n_needed: int = 1,
) -> Verdict:
    threshold = Threshold(limit, direction, n_needed)
    if not judged:
        status = Status.PASS if note else Status.INCONCLUSIVE
        return Verdict(NAME, status, Measurement(name, None, n, detail=note), threshold)
    pick: Callable[..., tuple[str, float]] = max if direction is Direction.AT_MOST else min
    unknown = [pair for pair in judged if math.isnan(pair[1])]
    column, value = unknown[0] if unknown else pick(judged, key=lambda pair: pair[1])
    broken = [k for k, v in judged if math.isnan(v) or (v > limit if direction is Direction.AT_MOST else v < limit)]
    told = f"breaks it: {', '.join(broken)}" if broken else f"worst: {column}"
    detail = "; ".join(filter(None, (told, note)))
    return judge(NAME, Measurement(name, None if math.isnan(value) else value, n, detail=detail), threshold)


def _none_of(name: str, columns: Sequence[str], n: int) -> Verdict:
    return judge(NAME, Measurement(name, len(columns), n, detail=", ".join(columns)), _at_most(0))


def _at_most(limit: float) -> Threshold:
    return Threshold(limit, Direction.AT_MOST)


GATE = Gate(NAME, "are the training rows what they are taken for?", run, frozenset({"test", "train"}))
