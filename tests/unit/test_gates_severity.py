"""What comes of a verdict: severity, dry run, what to do without enough rows, and who lets a failed check pass."""

from __future__ import annotations

from datetime import date

import pytest

from sluiceway.config.evaluation import WaiverSection
from sluiceway.config.gates import GateSection
from sluiceway.core.verdict import GateResult, Measurement, Severity, Status, Verdict
from sluiceway.gates.severity import settled
from sluiceway.gates.waivers import apply

LAST_DAY = date(2026, 3, 31)


def verdict(status=Status.FAIL, name="x", **further):
    return Verdict("fairness", status, Measurement(name, 1.0, 10), **further)


def failed(gate, *verdicts):
    return GateResult(gate, verdicts or (verdict(),))


def waiver(gate, expires=LAST_DAY, **further):
    return WaiverSection(gates=(gate,), owner="Ada", reason="a drill", expires=expires, **further)


@pytest.mark.parametrize(
    ("section", "blocking"),
    [
        ({}, {Status.FAIL, Status.INCONCLUSIVE, Status.ERROR}),
        ({"severity": "warn"}, {Status.ERROR}),
        ({"severity": "info"}, {Status.ERROR}),
        ({"on_inconclusive": "warn"}, {Status.FAIL, Status.ERROR}),
        ({"dry_run": True}, set()),
    ],
)
def test_what_blocks_under_a_section(section, blocking):
    found = settled([verdict(status) for status in Status], GateSection(**section))
    assert {one.status for one in found if one.blocks} == blocking
    assert [one.status for one in found] == list(Status)


def test_the_line_says_that_a_failed_check_does_not_block():
    (warned,) = settled([verdict()], GateSection(severity="warn"))
    assert "-> FAIL (warn only)" in warned.line()
    (tried,) = settled([verdict(reason="too high")], GateSection(dry_run=True))
    assert "-> FAIL (info only); too high; dry run" in tried.line()
    (passed,) = settled([verdict(Status.PASS)], GateSection(severity="warn"))
    assert passed.line().endswith("-> PASS")


def test_a_check_that_a_gate_has_made_milder_is_not_made_harder():
    (found,) = settled([verdict(severity=Severity.INFO)], GateSection(severity="warn"))
    assert found.severity is Severity.INFO


def test_a_waiver_counts_to_its_last_day_for_its_gate():
    results = [failed("performance"), failed("fairness")]
    waived = apply(results, [waiver("performance")], today=LAST_DAY)
    assert waived[0].waivers == ("Ada: a drill (until 2026-03-31)",)
    assert not waived[0].blocks
    assert waived[0].status is Status.FAIL
    assert "WAIVED by Ada: a drill (until 2026-03-31)" in waived[0].verdicts[0].line()
    assert waived[1].blocks


def test_a_waiver_for_one_check_leaves_the_others():
    both = failed("fairness", verdict(name="age AUC gap"), verdict(name="gender AUC gap"))
    (found,) = apply([both], [waiver("fairness", checks=("age *",))], today=LAST_DAY)
    assert found.blocks
    assert [bool(one.waiver) for one in found.verdicts] == [True, False]


def test_an_expired_waiver_blocks_and_the_longest_one_counts():
    (late,) = apply([failed("performance")], [waiver("performance")], today=date(2026, 4, 1))
    assert late.blocks
    assert "the waiver of Ada expired on 2026-03-31" in late.verdicts[0].reason
    two = [waiver("performance"), waiver("performance", expires=date(2026, 5, 1))]
    (found,) = apply([failed("performance")], two, today=date(2026, 4, 1))
    assert not found.blocks


def test_an_error_cannot_be_waived_and_a_pass_needs_no_waiver():
    (error,) = apply([failed("performance", verdict(Status.ERROR))], [waiver("performance")], today=LAST_DAY)
    assert error.blocks
    assert "cannot be waived" in error.verdicts[0].reason
    (passed,) = apply([failed("performance", verdict(Status.PASS))], [waiver("performance")], today=LAST_DAY)
    assert passed.waivers == ()
