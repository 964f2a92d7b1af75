"""Columns and types held against a contract; no row is read."""

from __future__ import annotations

import difflib

import pyarrow as pa

from sluiceway.data.contract.kinds import delta_name, kind_of, logical_kinds, physical_name
from sluiceway.data.contract.rules import ColumnRule, Rules


def schema_problems(schema: pa.Schema, rules: Rules) -> dict[str, str]:
    """Columns of the contract that are missing or of another type, each with what is wrong with it."""
    found = {rule.column: column_problem(schema, rule, api_version=rules.api_version) for rule in rules.columns}
    return {column: problem for column, problem in found.items() if problem}


def other_columns(schema: pa.Schema, rules: Rules) -> list[str]:
    """Columns that the contract does not have, in the table's order."""
    known = {rule.column for rule in rules.columns}
    return [name for name in schema.names if name not in known]


def column_problem(schema: pa.Schema, rule: ColumnRule, *, api_version: str) -> str | None:
    """What is wrong with a column, or None.

    Args:
        schema: of the table.
        rule: what the contract says.
        api_version: of the standard.
    """
    if rule.column not in schema.names:
        near = difflib.get_close_matches(rule.column, schema.names, n=1)
        return f"there is no column {rule.column!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    kind = schema.field(rule.column).type
    name = delta_name(kind)
    wanted = physical_name(rule.physical) if rule.physical else None
    if wanted and wanted != name:
        return f"{rule.column!r} is {name}, the contract has {rule.physical}"
    if rule.logical and kind_of(kind) not in logical_kinds(rule.logical, api_version=api_version):
        return f"{rule.column!r} is {name}, which is no {rule.logical}"
    return None
