"""Who let a failed check pass, why, and until when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase

from sluiceway.config.evaluation import WaiverSection
from sluiceway.core.verdict import GateResult, Status, Verdict


def apply(results: Sequence[GateResult], waivers: Sequence[WaiverSection], *, today: date) -> tuple[GateResult, ...]:
    """Waive what may be waived on a given day.

    A waiver counts up to and including its last day, for checks that FAIL or are INCONCLUSIVE; a check that ended in
    an ERROR has judged nothing and cannot be waived. Where a waiver does not count, the verdict says so.

    Args:
        results: of all gates.
        waivers: from the configuration.
        today: the day that it is.
    """
    return tuple(
        dataclasses.replace(
            result,
            verdicts=tuple(
                _apply(verdict, [w for w in waivers if _covers(w, result.gate, verdict)], today)
                for verdict in result.verdicts
            ),
        )
        for result in results
    )


def _covers(waiver: WaiverSection, gate: str, verdict: Verdict) -> bool:
    return gate in waiver.gates and any(fnmatchcase(verdict.measurement.name, pattern) for pattern in waiver.checks)


def _apply(verdict: Verdict, waivers: Sequence[WaiverSection], today: date) -> Verdict:
    if verdict.status is Status.PASS or not waivers:
        return verdict
    if verdict.status is Status.ERROR:
        return _annotated(verdict, "an ERROR cannot be waived")
    valid = [w for w in waivers if today <= w.expires]
    if not valid:
        last = max(waivers, key=lambda w: w.expires)
        return _annotated(verdict, f"the waiver of {last.owner} expired on {last.expires}")
    chosen = max(valid, key=lambda w: w.expires)
    return dataclasses.replace(verdict, waiver=f"{chosen.owner}: {chosen.reason} (until {chosen.expires})")


def _annotated(verdict: Verdict, note: str) -> Verdict:
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}" if verdict.reason else note)
