"""Groups that ought to be among the test rows and are not."""

from __future__ import annotations

import dataclasses
import math

from sluiceway.config.gates import FairnessSection
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.groups import Groups, listed


def missing_groups(check: str, groups: Groups, section: FairnessSection, train: Groups | str | None) -> list[Verdict]:
    """No group that was asked for, or that is large among the training rows, may be without a test row.

    Args:
        check: name of the gate.
        groups: of the test rows.
        section: declared groups, and how many rows make a large one.
        train: groups of the training rows, or why there are none; None where nobody looks at these.

    Returns:
        one verdict; none where there is nothing to look for. A group that was asked for and has too few test rows is
        INCONCLUSIVE.
    """
    declared = section.groups.get(groups.attribute, ())
    if not declared and train is None:
        return []
    there = dict(zip(groups.names, groups.rows.tolist(), strict=True))
    absent = {name: "declared" for name in declared if name not in there}
    reason = f"of the training rows: {train}" if isinstance(train, str) else ""
    if isinstance(train, Groups):
        for name, n in zip(train.names, train.rows.tolist(), strict=True):
            if n >= section.min_group_rows and name not in there:
                absent[name] = f"{n:,} training rows"
    named = listed([f"{name} ({why})" for name, why in absent.items()])
    n = len(groups.codes)
    measurement = Measurement(f"{groups.attribute} missing groups", len(absent), n, detail=named)
    verdict = judge(check, measurement, Threshold(0, Direction.AT_MOST))
    if reason:
        return [dataclasses.replace(verdict, status=Status.FAIL, reason=reason)]
    few = {name: there[name] for name in declared if there.get(name, math.inf) < section.min_group_rows}
    if not few or verdict.status is not Status.PASS:
        return [verdict]
    reason = f"declared and too small to judge: {listed([f'{name} ({rows:,} rows)' for name, rows in few.items()])}"
    enough = math.ceil(n * section.min_group_rows / min(few.values()))
    return [dataclasses.replace(verdict, status=Status.INCONCLUSIVE, reason=reason, enough=enough)]
