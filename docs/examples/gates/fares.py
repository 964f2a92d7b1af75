"""Two gates of our own: no score may rise when a fare falls, and training has to know what is asked about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge, tells_apart
from sluiceway.gates.context import GateContext
from sluiceway.gates.statistics.intervals import wilson


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


def known_from_training(context: GateContext) -> Iterator[Verdict]:
    """Has training seen the values of a column that the test rows have?

    Needs ``test`` and ``train``, and the column among its ``columns`` where it is no feature. Options: ``column``;
    ``max_share`` of test rows whose value no training row has (0.05 by default). Beyond it the verdict is a FAIL where
    all of the 95 % interval is, and INCONCLUSIVE where it may be chance.
    """
    column = str(context.options["column"])
    name, limit = f"rows whose {column} training has not seen", float(context.options.get("max_share", 0.05))
    threshold = Threshold(limit, Direction.AT_MOST)
    test, train = context.test_rows, context.train_rows
    if column not in test.column_names:
        absent = Measurement(name, None, test.num_rows)
        yield Verdict(context.gate, Status.FAIL, absent, threshold, f"the table has no column {column!r}")
        return
    asked, known = (pc.unique(rows[column].cast(pa.string())) for rows in (test, train))
    new = asked.filter(pc.invert(pc.is_in(asked, value_set=known)))
    n = test.num_rows
    unknown = pc.sum(pc.is_in(test[column].cast(pa.string()), value_set=new)).as_py() or 0
    low, high = wilson(unknown, n)
    detail = f"{len(new)} new values" + (f", such as {new[0].as_py()}" if len(new) else "")
    measured = Measurement(name, unknown / n if n else None, n, low, high, detail=detail)
    yield tells_apart(context.gate, measured, threshold)
