"""What comes of a verdict: the gate's severity, a dry run, what to do without enough rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sluiceway.config.gates import GateSection
from sluiceway.core.verdict import Severity, Status, Verdict


def settled(verdicts: Iterable[Verdict], section: GateSection) -> tuple[Verdict, ...]:
    """The verdicts of a gate with what its section makes of them.

    An ERROR has judged nothing and blocks whatever the severity; only a dry run blocks nothing at all. A verdict that
    the gate itself has made milder (a warning beside what it judges) stays so.
    """
    return tuple(_settled(verdict, section) for verdict in verdicts)


def _settled(verdict: Verdict, section: GateSection) -> Verdict:
    if section.dry_run:
        return replace(verdict, severity=Severity.INFO, reason=_joined(verdict.reason, "dry run"))
    if verdict.status is Status.ERROR:
        return replace(verdict, severity=Severity.BLOCK)
    asked = [Severity(section.severity), verdict.severity]
    if verdict.status is Status.INCONCLUSIVE and section.on_inconclusive == "warn":
        asked.append(Severity.WARN)
    return replace(verdict, severity=max(asked, key=list(Severity).index))


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
