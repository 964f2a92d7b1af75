"""A verdict's interval and limit as a strip beside its numbers: on which side, and how far, at a glance."""

from __future__ import annotations

import math

from sluiceway.core.verdict import Direction, Verdict
from sluiceway.gates.report.svg import Axis, line, marker

WIDE, HIGH = 120, 16


def strip(verdict: Verdict) -> str:
    """The drawing; "" for a verdict without an interval or without a limit.

    The side of the limit that is good is shaded. It says nothing that the numbers beside it do not say, so it is hidden
    from screen readers.
    """
    m, t = verdict.measurement, verdict.threshold
    if t is None or m.value is None or m.low is None or m.high is None:
        return ""
    if not all(map(math.isfinite, (m.value, m.low, m.high, t.limit))):
        return ""
    axis = Axis.around((m.low, m.high, m.value, t.limit), 2, WIDE - 2, margin=0.12)
    limit, y = axis.at(t.limit), HIGH / 2
    start, end = (limit, WIDE) if t.direction is Direction.AT_LEAST else (0.0, limit)
    return (
        f'<svg class="strip" viewBox="0 0 {WIDE} {HIGH}" aria-hidden="true">'
        f'<rect class="good" x="{start:g}" y="2" width="{end - start:.1f}" height="{HIGH - 4}"/>'
        f"{line('edge', (limit, 0), (limit, HIGH))}"
        f"{line('whisker candidate', (axis.at(m.low), y), (axis.at(m.high), y))}"
        f"{marker('mark candidate', 'circle', (axis.at(m.value), y))}</svg>"
    )
