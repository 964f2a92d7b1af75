"""The first draft of a contract: what a version holds, widened sensibly, with comments for whoever edits it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import yaml

from sluiceway.data.contract.conditions import limit_ticks
from sluiceway.data.contract.kinds import LISTABLE, NUMBERS, TIMES, Kind, delta_name, kind_of, logical_name
from sluiceway.data.contract.survey import MAX_VALUES, Survey

# A name that says that the column identifies rows.
IDENTIFIER = re.compile(r"(^|_)(id|uuid|guid|key|number|no|nr)$", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Longer texts are no names of kinds.
_MAX_LISTED_CHARACTERS = 60


def draft(
    *, table: str, told: str, schema: pa.Schema, rows: int, found: Mapping[str, Survey], unique: Collection[str]
) -> str:
    """The text of a contract that the version fits from which it was drafted.

    Args:
        table: a name for it.
        told: from what it was drafted, for the first line.
        schema: of the version.
        rows: how many it has, at least one.
        found: what each column holds.
        unique: columns whose values all differ.

    Returns:
        YAML with comments. A column of unique values is ``unique`` where its name says that it identifies rows, else
        that is a comment: measurements and times often differ by chance.
    """
    name = _scalar(table)
    lines = [
        f"# Drafted by `sluiceway data contract init` from {' '.join(told.split())}.",
        "# It says what was found there, with some room: edit it to what the data has to be. What each key means and",
        "# what is checked: docs/data/contract.md",
        "apiVersion: v3.1.0",
        "kind: DataContract",
        f"id: {name}",
        f"name: {name}",
        "version: 0.1.0",
        "status: draft",
        "# description:",
        "#   purpose: what the data is for",
        "# team:",
        "#   members:",
        "#     - {username: somebody, role: owner}",
        "schema:",
        f"  - name: {name}",
        "    physicalType: table",
        "    properties:",
    ]
    for field in schema:
        lines += _property(field, found[field.name], unique=field.name in unique)
    lines += [
        "    quality:",
        "      - type: library",
        "        metric: rowCount",
        f"        mustBeBetween: [{_outward(rows // 2, down=True)}, {_outward(rows * 10, down=False)}]"
        f"  # found {rows:,}",
        *_promises(table, schema),
    ]
    return "\n".join(lines) + "\n"


def _property(field: pa.Field, found: Survey, *, unique: bool) -> Iterator[str]:
    indent = " " * 8
    yield f"      - name: {_scalar(field.name)}"
    logical = logical_name(field.type)
    if logical:
        yield f"{indent}logicalType: {logical}"
    yield f"{indent}physicalType: {delta_name(field.type)}"
    present = found.rows - found.absent
    identifies = unique and IDENTIFIER.search(field.name) is not None
    if found.absent == 0:
        yield f"{indent}required: true"
    else:
        yield f"{indent}# required: true  # {found.absent:,} of {found.rows:,} values are missing"
    if unique:
        sure = "" if identifies else "# "
        yield f"{indent}{sure}unique: true  # all {present:,} values differ"
    # The next rows have other identifiers, beyond any range.
    options = [] if identifies else list(_options(field.type, found))
    if options:
        yield f"{indent}logicalTypeOptions:"
        yield from (f"{indent}  {option}" for option in options)
    listed = 0 < len(found.texts) <= MAX_VALUES and max(map(len, found.texts)) <= _MAX_LISTED_CHARACTERS
    if listed and not unique and kind_of(field.type) in LISTABLE:
        yield f"{indent}quality:"
        yield f"{indent}  - type: library"
        yield f"{indent}    metric: invalidValues"
        yield f"{indent}    arguments:"
        yield f"{indent}      validValues: [{', '.join(_quoted(text) for text in found.texts)}]"
        yield f"{indent}    mustBe: 0"


def _options(kind: pa.DataType, found: Survey) -> Iterator[str]:
    if found.low is None or found.high is None:
        return
    if kind_of(kind) in TIMES:
        first = _start_of_year(int(found.low), kind_of(kind), zone=delta_name(kind) == "timestamp")
        if first:
            yield f"minimum: {first}  # from then on; add a maximum where there is one"
        return
    if kind_of(kind) not in NUMBERS:
        return
    said = f"found {found.low} to {found.high}"
    low, high = outward(found.low, found.high)
    if not found.below and low is not None:
        yield f"minimum: {_scalar(low)}  # {said}"
    if not found.above and high is not None:
        yield f"maximum: {_scalar(high)}  # {said}"


def outward(low: int | float | Decimal, high: int | float | Decimal) -> tuple[int | float | None, int | float | None]:
    """Two ends rounded away from each other, to about one digit of what lies between them.

    Args:
        low: smallest value, finite.
        high: largest value, finite.

    Returns:
        Limits as YAML can hold them; None where such a limit is beyond all floats.
    """
    bottom, top = Fraction(low), Fraction(high)
    span = top - bottom or abs(top) or Fraction(1)
    digits = len(str(span.numerator)) - len(str(span.denominator))
    # Off by one at most, and then too large.
    step = Fraction(10) ** digits if Fraction(10) ** digits <= span else Fraction(10) ** (digits - 1)
    return _limit(bottom, step, down=True), _limit(top, step, down=False)


def _limit(value: Fraction, step: Fraction, *, down: bool) -> int | float | None:
    """The multiple of a power of ten beyond a value, as YAML holds it: a float must not be rounded back over it."""
    while True:
        limit: Fraction = (math.floor(value / step) if down else math.ceil(value / step)) * step
        try:
            held = float(limit)
        except OverflowError:
            return None
        if limit.denominator == 1:
            return int(limit.numerator)
        # Floats are compared as they are, decimals with what is written; a float so large that it is whole says too
        # much about digits that it does not have.
        meant = (Fraction(held), Fraction(limit_ticks(held, Kind.NUMBER)))
        if not held.is_integer() and (max(meant) <= value if down else min(meant) >= value):
            return held
        step *= 10


def _outward(rows: int, *, down: bool) -> int:
    step = int(10 ** (len(str(max(rows, 1))) - 1))
    return max(rows // step * step, 1) if down else -(-rows // step) * step


def _start_of_year(value: int, kind: Kind | None, *, zone: bool) -> str | None:
    """The first day of the year of a date or time; None for years that Python does not have."""
    try:
        time = _EPOCH + (timedelta(days=value) if kind is Kind.DATE else timedelta(microseconds=value))
    except OverflowError:
        return None
    day = f"{time.year:04d}-01-01"
    return f'"{day}"' if kind is Kind.DATE else f'"{day}T00:00:00{"Z" if zone else ""}"'


def _promises(table: str, schema: pa.Schema) -> Iterator[str]:
    """What cannot be found in one version, to be uncommented."""
    times = [field.name for field in schema if kind_of(field.type) in TIMES]
    element = f", element: {_scalar(f'{table}.{times[0]}')}" if times else ""
    about = "the newest value" if times else "the commit"
    yield f"# slaProperties:  # how old {about} may be"
    yield f"#   - {{property: freshness, value: 1, unit: d{element}}}"
    yield "# customProperties:  # no columns but those above"
    yield "#   - {property: strict, value: true}"


def _scalar(value: Any) -> str:
    """One value as YAML in one line; text in quotes where it could be read as something else, or broken."""
    if isinstance(value, str):
        safe = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
        return value if safe else _quoted(value)
    return yaml.safe_dump(value, width=math.inf).partition("\n")[0]


def _quoted(text: str) -> str:
    # Escaped but for what any editor shows: no line of a file may depend on what counts as a line's end.
    return yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=text.isprintable()).rstrip("\n")
