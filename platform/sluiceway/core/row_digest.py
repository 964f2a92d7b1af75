"""The digest of a set of rows; :mod:`sluiceway.data.row_digest` computes it, the catalog keeps it for each file."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = "rowset-v1"
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class RowDigest:
    """The digest of a set of rows, in which a row may be more than once.

    Attributes:
        rows: how many.
        low: sum of the rows' first lanes, modulo 2^64.
        high: sum of the rows' second lanes, modulo 2^64.
    """

    rows: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: RowDigest) -> RowDigest:
        return RowDigest(self.rows + other.rows, (self.low + other.low) & _MASK, (self.high + other.high) & _MASK)

    def __sub__(self, other: RowDigest) -> RowDigest:
        return RowDigest(self.rows - other.rows, (self.low - other.low) & _MASK, (self.high - other.high) & _MASK)

    def __str__(self) -> str:
        return f"{FORMAT}:{self.high:016x}{self.low:016x}:{self.rows}"
