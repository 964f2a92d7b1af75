"""The table that several areas measure with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def wide_table(rows: int, seed: int = 0) -> pa.Table:
    """20 columns: 8 of integers, 6 of floats, 3 of text that hardly repeats, a category, a time, a truth."""
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {f"int{i}": random.integers(-(10**12), 10**12, rows) for i in range(8)}
    columns |= {f"float{i}": random.normal(size=rows) for i in range(6)}
    columns |= {f"text{i}": np.char.add("value-", random.integers(0, 10**11, rows).astype(str)) for i in range(3)}
    columns["category"] = random.choice(["north", "south", "east", "west"], rows)
    columns["time"] = random.integers(0, 10**15, rows).astype("datetime64[us]")
    columns["flag"] = random.random(rows) < 0.5
    return pa.table(columns)
