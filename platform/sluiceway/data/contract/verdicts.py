"""From what was found to verdicts, one a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, combine, judge
from sluiceway.data.contract.checks import Counts, Found, Newest
from sluiceway.data.contract.limits import Limits, Unit
from sluiceway.data.contract.rules import FreshnessRule, KeyRule, RowRule, Rules, VolumeRule
from sluiceway.data.contract.schema import column_problem, other_columns

NOT_ASKED = "the column is missing, or has a type that the rule makes no sense for"


@dataclass(frozen=True)
class RuleVerdict:
    """What one rule says.

    Attributes:
        verdict: with the measurement and the limit that decided.
        limit: the whole limit for a person, e.g. ``between 10 and 20 rows``.
        examples: values that broke it, at most three.
    """

    verdict: Verdict
    limit: str
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**self.verdict.to_dict(), "limit": self.limit, "examples": list(self.examples)}


@dataclass(frozen=True)
class Evidence:
    """All that is known about a version.

    Attributes:
        schema: its columns.
        rows: how many, by the log.
        counts: of its rows, or the reason why there are none.
        keys: for each rule about keys what was found, None where it cannot be asked, or the reason of a failure.
        committed: when the version was made; None where the log does not say.
        now: the present time.
    """

    schema: pa.Schema
    rows: int
    counts: Counts | str
    keys: Sequence[Found | str | None]
    committed: datetime | None
    now: datetime


def verdicts(rules: Rules, evidence: Evidence) -> tuple[RuleVerdict, ...]:
    """One verdict a rule: columns, rows, keys, volume, freshness. No data is never a PASS.

    Args:
        rules: of the contract.
        evidence: what is known.
    """
    return (
        *_columns(rules, evidence),
        *_row_rules(rules.rows, evidence),
        *(_key(rule, found) for rule, found in zip(rules.keys, evidence.keys, strict=True)),
        *(_volume(rule, evidence.rows) for rule in rules.volume),
        *_freshness(rules.freshness, evidence),
    )


def status_of(found: Sequence[RuleVerdict]) -> Status:
    """The status of all together."""
    return combine(one.verdict for one in found)


def _columns(rules: Rules, evidence: Evidence) -> Iterator[RuleVerdict]:
    for rule in rules.columns:
        problem = column_problem(evidence.schema, rule, api_version=rules.api_version)
        kind = rule.physical or rule.logical
        yield _seen(f"{rule.column} {'type' if kind else 'exists'}", problem, evidence.rows, limit=kind or "a column")
    if rules.strict:
        others = other_columns(evidence.schema, rules)
        problem = f"not in the contract: {', '.join(others)}" if others else None
        found = _seen("no other columns", problem, evidence.rows, limit="0 columns", value=len(others))
        yield RuleVerdict(found.verdict, found.limit, tuple(others[:3]))


def _seen(name: str, problem: str | None, rows: int, *, limit: str, value: int = 1) -> RuleVerdict:
    """What is wrong with a schema is wrong without a row; what is right is worth nothing without one."""
    measurement = Measurement("columns that do not fit", value if problem else 0, rows, detail=problem or "")
    threshold = Threshold(0, Direction.AT_MOST, n_needed=0 if problem else 1)
    return RuleVerdict(judge(name, measurement, threshold), limit)


def _row_rules(rules: Sequence[RowRule], evidence: Evidence) -> Iterator[RuleVerdict]:
    for number, rule in enumerate(rules):
        found = evidence.counts if isinstance(evidence.counts, str) else evidence.counts.row_rules[number]
        yield _counted(rule.name, found, rule.limits, rule.unit, said=f"rows {rule.condition.says}")


def _key(rule: KeyRule, found: Found | str | None) -> RuleVerdict:
    judged = _counted(rule.name, found, rule.limits, rule.unit, said="rows that repeat an earlier one")
    return judged if rule.shown else RuleVerdict(judged.verdict, judged.limit)


def _counted(name: str, found: Found | str | None, limits: Limits, unit: Unit, *, said: str) -> RuleVerdict:
    limit = f"{limits.text} {unit}"
    shown_unit = "%" if unit == "percent" else " rows"
    if isinstance(found, str):
        return _failed(name, found, said=said, limit=limit, threshold=limits.threshold(0))
    if found is None:
        nothing = Measurement(said, None, 0, unit=shown_unit, detail=NOT_ASKED)
        return RuleVerdict(judge(name, nothing, limits.threshold(0)), limit)
    value = None if found.n == 0 else found.broken if unit == "rows" else 100 * found.broken / found.n
    measurement = Measurement(said, value, found.n, unit=shown_unit)
    return RuleVerdict(judge(name, measurement, limits.threshold(value or 0)), limit, found.examples)


def _volume(rule: VolumeRule, rows: int) -> RuleVerdict:
    threshold = rule.limits.threshold(rows)
    outside = all(not low <= rows <= high for low, high in rule.limits.ranges)
    threshold = rule.limits.threshold(rows, n_needed=0) if outside else threshold
    measurement = Measurement("rows", rows, rows, unit=" rows")
    return RuleVerdict(judge(rule.name, measurement, threshold), f"{rule.limits.text} rows")


def _freshness(rules: Sequence[FreshnessRule], evidence: Evidence) -> Iterator[RuleVerdict]:
    for number, rule in enumerate(rules):
        limit = f"<= {rule.value:g} {rule.unit}"
        threshold = Threshold(rule.value, Direction.AT_MOST)
        found: Newest | str | None = _commit(evidence)
        if rule.column is not None:
            found = evidence.counts if isinstance(evidence.counts, str) else evidence.counts.freshness[number]
        if isinstance(found, str):
            yield _failed(rule.name, found, said="age", limit=limit, threshold=threshold)
            continue
        detail = NOT_ASKED if found is None else f"{found.later:,} values in the future" if found.later else ""
        age = None
        if found is not None and found.newest is not None:
            age = (_micros(evidence.now) - found.newest) / 1_000_000 / rule.seconds
        measurement = Measurement("age", age, found.n if found else 0, unit=f" {rule.unit}", detail=detail)
        yield RuleVerdict(judge(rule.name, measurement, threshold), limit)


def _commit(evidence: Evidence) -> Newest:
    """The commit's time as if it were a value of each of its rows; a clock that is ahead makes nothing younger."""
    if evidence.committed is None or evidence.rows == 0:
        return Newest()
    return Newest(evidence.rows, min(_micros(evidence.committed), _micros(evidence.now)))


def _failed(name: str, reason: str, *, said: str, limit: str, threshold: Threshold) -> RuleVerdict:
    return RuleVerdict(Verdict(name, Status.ERROR, Measurement(said, None, 0), threshold, reason), limit)


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
