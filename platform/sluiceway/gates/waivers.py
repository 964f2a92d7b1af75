"""Who let a failed gate pass, why, and until when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date

from sluiceway.config.evaluation import WaiverSection
from sluiceway.core.verdict import GateResult, Status, Verdict


def apply(results: Sequence[GateResult], waivers: Sequence[WaiverSection], *, today: date) -> tuple[GateResult, ...]:
    """Waive what may be waived on a given day.

    A waiver counts up to and including its last day, for gates that FAIL or are INCONCLUSIVE; a gate that ended in
    an ERROR has judged nothing and cannot be waived. Where a waiver does not count, the verdicts say so.

    Args:
        results: of all gates.
        waivers: from the configuration.
        today: the day that it is.
    """
    return tuple(_apply(result, [w for w in waivers if result.gate in w.gates], today) for result in results)


def _apply(result: GateResult, waivers: Sequence[WaiverSection], today: date) -> GateResult:
    if result.status is Status.PASS or not waivers:
        return result
    if any(v.status is Status.ERROR for v in result.verdicts):
        return _annotated(result, "an ERROR cannot be waived")
    valid = [w for w in waivers if today <= w.expires]
    if not valid:
        last = max(waivers, key=lambda w: w.expires)
        return _annotated(result, f"the waiver of {last.owner} expired on {last.expires}")
    chosen = max(valid, key=lambda w: w.expires)
    return dataclasses.replace(result, waiver=f"{chosen.owner}: {chosen.reason} (until {chosen.expires})")


def _annotated(result: GateResult, note: str) -> GateResult:
    def add(verdict: Verdict) -> Verdict:
        if verdict.status is Status.PASS:
            return verdict
        return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}" if verdict.reason else note)

    return dataclasses.replace(result, verdicts=tuple(add(v) for v in result.verdicts))
