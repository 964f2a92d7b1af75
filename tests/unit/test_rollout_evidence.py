"""What is seen becomes verdicts: never a PASS without evidence, seldom a FAIL without a cause."""

from __future__ import annotations

import json
import math

import pytest

from rollout_world import World, make_plan
from sluiceway.config.deployment import MarginsSection, RollbackSection
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, TrafficDocument
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import run
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.plan import RolloutPlan


def arm(requests, errors=0, *, seconds=0.005):
    bucket = next(i for i, bound in enumerate(LATENCY_BOUNDS_SECONDS) if bound >= seconds)
    counts = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    counts[bucket] = requests
    return ArmSeen(requests, errors, tuple(counts))


def verdicts(*steps, pairs=Pairs(0, 0, 0, 0), whole=None, plan=None, **outcomes):
    seen = Observations(steps, pairs_step=pairs, pairs_rollout=whole or pairs, **outcomes)
    return {v.measurement.name: v for v in judge_step(plan or make_plan(), seen)}


def test_nothing_seen_is_never_a_pass():
    for steps in ([StepSeen(0.05)], [StepSeen(0.05), StepSeen(1.0)], [StepSeen(1.0)]):
        found = verdicts(*steps)
        assert {v.status for v in found.values()} == {Status.INCONCLUSIVE}
        json.dumps([v.to_dict() for v in found.values()], allow_nan=False)


def test_every_verdict_says_how_much_it_needs():
    found = verdicts(StepSeen(0.05, arm(100), arm(5)))
    assert found["error_rate"].threshold.n_needed >= 130
    # A third of 9 slow answers at 1 %: the first of three steps with a champion beside it.
    assert found["latency_p99"].threshold.n_needed == 300
    assert found["accuracy"].threshold.n_needed >= 100


@pytest.mark.parametrize(("n", "status"), [(299, Status.INCONCLUSIVE), (300, Status.PASS)])
def test_a_step_needs_its_share_of_the_latencies(n, status):
    assert verdicts(StepSeen(0.05, arm(2000), arm(n)))["latency_p99"].status is status


def test_the_whole_evidence_is_asked_for_before_full_weight():
    """Requests of all steps add up; with nothing slow or failed the last step with a champion beside it ends it."""
    early = [StepSeen(0.05, arm(3800), arm(200)), StepSeen(0.25, arm(600), arm(200))]
    few, enough = (verdicts(*early, StepSeen(0.5, arm(300), arm(n)))["latency_p99"] for n in (98, 99))
    assert (few.status, few.measurement.n, few.threshold.n_needed) == (Status.INCONCLUSIVE, 498, 499)
    assert enough.status is Status.PASS
    assert verdicts(*early, StepSeen(0.5, arm(300), arm(59)))["error_rate"].status is Status.INCONCLUSIVE
    assert verdicts(*early, StepSeen(0.5, arm(300), arm(60)))["error_rate"].status is Status.PASS
    # What failed early is not forgotten, though this step is good; in the earlier steps its share was enough.
    bad = [StepSeen(0.05, arm(3800, 19), arm(200, 4)), StepSeen(0.25, arm(600, 3), arm(200, 4))]
    assert verdicts(*bad)["error_rate"].status is Status.PASS
    late = verdicts(*bad, StepSeen(0.5, arm(100), arm(100)))["error_rate"]
    assert late.status is Status.INCONCLUSIVE
    assert late.measurement.high > 0.02
    assert late.threshold.n_needed > 500


def test_a_step_that_looks_worse_does_not_go_on():
    found = verdicts(StepSeen(0.05, arm(5000, 25), arm(200, 6)))["error_rate"]
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "in this step it is worse by more than the margin")


def test_at_full_weight_latency_is_judged_by_itself():
    early = [StepSeen(w, arm(4000), arm(400)) for w in (0.05, 0.25, 0.5)]
    found = verdicts(*early, StepSeen(1.0, ArmSeen(), arm(400)))
    assert found["error_rate"].status is Status.PASS
    assert found["latency_p99"].status is Status.INCONCLUSIVE
    assert verdicts(*early, StepSeen(1.0, ArmSeen(), arm(500)))["latency_p99"].status is Status.PASS


def test_whoever_was_sent_to_full_weight_too_early_may_still_show_it():
    early = StepSeen(0.05, arm(2000, 10), arm(100))
    assert verdicts(early, StepSeen(1.0, ArmSeen(), arm(100)))["error_rate"].status is Status.INCONCLUSIVE
    assert verdicts(early, StepSeen(1.0, ArmSeen(), arm(400, 2)))["error_rate"].status is Status.PASS


def test_latency_within_ratio_and_hop_passes_and_beyond_fails():
    assert verdicts(StepSeen(0.5, arm(2000), arm(2000, seconds=0.04)))["latency_p99"].status is Status.PASS
    assert verdicts(StepSeen(0.5, arm(2000), arm(2000, seconds=0.2)))["latency_p99"].status is Status.FAIL


def test_a_cold_start_is_not_a_slow_model():
    challenger = arm(8, seconds=0.5) + arm(292)
    assert verdicts(StepSeen(0.05, arm(6000), challenger))["latency_p99"].status is Status.INCONCLUSIVE


def test_at_full_weight_the_earlier_steps_are_compared_with():
    steps = (StepSeen(0.5, arm(2000), arm(2000)), StepSeen(1.0, ArmSeen(), arm(2000)))
    found = verdicts(*steps)
    for metric in ("error_rate", "latency_p99"):
        assert found[metric].status is Status.PASS
        assert "in the earlier steps" in found[metric].measurement.detail
    worse = verdicts(steps[0], StepSeen(1.0, ArmSeen(), arm(2000, 200)))
    assert worse["error_rate"].status is Status.FAIL


def test_few_failures_within_the_margin_do_not_send_back():
    assert verdicts(StepSeen(0.5, arm(3000), arm(3000, 20)))["error_rate"].status is Status.PASS


def test_accuracy_by_how_certain_and_how_large():
    def status(pairs, **changes):
        return verdicts(StepSeen(0.05), pairs=pairs, plan=make_plan(**changes), outcomes=pairs.n)["accuracy"].status

    assert status(Pairs(1920, 40, 40, 0)) is Status.PASS
    assert status(Pairs(1860, 110, 30, 0)) is Status.FAIL
    # Certainly worse, by one point: within the margin, so it does not go back.
    assert status(Pairs(9800, 150, 50, 0)) is Status.PASS
    # The same fall, where the trigger is tighter than the margin.
    assert status(Pairs(9800, 150, 50, 0), rollback=RollbackSection(trigger="accuracy_drop > 0.5%")) is Status.FAIL
    # Three points on 60 pairs: too few, whatever they say.
    assert status(Pairs(50, 10, 0, 0), margins=MarginsSection(min_pairs=100)) is Status.INCONCLUSIVE


@pytest.mark.parametrize(("lost", "status"), [(20, Status.PASS), (21, Status.INCONCLUSIVE)])
def test_lost_predictions_make_accuracy_inconclusive(lost, status):
    found = verdicts(StepSeen(0.5), pairs=Pairs(1920, 40, 40, 0), outcomes=2000, outcomes_lost=lost)
    assert found["accuracy"].status is status
    worse = verdicts(StepSeen(0.5), pairs=Pairs(1700, 300, 0, 0), outcomes=2000, outcomes_lost=21)
    assert worse["accuracy"].status is Status.INCONCLUSIVE


def test_two_that_are_never_right_are_no_evidence():
    """As with a regression, whose predictions never equal their outcomes."""
    found = verdicts(StepSeen(0.5), pairs=Pairs(0, 0, 0, 2000), outcomes=2000)["accuracy"]
    assert found.status is Status.INCONCLUSIVE
    assert "equals its outcome" in found.reason
    # Seldom right is something to judge by.
    assert verdicts(StepSeen(0.5), pairs=Pairs(2, 1, 1, 1996), outcomes=2000)["accuracy"].status is Status.PASS


def test_a_challenger_that_is_no_worse_seldom_goes_back():
    """100 rollouts of a good challenger where both arms fail now and then, looked at every eight seconds.

    rollback_alpha is 0.01: 5 or more of 100 would happen once in 300 times, if it were that high at all.
    """
    ended = []
    for seed in range(100):
        world = World(errors=(0.003, 0.003), wrong=(0.012, 0.012), seed=seed)
        world.documents.publish(TrafficDocument("flights", 1, make_plan().champion))
        outcome = run(make_plan(), world.doors(), poll_seconds=8)
        ended.append((outcome.status, outcome.cause))
    assert sum(cause is not None for _, cause in ended) < 5
    assert sum(status == "promoted" for status, _ in ended) > 94


def test_the_plan_survives_the_catalog():
    plan = make_plan()
    assert RolloutPlan.from_json(plan.to_json()) == plan
    assert RolloutPlan.from_json(make_plan(champion=None).to_json()).champion is None


def test_plans_that_make_no_sense():
    with pytest.raises(InputError, match="already"):
        make_plan(version="1")
    with pytest.raises(InputError, match="application"):
        make_plan(application="")
    with pytest.raises(InputError, match="rise"):
        make_plan(steps=({"weight": 0.5}, {"weight": 0.1}, {"weight": 1.0}))


def test_the_documents_of_a_plan():
    plan = make_plan()
    document = plan.step_document(1, generation=4)
    assert (document.champion.weight, document.challengers[0].weight) == (0.75, 0.25)
    assert document.challengers[0].application == "flights-challenger-2"
    assert plan.promoted_document(generation=5).champion.application == ""
    assert plan.rolled_back_document(generation=5).champion == plan.champion
    assert math.isclose(document.champion.weight + document.challengers[0].weight, 1)
    with pytest.raises(InputError):
        make_plan(champion=None).rolled_back_document(generation=5)
