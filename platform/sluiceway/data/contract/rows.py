"""Rows held against a contract one by one, before they are written: which do not fit, and why."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import SchemaMismatchError
from sluiceway.data.contract.conditions import plain
from sluiceway.data.contract.kinds import delta_name, kind_of
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.rules import RowRule, rules_of
from sluiceway.data.contract.schema import schema_problems

SEPARATOR = "; "


def row_problems(batch: pa.RecordBatch | pa.Table, contract: Contract) -> pa.Array:
    """Why rows do not fit.

    Only what a row alone can break is looked at: required, range, length, pattern, valid values; of these only rules
    that tolerate no row. Types and missing columns are the schema's business, and are refused.

    Args:
        batch: n rows; columns in any order, further ones are not looked at.
        contract: what they have to be.

    Returns:
        n strings: null where the row fits, else the reasons, joined by ``"; "``, in the order of the contract.

    Raises:
        SchemaMismatchError: a column of the contract is missing or has another type.
    """
    rules = rules_of(contract)
    problems = schema_problems(batch.schema, rules)
    if problems:
        raise SchemaMismatchError(f"the rows do not fit the contract: {'; '.join(problems.values())}")
    joined = pa.nulls(batch.num_rows, pa.string())
    for rule in rules.for_single_rows:
        reasons = _reasons(batch, rule)
        if reasons is not None:
            # Not in one call over all: pyarrow 25 loses the rows in which nothing is left after skipping nulls.
            joined = pc.coalesce(pc.binary_join_element_wise(joined, reasons, SEPARATOR), joined, reasons)
    return joined


def _reasons(batch: pa.RecordBatch | pa.Table, rule: RowRule) -> pa.Array | None:
    """The rule's reason for each row that breaks it, null for the others; None where no row does."""
    column = batch[rule.column]
    if not rule.condition.fits(kind_of(column.type)):
        raise SchemaMismatchError(f"{rule.name} makes no sense for {delta_name(column.type)}")
    broken = rule.condition.broken(plain(column))
    if not pc.any(broken, min_count=0).as_py():
        return None
    return pc.if_else(broken, pa.scalar(rule.reason, pa.string()), pa.scalar(None, pa.string()))
