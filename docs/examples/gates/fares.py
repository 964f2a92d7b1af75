"""Two gates of our own: no score may rise when a fare falls, and test rows may not be older than a year."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from sluiceway.core.verdict import Direction, Measurement, Threshold, Verdict, judge
from sluiceway.gates.context import GateContext


def cheaper_is_no_riskier(context: GateContext) -> Iterator[Verdict]:
    """Does the score stay or fall when a fare is lowered by a tenth?

    Options: ``column``, the fare; ``max_share`` of rows on which the score may rise all the same (0.01 by default).
    """
    column = str(context.options["column"])
    rows = context.test_rows
    assert context.scorer is not None  # the gate asked for the test rows, which bring the model
    fares = rows[column].cast(pa.float64()).to_numpy()
    at = rows.schema.get_field_index(column)
    cheaper = context.scorer.score(rows.set_column(at, column, pa.array(fares * 0.9)))
    risen = np.asarray(cheaper) > context.scores + 1e-9
    share = float(risen.mean()) if len(risen) else None
    measured = Measurement(f"rows whose score rises with a lower {column}", share, len(risen))
    yield judge(context.gate, measured, Threshold(float(context.options.get("max_share", 0.01)), Direction.AT_MOST))
