"""What in a contract contradicts itself or cannot be checked, beyond the types of its keys."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.contract.conditions import is_number, limit_ticks
from sluiceway.data.contract.kinds import (
    LISTABLE,
    NESTED,
    NUMBERS,
    TIMES,
    Kind,
    logical_kinds,
    physical_kind,
    physical_name,
    physical_names,
)
from sluiceway.data.contract.model import Contract, Property, Quality, SlaProperty, TypeOptions, Value
from sluiceway.data.contract.rules import FRESHNESS, UNITS, element_column, sla_element

COLUMN_METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues")
TABLE_METRICS = ("rowCount", "duplicateValues")


def contract_problems(contract: Contract) -> Iterator[str]:
    """One line a problem: the path in the file, and what is wrong there."""
    seen: dict[str, str] = {}
    for number, one in enumerate(contract.table.properties):
        at = f"schema[0].properties[{number}]"
        if one.column in seen:
            yield f"{at}: the column {one.column!r} is described a second time; first at {seen[one.column]}"
        seen.setdefault(one.column, at)
        yield from _property_problems(one, at=at, api_version=contract.apiVersion)
    for number, quality in enumerate(contract.table.quality):
        yield from _table_quality_problems(contract, quality, at=f"schema[0].quality[{number}]")
    for number, sla in enumerate(contract.slaProperties):
        if sla.property in FRESHNESS:
            yield from _sla_problems(contract, sla, at=f"slaProperties[{number}]")
    for place, customs in (("", contract.customProperties), ("schema[0].", contract.table.customProperties)):
        for number, custom in enumerate(customs):
            if custom.property == "strict" and not isinstance(custom.value, bool):
                yield f"{place}customProperties[{number}].value: strict is true or false (given: {custom.value!r})"


def _property_problems(one: Property, *, at: str, api_version: str) -> Iterator[str]:
    name = physical_name(one.physicalType) if one.physicalType else None
    if one.physicalType and name is None:
        near = difflib.get_close_matches(one.physicalType.lower(), physical_names(), n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"types of Delta: {', '.join(physical_names())}"
        yield f"{at}.physicalType: Delta has no type {one.physicalType!r}; {meant}"
    held = frozenset(Kind) if one.logicalType is None else logical_kinds(one.logicalType, api_version=api_version)
    kind = physical_kind(name) if name else None
    if kind is not None and kind not in held:
        yield f"{at}.physicalType: {one.physicalType} is no {one.logicalType}"
    kinds = frozenset({kind}) & held if kind is not None else held
    yield from _option_problems(one, kinds, at=f"{at}.logicalTypeOptions")
    for key in ("unique", "primaryKey"):
        if getattr(one, key) and kinds and kinds <= NESTED:
            yield f"{at}.{key}: lists and structs cannot be a key"
    for number, quality in enumerate(one.quality):
        yield from _quality_problems(quality, kinds, at=f"{at}.quality[{number}]")


def _option_problems(one: Property, kinds: frozenset[Kind], *, at: str) -> Iterator[str]:
    options = one.logicalTypeOptions
    yield from _range_problems(options, kinds, at=at)
    for name in ("minLength", "maxLength", "pattern"):
        if getattr(options, name) is not None and Kind.TEXT not in kinds:
            yield f"{at}.{name}: only text has a {'pattern' if name == 'pattern' else 'length'}"
    if options.minLength is not None and options.maxLength is not None and options.minLength > options.maxLength:
        yield f"{at}.minLength: {options.minLength} is more than the maxLength {options.maxLength}"
    yield from _pattern_problems(options.pattern, at=f"{at}.pattern")


def _range_problems(options: TypeOptions, kinds: frozenset[Kind], *, at: str) -> Iterator[str]:
    bounds = {name: getattr(options, name) for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")}
    good: dict[str, Any] = {}
    for name, limit in bounds.items():
        if limit is None or isinstance(limit, bool):
            continue
        if not kinds & (NUMBERS | TIMES):
            yield f"{at}.{name}: only numbers, dates and times have a range"
        elif problem := _limit_problem(limit, kinds):
            yield f"{at}.{name}: {problem}"
        else:
            good[name] = limit_ticks(limit, Kind.NUMBER if is_number(limit) else Kind.TIMESTAMP)
    for low, high in itertools.product(("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        same = low in good and high in good and is_number(bounds[low]) == is_number(bounds[high])
        if same and good[low] > good[high]:
            yield f"{at}.{low}: {bounds[low]} is more than the {high} {bounds[high]}"
    for flag, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bounds[flag] is True and bounds[limit] is None:
            yield f"{at}.{flag}: true needs a {limit}"


def _limit_problem(limit: Any, kinds: frozenset[Kind]) -> str | None:
    wanted = Kind.NUMBER if is_number(limit) else Kind.TIMESTAMP
    if wanted is Kind.NUMBER and not kinds & NUMBERS:
        return f"has to be a date or a time (given: {limit!r})"
    if wanted is Kind.TIMESTAMP and not kinds & TIMES:
        return f"has to be a number (given: {limit!r})"
    try:
        limit_ticks(limit, wanted)
    except ValueError as error:
        return str(error)
    return None


def _pattern_problems(pattern: str | None, *, at: str) -> Iterator[str]:
    if pattern is None:
        return
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        yield f"{at}: {str(error).splitlines()[0]} (RE2 has neither look-around nor back-references)"


def _quality_problems(quality: Quality, kinds: frozenset[Kind], *, at: str) -> Iterator[str]:
    if quality.type == "text":
        return
    if quality.metric not in COLUMN_METRICS:
        yield f"{at}.metric: {quality.metric} is for the table; a column has {', '.join(COLUMN_METRICS)}"
    if quality.metric == "duplicateValues":
        if kinds and kinds <= NESTED:
            yield f"{at}.metric: lists and structs cannot be compared"
        if quality.arguments.properties:
            yield f"{at}.arguments.properties: several columns are for a rule of the table (schema[0].quality)"
    yield from _value_problems(quality.arguments.validValues or (), kinds, at=f"{at}.arguments.validValues")
    yield from _value_problems(quality.validValues or (), kinds, at=f"{at}.validValues")
    yield from _value_problems(quality.arguments.missingValues or (), kinds, at=f"{at}.arguments.missingValues")
    if quality.arguments.pattern is not None and Kind.TEXT not in kinds:
        yield f"{at}.arguments.pattern: only text has a pattern"
    yield from _pattern_problems(quality.arguments.pattern, at=f"{at}.arguments.pattern")


def _value_problems(values: Iterable[Value], kinds: frozenset[Kind], *, at: str) -> Iterator[str]:
    for number, value in enumerate(values):
        if not kinds & LISTABLE:
            yield f"{at}: values of this type cannot be listed"
            return
        if not any(_is_value(value, kind) for kind in kinds):
            quotes = "; put it in quotes" if kinds == {Kind.TEXT} else ""
            yield f"{at}[{number}]: {value!r} is no {' or '.join(sorted(kinds & LISTABLE))}{quotes}"


def _is_value(value: Value, kind: Kind) -> bool:
    if kind is Kind.TEXT:
        return isinstance(value, str)
    if kind is Kind.BOOLEAN:
        return isinstance(value, bool)
    if kind not in LISTABLE:
        return False
    try:
        limit_ticks(value, kind)
    except ValueError:
        return False
    return True


def _table_quality_problems(contract: Contract, quality: Quality, *, at: str) -> Iterator[str]:
    if quality.type == "text":
        return
    if quality.metric not in TABLE_METRICS:
        yield f"{at}.metric: {quality.metric} is for a column; the table has {', '.join(TABLE_METRICS)}"
    if quality.metric == "rowCount" and quality.unit != "rows":
        yield f"{at}.unit: rowCount is in rows"
    if quality.metric == "duplicateValues":
        names = [p.name for p in contract.table.properties]
        if not quality.arguments.properties:
            yield f"{at}.arguments: duplicateValues of a table needs properties, the columns that make the key"
        for number, name in enumerate(quality.arguments.properties):
            if name not in names:
                yield f"{at}.arguments.properties[{number}]: no property {name!r}{_near(name, names)}"


def _sla_problems(contract: Contract, sla: SlaProperty, *, at: str) -> Iterator[str]:
    if not is_number(sla.value) or not 0 < float(sla.value or 0) < float("inf"):
        yield f"{at}.value: has to be a number above 0 (given: {sla.value!r})"
    if sla.unit is not None and sla.unit.lower() not in UNITS:
        yield f"{at}.unit: {sla.unit!r} is none of {', '.join(UNITS)}"
    element = sla_element(contract, sla)
    if element is None:
        return
    column = element_column(contract, element)
    names = [p.name for p in contract.table.properties]
    if column is None:
        yield f"{at}.element: no property {element!r}{_near(element.rpartition('.')[2], names)}"
        return
    one = next(p for p in contract.table.properties if p.column == column)
    if one.logicalType is not None and not logical_kinds(one.logicalType, api_version=contract.apiVersion) & TIMES:
        yield f"{at}.element: {element} is neither a date nor a time"


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known[:10])}"
