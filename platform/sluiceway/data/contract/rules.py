"""A contract as the rules that follow from it, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluiceway.data.contract.conditions import Bound, Condition, Length, Matches, OneOf, Present
from sluiceway.data.contract.limits import NONE_AT_ALL, Limits, Unit
from sluiceway.data.contract.model import Contract, Property, Quality, SlaProperty

FRESHNESS = ("freshness", "latency")
# Seconds; a lone m would be minutes to some and months to others.
UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400),
    **dict.fromkeys(("y", "yr", "year", "years"), 365 * 86_400),
}


@dataclass(frozen=True)
class ColumnRule:
    """A column is there and has its type.

    Attributes:
        column: its name in the table.
        logical: the standard's name of its type, or None.
        physical: Delta's name of its type, or None.
    """

    column: str
    logical: str | None
    physical: str | None


@dataclass(frozen=True)
class RowRule:
    """So many rows may break a condition.

    Attributes:
        name: of the rule, for people.
        column: whose values.
        condition: what a value has to be.
        limits: good numbers of rows that break it.
        unit: whether that is a number of rows or a percentage of the rows that could break it.
        shown: values that break it may be shown.
    """

    name: str
    column: str
    condition: Condition
    limits: Limits = NONE_AT_ALL
    unit: Unit = "rows"
    shown: bool = True

    @property
    def reason(self) -> str:
        """What is to be said of a row that breaks it."""
        return f"{self.column}: {self.condition.says}"


@dataclass(frozen=True)
class KeyRule:
    """So many rows may repeat the values that an earlier one has in some columns; rows without a value do not count."""

    name: str
    columns: tuple[str, ...]
    limits: Limits = NONE_AT_ALL
    unit: Unit = "rows"
    shown: bool = True


@dataclass(frozen=True)
class VolumeRule:
    """The table has so many rows."""

    name: str
    limits: Limits


@dataclass(frozen=True)
class FreshnessRule:
    """The newest value of a column, or the commit where none is named, is not older than so many seconds.

    Attributes:
        name: of the rule.
        column: a date or a time, or None for the commit.
        value: the limit in the contract's own unit.
        unit: its name there.
    """

    name: str
    column: str | None
    value: float
    unit: str

    @property
    def seconds(self) -> int:
        """Of one unit."""
        return UNITS[self.unit]


@dataclass(frozen=True)
class Rules:
    """All rules of a contract.

    Attributes:
        columns: about the schema.
        rows: about single rows.
        keys: about rows that repeat each other.
        volume: about the number of rows.
        freshness: about age.
        strict: no other columns than those of ``columns`` are allowed.
        api_version: of the standard; the names of types depend on it.
    """

    columns: tuple[ColumnRule, ...]
    rows: tuple[RowRule, ...]
    keys: tuple[KeyRule, ...]
    volume: tuple[VolumeRule, ...]
    freshness: tuple[FreshnessRule, ...]
    strict: bool
    api_version: str

    @property
    def for_single_rows(self) -> tuple[RowRule, ...]:
        """Those that a row alone can break: of a rule that tolerates some, no row is to blame."""
        return tuple(rule for rule in self.rows if rule.limits.tolerates_nothing(rule.unit))


def rules_of(contract: Contract) -> Rules:
    """The rules of a contract that :func:`sluiceway.data.contract.load.read_contract` has accepted."""
    properties = contract.table.properties
    return Rules(
        columns=tuple(ColumnRule(p.column, p.logicalType, p.physicalType) for p in properties),
        rows=tuple(rule for p in properties for rule in _row_rules(p)),
        keys=tuple(_key_rules(contract)),
        volume=tuple(
            VolumeRule(quality.name or "row count", quality.limits())
            for quality in contract.table.quality
            if quality.metric == "rowCount"
        ),
        freshness=tuple(_freshness(contract)),
        strict=contract.strict,
        api_version=contract.apiVersion,
    )


def element_column(contract: Contract, element: str) -> str | None:
    """The column that an element of the SLA means, written ``column`` or ``table.column``; None where there is none."""
    names = {name: p.column for p in contract.table.properties for name in (p.column, p.name)}
    for prefix in ("", f"{contract.table.name}.", f"{contract.table.physicalName}."):
        if element.startswith(prefix) and element.removeprefix(prefix) in names:
            return names[element.removeprefix(prefix)]
    return None


def _row_rules(one: Property) -> Iterator[RowRule]:
    column, shown, options = one.column, one.open_to_all, one.logicalTypeOptions

    def rule(name: str, condition: Condition) -> RowRule:
        return RowRule(f"{column} {name}", column, condition, shown=shown)

    if one.required or one.primaryKey:
        yield rule("required", Present())
    for limit, exclusive in options.lower():
        yield rule("exclusiveMinimum" if exclusive else "minimum", Bound(limit, "low", exclusive))
    for limit, exclusive in options.upper():
        yield rule("exclusiveMaximum" if exclusive else "maximum", Bound(limit, "high", exclusive))
    if options.minLength is not None:
        yield rule("minLength", Length(options.minLength, "low"))
    if options.maxLength is not None:
        yield rule("maxLength", Length(options.maxLength, "high"))
    if options.pattern is not None:
        yield rule("pattern", Matches(options.pattern))
    for quality in one.quality:
        for name, condition in _conditions(quality):
            yield RowRule(quality.name or f"{column} {name}", column, condition, quality.limits(), quality.unit, shown)


def _conditions(quality: Quality) -> Iterator[tuple[str, Condition]]:
    if quality.metric == "nullValues":
        yield "nullValues", Present()
    if quality.metric == "missingValues" and quality.arguments.missingValues:
        yield "missingValues", OneOf(quality.arguments.missingValues, not_one=True)
    if quality.metric == "invalidValues" and quality.allowed:
        yield "validValues", OneOf(quality.allowed)
    if quality.metric == "invalidValues" and quality.arguments.pattern is not None:
        yield "pattern", Matches(quality.arguments.pattern)


def _key_rules(contract: Contract) -> Iterator[KeyRule]:
    properties = contract.table.properties
    shown = {p.column: p.open_to_all for p in properties}
    columns = {p.name: p.column for p in properties}
    primary = contract.table.key
    if primary:
        yield KeyRule(f"primary key {', '.join(primary)}", primary, shown=all(shown[c] for c in primary))
    for p in properties:
        if p.unique and (len(primary) != 1 or not p.primaryKey):
            yield KeyRule(f"{p.column} unique", (p.column,), shown=p.open_to_all)
        for quality in p.quality:
            if quality.metric == "duplicateValues":
                name = quality.name or f"{p.column} duplicateValues"
                yield KeyRule(name, (p.column,), quality.limits(), quality.unit, p.open_to_all)
    for quality in contract.table.quality:
        if quality.metric == "duplicateValues":
            key = tuple(columns[name] for name in quality.arguments.properties)
            name = quality.name or f"duplicateValues {', '.join(key)}"
            yield KeyRule(name, key, quality.limits(), quality.unit, all(shown[c] for c in key))


def _freshness(contract: Contract) -> Iterator[FreshnessRule]:
    for sla in contract.slaProperties:
        if sla.property in FRESHNESS:
            element = sla_element(contract, sla)
            column = None if element is None else element_column(contract, element)
            name = f"{sla.property} {column or 'of the commit'}"
            yield FreshnessRule(name, column, float(sla.value or 0), (sla.unit or "d").lower())


def sla_element(contract: Contract, sla: SlaProperty) -> str | None:
    """What a promise about the service is about; None for the table's commit."""
    return sla.element or contract.slaDefaultElement
