"""Score shift, loss and what answers are worth: when they let go on, when they send back, and when they say nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from rollout_world import arm_seen, make_plan
from sluiceway.config.deployment import DeploymentSection, MarginsSection
from sluiceway.core.errors import InputError
from sluiceway.core.moments import Moments
from sluiceway.core.pairs import Scores
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.decide import Advance, RollBack, decide
from sluiceway.rollout.evidence import Observations, StepSeen, rollback_alpha
from sluiceway.rollout.forecast import Traffic, forecast
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

STEP = StepSeen(0.5, arm_seen(3000), arm_seen(3000))
GOOD = Pairs(2900, 20, 20, 60)
VALUES = {"low": 0.0, "high": 10.0}


def moments(values):
    return Moments(len(values), float(np.sum(values)), float(np.sum(np.square(values))))


def around(mean, n, *, sd=0.05, seed=0):
    return moments(mean + np.random.default_rng(seed).uniform(-1, 1, n) * sd)


def paired(step, rollout=None):
    return PairedMoments(step, rollout or step)


def planned(scores=Scores(), **margins):
    return make_plan(margins=MarginsSection(**margins), scores=scores, steps=({"weight": 0.5}, {"weight": 1.0}))


def verdict(plan, name, **seen):
    found = judge_step(plan, Observations((STEP,), GOOD, GOOD, **seen))
    assert tuple(one.measurement.name for one in found) == plan.metrics
    json.dumps([one.to_dict() for one in found], allow_nan=False)
    return next(one for one in found if one.measurement.name == name)


def test_only_what_is_configured_is_judged_and_shares_the_chance_of_an_alarm():
    assert make_plan().metrics == ("error_rate", "latency_p99", "accuracy")
    every = planned(score_shift=0.1, loss=0.1, business={**VALUES, "absolute": 1.0})
    assert every.metrics == ("error_rate", "latency_p99", "accuracy", "score_shift", "loss", "business")
    for plan in (make_plan(), planned(loss=0.1), every):
        assert rollback_alpha(plan) * len(plan.metrics) == pytest.approx(plan.margins.rollback_alpha)


def test_a_regression_is_judged_by_its_loss_where_it_has_a_margin():
    scores = Scores("regression", 12.0)
    assert planned(scores, loss=0.1).metrics == ("error_rate", "latency_p99", "loss")
    assert "accuracy" in planned(scores).metrics  # which says nothing, and so lets nothing go on


@pytest.mark.parametrize("name", ["score_shift", "loss"])
def test_a_mean_over_pairs(name):
    plan = planned(**{name: 0.2})

    def status(step, rollout=None, **more):
        return verdict(plan, name, **{name: paired(step, rollout)}, **more).status

    assert verdict(plan, name).status is Status.INCONCLUSIVE  # nothing was counted
    assert status(Moments()) is Status.INCONCLUSIVE
    assert status(around(0.05, 3000)) is Status.PASS
    assert status(around(0.05, 99)) is Status.INCONCLUSIVE  # min_pairs
    assert status(around(0.4, 3000)) is Status.FAIL
    assert status(around(0.4, 99)) is Status.INCONCLUSIVE
    assert status(around(0.199, 3000)) is Status.INCONCLUSIVE
    # What lets go on is this step, what sends back the whole rollout.
    assert status(Moments(), around(0.05, 3000)) is Status.INCONCLUSIVE
    assert status(around(0.05, 3000), around(0.4, 30_000)) is Status.FAIL


def test_how_many_pairs_would_be_enough_is_told_where_any_number_is():
    plan = planned(loss=0.2)
    near = verdict(plan, "loss", loss=paired(around(0.1, 300, sd=1.0)))
    assert near.status is Status.INCONCLUSIVE
    assert near.enough > 300
    beyond = verdict(plan, "loss", loss=paired(around(0.25, 120, sd=1.0)))
    assert (beyond.status, beyond.enough) == (Status.INCONCLUSIVE, None)


def test_lost_predictions_make_outcomes_no_evidence_and_scores_need_none():
    plan = planned(score_shift=0.2, loss=0.2, business={**VALUES, "absolute": 1.0})
    lost = {"outcomes": 1000, "outcomes_lost": 11}
    bad = paired(around(0.9, 3000))
    worse = ValuesSeen(0.0, 10.0, (around(8, 3000),), (around(2, 3000),))
    assert verdict(plan, "score_shift", score_shift=bad, **lost).status is Status.FAIL
    assert verdict(plan, "loss", loss=bad, **lost).status is Status.INCONCLUSIVE
    assert verdict(plan, "business", business=worse, **lost).status is Status.INCONCLUSIVE
    assert verdict(plan, "business", business=worse).status is Status.FAIL


@pytest.mark.parametrize("margin", [{"absolute": 1.0}, {"relative": 0.2}])
def test_what_answers_are_worth(margin):
    plan = planned(business={**VALUES, **margin})

    def status(champion, challenger):
        return verdict(plan, "business", business=ValuesSeen(0.0, 10.0, (champion,), (challenger,))).status

    def spread(mean, n, seed=0):
        return around(mean, n, sd=2.0, seed=seed)

    assert verdict(plan, "business").status is Status.INCONCLUSIVE
    assert status(Moments(), Moments()) is Status.INCONCLUSIVE
    assert status(spread(5, 3000), spread(5, 3000, 1)) is Status.PASS
    assert status(spread(5, 3000), spread(3, 3000, 1)) is Status.FAIL
    assert status(spread(5, 3000), spread(3, 99, 1)) is Status.INCONCLUSIVE
    assert status(spread(5, 99), spread(5, 3000, 1)) is Status.INCONCLUSIVE
    assert status(spread(5, 3000), spread(4, 3000, 1)) is Status.INCONCLUSIVE


def test_at_full_weight_values_are_compared_with_the_earlier_steps_and_only_let_go_on():
    plan = planned(business={**VALUES, "absolute": 1.0})
    good, bad = around(5, 3000, sd=2.0), around(2, 3000, sd=2.0, seed=1)

    def status(challenger, last):
        seen = ValuesSeen(0.0, 10.0, (good, Moments()), (challenger, last))
        steps = (STEP, replace(STEP, weight=1.0, champion=arm_seen(0)))
        found = judge_step(plan, Observations(steps, GOOD, GOOD, business=seen))[-1]
        assert "in the earlier steps" in found.measurement.detail
        return found.status

    assert status(good, good) is Status.PASS
    assert status(good, bad) is Status.INCONCLUSIVE
    assert status(bad, good) is Status.FAIL  # values of the steps before that came late


def test_values_that_fall_for_both_arms_from_step_to_step_are_no_reason_to_go_back():
    """The challenger has most of its answers in the later steps: added up over all steps it would look much worse."""
    plan = make_plan(margins=MarginsSection(business={**VALUES, "absolute": 0.5}))
    sizes = ((5700, 300, 8.0), (3000, 1000, 5.0), (2000, 2000, 2.0))
    champion = tuple(around(mean, n, sd=1.0, seed=1) for n, _, mean in sizes)
    challenger = tuple(around(mean, n, sd=1.0, seed=2) for _, n, mean in sizes)
    whole = sum(challenger, Moments()).mean - sum(champion, Moments()).mean
    assert whole < -2
    steps = tuple(StepSeen(weight, arm_seen(3000), arm_seen(3000)) for weight in (0.05, 0.25, 0.5))
    seen = Observations(steps, GOOD, GOOD, business=ValuesSeen(0.0, 10.0, champion, challenger))
    assert judge_step(plan, seen)[-1].status is Status.PASS


def test_a_good_version_goes_on_and_one_worth_less_goes_back():
    plan = planned(business={**VALUES, "absolute": 1.0})
    state = RolloutState(Phase.STEP, 0, 2, since=0.0, generations=(2,))

    def action(mean):
        values = ValuesSeen(0.0, 10.0, (around(5, 3000),), (around(mean, 3000, seed=1),))
        seen = Observations((STEP,), GOOD, GOOD, business=values)
        return decide(plan, state=state, observations=seen, now=10.0).action

    assert isinstance(action(5), Advance)
    back = action(3)
    assert isinstance(back, RollBack)
    assert back.cause == "business"
    dry = replace(plan, dry_run=("business",))
    seen = Observations((STEP,), GOOD, GOOD, business=ValuesSeen(0.0, 10.0, (around(5, 3000),), (around(3, 3000),)))
    assert isinstance(decide(dry, state=state, observations=seen, now=10.0).action, Advance)


def test_values_and_losses_that_come_after_the_promotion_undo_it():
    plan = replace(planned(loss=0.2, business={**VALUES, "absolute": 1.0}), probation_seconds=600.0)
    state = RolloutState(Phase.PROBATION, 1, 4, since=0.0, generations=(2, 3))
    steps = (STEP, StepSeen(1.0, challenger=arm_seen(3000)))
    good = {"loss": paired(around(0.0, 3000)), "business": values_of(5)}
    for cause, bad in (("loss", {"loss": paired(around(0.5, 3000))}), ("business", {"business": values_of(2)})):
        seen = Observations(steps, GOOD, GOOD, **{**good, **bad})
        action = decide(plan, state=state, observations=seen, now=10.0).action
        assert isinstance(action, RollBack)
        assert action.cause == cause


def values_of(mean):
    return ValuesSeen(0.0, 10.0, (around(5, 3000), Moments()), (around(mean, 3000, seed=1), Moments()))


def test_the_chance_of_any_alarm_stays_below_rollback_alpha():
    """Good rollouts at the margin of every mean, looked at ten times each; all errors of the metrics together.

    rollback_alpha is 0.1: more than 10 of 40 would come once in 1,000 times.
    """
    plan = planned(rollback_alpha=0.1, score_shift=0.1, loss=0.1, business={**VALUES, "absolute": 1.0})
    rng, alarms = np.random.default_rng(8), 0
    for _ in range(40):
        shift, loss = rng.random(2000) * 0.2, 0.1 + rng.normal(0, 0.3, 2000).clip(-1, 1)
        champion, challenger = rng.random(2000) * 10, rng.random(2000) * 8
        alarmed = False
        for k in range(200, 2001, 200):
            values = ValuesSeen(0.0, 10.0, (moments(champion[:k]),), (moments(challenger[:k]),))
            means = {"score_shift": paired(moments(shift[:k])), "loss": paired(moments(loss[:k])), "business": values}
            found = judge_step(plan, Observations((STEP,), GOOD, GOOD, **means))
            alarmed |= any(one.status is Status.FAIL for one in found)
        alarms += alarmed
    assert alarms <= 10


def test_the_plan_survives_the_catalog_and_one_of_before_is_read():
    plan = planned(Scores("regression", 12.5), loss=0.1, business={**VALUES, "relative": 0.1})
    assert RolloutPlan.from_json(plan.to_json()) == plan
    body = json.loads(make_plan().to_json())
    del body["scores"]
    for name in ("score_shift", "loss", "scale", "business"):
        del body["margins"][name]
    assert RolloutPlan.from_json(json.dumps(body)) == make_plan()


def test_a_shift_that_no_two_scores_can_have_is_refused():
    assert planned(Scores("regression"), score_shift=1.5).metrics[-1] == "score_shift"
    with pytest.raises(InputError, match="no two scores of a binary model are farther apart than 1"):
        planned(score_shift=1.5)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"margins": {"business": {**VALUES}}}, "one of absolute and relative"),
        ({"margins": {"business": {**VALUES, "absolute": 1, "relative": 0.1}}}, "one of absolute and relative"),
        ({"margins": {"business": {"low": 5, "high": 5, "absolute": 1}}}, "not below high"),
        ({"margins": {"business": {"low": -5, "high": 5, "relative": 0.1}}}, "values of 0 or more"),
        ({"margins": {"business": {**VALUES, "absolute": 10}}}, "allows everything"),
        ({"dry_run": ["loss"]}, "not measured without margins.loss"),
    ],
)
def test_margins_that_make_no_sense_are_refused(section, said):
    with pytest.raises(ValidationError, match=said):
        DeploymentSection(**section)


def test_a_plan_says_what_the_means_need():
    margins = MarginsSection(score_shift=0.1, loss=0.1, business={**VALUES, "absolute": 0.5})
    slow, fast = (forecast(planned().steps, margins, Traffic(100.0, outcomes=share))[0] for share in (0.1, 1.0))
    assert all(slow.needs[name] >= 100 for name in ("score_shift", "loss", "business"))
    assert slow.needs == fast.needs
    assert slow.seconds > fast.seconds
    assert "business" not in forecast(planned().steps, margins, Traffic(1.0), without=("business",))[0].needs
