"""The words of the report: the headline, the gates and their verdicts, for the page and for its JSON twin."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluiceway.core.verdict import Direction, GateResult, Measurement, Severity, Status, Threshold, Verdict
from sluiceway.gates.report.figure import number

ONLY_SHOWN = "reported, not judged"
_SIGN = {Direction.AT_LEAST: "\N{GREATER-THAN OR EQUAL TO}", Direction.AT_MOST: "\N{LESS-THAN OR EQUAL TO}"}
_SOFTENED = {Severity.WARN: "warning only", Severity.INFO: "for information only"}


@dataclass(frozen=True)
class VerdictRow:
    """One verdict as the page shows it.

    Attributes:
        anchor: its id in the page.
        status: the word on its badge: a status, or ``reported`` for a number that is only shown.
        blocks: nothing may go on because of it.
        name: what was measured.
        value: with its unit.
        interval: "" where there is none.
        limit: "" where there is none.
        n: rows behind it, and how many are needed where they are too few.
        notes: what a person has to know, one sentence each.
        waiver: who let it pass, why and until when, or "".
        verdict: what it was made of.
    """

    anchor: str
    status: str
    blocks: bool
    name: str
    value: str
    interval: str
    limit: str
    n: str
    notes: tuple[str, ...]
    waiver: str
    verdict: Verdict


@dataclass(frozen=True)
class GateRow:
    """One gate as the page shows it.

    Attributes:
        anchor: its id in the page.
        name: for people.
        question: that it answers, or "".
        status: of its verdicts.
        blocks: nothing may go on because of it.
        consequence: what comes of it, in a word or two.
        seconds: its time.
        cached: taken from an earlier run on the same content.
        count: how many verdicts of each kind.
        open: verdicts that are no PASS, the worst first.
        passed: those that are, numbers that are only shown last.
    """

    anchor: str
    name: str
    question: str
    status: str
    blocks: bool
    consequence: str
    seconds: str
    cached: bool
    count: str
    open: tuple[VerdictRow, ...]
    passed: tuple[VerdictRow, ...]


@dataclass(frozen=True)
class Sentence:
    """A verdict in one sentence.

    Attributes:
        anchor: id of the verdict in the page.
        subject: what was judged.
        rest: how it came out.
        standing: why it blocks nothing, or "" where it blocks.
    """

    anchor: str
    subject: str
    rest: str
    standing: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.subject, self.rest, self.standing) if part)


@dataclass(frozen=True)
class Headline:
    """What a reader has to know before anything else.

    Attributes:
        word: ``BLOCKED``, ``MAY GO ON`` or ``NOT JUDGED``.
        sentence: in one sentence.
        blocked_by: all that blocks.
        beside: what did not pass and blocks nothing.
    """

    word: str
    sentence: str
    blocked_by: tuple[Sentence, ...]
    beside: tuple[Sentence, ...]


def gate_rows(results: Sequence[GateResult], questions: Mapping[str, str]) -> tuple[GateRow, ...]:
    """The gates in their order.

    Args:
        results: of the gates.
        questions: the question that each gate answers, by its name; may lack some.
    """
    taken: set[str] = set()
    rows = []
    for i, result in enumerate(results):
        # A dot stands in no such name, so the ids that are made of it (its verdicts', its heading's) are no gate's.
        anchor = "gate-" + re.sub(r"[^\w-]+", "-", result.gate)
        anchor = anchor if anchor not in taken else f"{anchor}.same.{i}"
        taken.add(anchor)
        question = questions.get(result.gate, "")
        rows.append(_gate_row(result, anchor, question[:1].upper() + question[1:]))
    return tuple(rows)


def headline(gates: Sequence[GateRow]) -> Headline:
    """May the model go on, and if not, why not."""
    blocking = [_sentence(gate.name, row) for gate in gates for row in gate.open if row.blocks]
    blocking += [Sentence(g.anchor, g.name, "gave no verdict at all.") for g in gates if not (g.open or g.passed)]
    beside = tuple(_sentence(gate.name, row) for gate in gates for row in gate.open if not row.blocks)
    checks = sum(len(gate.open) + len(gate.passed) for gate in gates)
    if not gates:
        return Headline("NOT JUDGED", "No gate has run, so nothing may go on.", (), ())
    if blocking:
        by = _listed([gate.name for gate in gates if gate.blocks])
        block = "blocks" if len(blocking) == 1 else "block"
        said = f"Stopped by {by}: {len(blocking):,} of {_many(checks, 'check')} {block}."
        return Headline("BLOCKED", said, tuple(blocking), beside)
    return Headline(
        "MAY GO ON", f"None of {_many(checks, 'check')} of {_many(len(gates), 'gate')} blocks it.", (), beside
    )


def _sentence(gate: str, row: VerdictRow) -> Sentence:
    m, t = row.verdict.measurement, row.verdict.threshold
    subject = gate if m.name in (gate, row.verdict.check) else f"{gate}: {m.name}"
    standing = "" if row.blocks else f"{_standing(row)}."
    if row.verdict.status is Status.ERROR:
        rest = f"could not be judged: {row.verdict.reason or 'no reason was given'}."
        return Sentence(row.anchor, subject, rest, standing)
    interval = f" {row.interval}" if row.interval else ""
    rest = "has no value" if row.value == "no value" else f"is {row.value}{interval}"
    limit = f", the limit is {row.limit}" if t else ""
    because = "; ".join(
        part for part in (m.detail, row.verdict.reason, _enough(row.verdict)) if part not in ("", "no value")
    )
    return Sentence(row.anchor, subject, f"{rest}{limit}{f' ({because})' if because else ''}.", standing)


def _gate_row(result: GateResult, anchor: str, question: str) -> GateRow:
    ordered = sorted(result.verdicts, key=_order)
    rows = [_verdict_row(verdict, f"{anchor}.{i + 1}") for i, verdict in enumerate(ordered)]
    return GateRow(
        anchor=anchor,
        name=result.gate.replace("_", " "),
        question=question,
        status=str(result.status),
        blocks=result.blocks,
        consequence=_consequence(result),
        seconds=f"{result.seconds:.1f} s",
        cached=result.cached,
        count=_count(rows),
        open=tuple(row for row in rows if row.verdict.status is not Status.PASS),
        passed=tuple(row for row in rows if row.verdict.status is Status.PASS),
    )


def _order(verdict: Verdict) -> tuple[bool, int, bool]:
    worst = [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS].index(verdict.status)
    return not verdict.blocks, worst, _only_shown(verdict)


def _verdict_row(verdict: Verdict, anchor: str) -> VerdictRow:
    m, t = verdict.measurement, verdict.threshold
    return VerdictRow(
        anchor=anchor,
        status="reported" if _only_shown(verdict) else str(verdict.status),
        blocks=verdict.blocks,
        name=m.name,
        value=number(m.value, m.unit),
        interval=_interval(m),
        limit=_limit(t, m.unit),
        n=f"{m.n:,} of {t.n_needed:,} needed" if t and m.n < t.n_needed and t.n_needed > 1 else f"{m.n:,}",
        notes=tuple(_notes(verdict)),
        waiver=verdict.waiver,
        verdict=verdict,
    )


def _only_shown(verdict: Verdict) -> bool:
    return verdict.status is Status.PASS and verdict.threshold is None and verdict.reason.startswith(ONLY_SHOWN)


def _interval(m: Measurement) -> str:
    if m.low is None or m.high is None or math.isnan(m.low) or math.isnan(m.high):
        return ""
    return f"[{number(m.low)}, {number(m.high)}]"


def _limit(threshold: Threshold | None, unit: str) -> str:
    if threshold is None:
        return ""
    by = ", by the interval" if threshold.use_interval else ""
    return f"{_SIGN[threshold.direction]} {number(threshold.limit, unit)}{by}"


def _notes(verdict: Verdict) -> list[str]:
    softened = verdict.status is not Status.PASS and verdict.severity is not Severity.BLOCK
    # What the value's own cell or the badge says already.
    shown = "" if verdict.reason in ("no value", ONLY_SHOWN) else verdict.reason
    notes = [verdict.measurement.detail, shown, _enough(verdict), _SOFTENED[verdict.severity] if softened else ""]
    return [note for note in notes if note]


def _enough(verdict: Verdict) -> str:
    return f"about {_round_up(verdict.enough):,} rows would be enough" if verdict.enough else ""


def _round_up(n: int) -> int:
    """Three digits say all that such an estimate knows."""
    step = int("1" + "0" * (len(str(n)) - 3)) if n >= 1000 else 1
    return math.ceil(n / step) * step


def _standing(row: VerdictRow) -> str:
    """Why a verdict that is no PASS blocks nothing."""
    return f"{row.status}, waived" if row.waiver else f"{row.status}, {_SOFTENED[row.verdict.severity]}"


def _consequence(result: GateResult) -> str:
    if result.blocks:
        return "blocks"
    missed = [v for v in result.verdicts if v.status is not Status.PASS]
    reasons = ["waived" for v in missed if v.waiver] + [_SOFTENED[v.severity] for v in missed if not v.waiver]
    return ", ".join(dict.fromkeys(reasons)) or "goes on"


def _count(rows: Sequence[VerdictRow]) -> str:
    counts = {
        word: sum(row.status == word for row in rows) for word in ("FAIL", "ERROR", "INCONCLUSIVE", "PASS", "reported")
    }
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n) or "no verdict"


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
