"""Rows that are replayed are values that JSON has."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa

from sluiceway.lifecycle.replay import ReplayRows


class Held(ReplayRows):
    """Of a table in memory."""

    def __init__(self, table):
        self._context = SimpleNamespace(data=SimpleNamespace(target="late", features=("amount", "carrier")))
        self._where, self._table = {"part": "test"}, table

    def _dataset(self):
        return SimpleNamespace(iter_batches=lambda **_: iter([self._table]))


def test_decimals_are_sent_as_numbers():
    table = pa.table(
        {
            "amount": pa.array([Decimal("1.50"), None, Decimal("9")], pa.decimal128(10, 2)),
            "carrier": pa.array(["AA", "BB", "CC"]).dictionary_encode(),
            "late": [1, 0, 1],
            "part": ["test", "test", "train"],
        }
    )
    sent = json.loads(json.dumps(list(Held(table))))
    assert sent == [[{"amount": 1.5, "carrier": "AA"}, 1.0], [{"amount": None, "carrier": "BB"}, 0.0]]
