"""``rollout explain``: each sentence is true of the counts that the rollout was judged on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout_world import STRATEGIES, World, arm_seen, make_plan, plan_of
from sluiceway.config.deployment import LimitsSection, MarginsSection, RollbackSection
from sluiceway.core.command import Order
from sluiceway.core.moments import Moments
from sluiceway.core.traffic import Arm
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import run
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.explain import explain
from sluiceway.rollout.explain_metric import story_of
from sluiceway.rollout.journal import Entry, Journal
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.looks import read
from sluiceway.rollout.means_seen import PairedMoments
from sluiceway.rollout.missing import allowed, distance, more_needed
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.rollout.told import Told
from sluiceway.rollout.what_next import what_next


def told(world, *, runner="box:1:2"):
    journal = Journal.open(world.rollouts, "r1")
    return explain(journal.plan, journal.entries, read(world.rollouts, "r1"), now=world.time + 30, runner=runner)


def ended(plan=None, **qualities):
    world = World.served(**qualities)
    run(plan or make_plan(), world.doors(), poll_seconds=1)
    return told(world)


def everything(found):
    return "\n".join([found.headline, *(h.told for h in found.happened), *found.waits, *found.next])


def test_a_promotion_is_told_step_by_step_with_what_passed_on_how_much():
    found = ended()
    assert found.headline == "Version 2 of flights for flights in place of version 1 is promoted."
    sentences = [happening.told for happening in found.happened]
    assert sentences[0] == "It began with 5% of the requests."
    assert [text.split(" s it ")[1].partition(" of ")[0] for text in sentences[1:4]] == [
        "went on to 25%",
        "went on to 50%",
        "went on to 100%",
    ]
    assert sentences[-2].endswith("it was promoted: every metric passed at 100%.")
    assert found.waits == ()
    for happening in found.happened[1:5]:
        assert [metric.metric for metric in happening.metrics] == ["error_rate", "latency_p99", "accuracy"]
        for metric in happening.metrics:
            assert metric.status == "PASS"
            assert metric.n >= metric.n_needed
            assert metric.distance >= 0
            # Before the last step with a champion beside it each has a share of the evidence to show.
            assert "decided by the test that it is no worse" in metric.told or "share of the evidence" in metric.told
    tested = [metric.test for happening in found.happened[3:4] for metric in happening.metrics]
    assert all(test.startswith("the test that it is no worse") for test in tested), tested
    assert found.next == ("Nothing. Should it turn out bad: sluiceway rollout undo flights",)


def test_a_rollback_says_which_test_decided_and_with_how_many_errors_it_would_have_stayed():
    found = ended(errors=(0.0, 0.33))
    assert found.headline.endswith("is rolled back because of error_rate.")
    (failed,) = [metric for happening in found.happened for metric in happening.metrics if metric.status == "FAIL"]
    assert failed.test.startswith("the test over the whole rollout")
    assert failed.distance < -0.1
    assert f"with {failed.allowed:,} of them failed or fewer it would not have gone back" in failed.told
    assert "Nothing at once: version 1 answers all requests." in found.next


def test_a_deadline_says_how_many_more_requests_would_have_done():
    plan = make_plan(steps=({"weight": 0.5, "max_seconds": 20}, {"weight": 1.0}))
    found = ended(plan, rate=10)
    assert "not enough evidence after 20 s" in everything(found)
    missing = [m for h in found.happened for m in h.metrics if m.status == "INCONCLUSIVE"]
    assert missing
    for metric in missing:
        assert metric.more > 0
        assert f"about {metric.more:,} more" in metric.told
    assert any("need more time (max_seconds) or traffic" in line for line in found.next)


def counts(challenger, champion=None, pairs=None):
    return Observations(
        steps=(StepSeen(0.5, champion or arm_seen(20_000, 20), challenger),),
        pairs_step=pairs or Pairs(960, 20, 20, 0),
        pairs_rollout=pairs or Pairs(960, 20, 20, 0),
        outcomes=1000,
    )


def verdict_of(plan, seen, name):
    return next(v for v in (*judge_step(plan, seen), *judge_limits(plan, seen)) if v.measurement.name == name)


@pytest.mark.parametrize(("requests", "errors"), [(60, 0), (80, 1), (100, 2), (30, 0)])
def test_so_many_more_requests_are_enough_and_a_tenth_fewer_are_not(requests, errors):
    plan, seen = make_plan(), counts(arm_seen(requests, errors))
    verdict = verdict_of(plan, seen, "error_rate")
    assert verdict.status is Status.INCONCLUSIVE
    more = more_needed(plan, seen, verdict)
    for share, status in ((1.0, Status.PASS), (0.9, Status.INCONCLUSIVE)):
        factor = (requests + more * share) / requests
        champion = arm_seen(round(20_000 * factor), round(20 * factor))
        grown = counts(arm_seen(round(requests * factor), round(errors * factor)), champion)
        assert verdict_of(plan, grown, "error_rate").status is status, share


def test_a_value_beyond_its_limit_is_helped_by_no_number_of_requests():
    plan, seen = make_plan(), counts(arm_seen(60, 3))
    verdict = verdict_of(plan, seen, "error_rate")
    assert verdict.status is Status.INCONCLUSIVE
    assert more_needed(plan, seen, verdict) is None
    assert "no number of them will do" in story_of(plan, verdict, seen).told


def test_without_a_request_it_is_the_least_that_is_told():
    plan, seen = make_plan(), counts(arm_seen(0))
    verdict = verdict_of(plan, seen, "error_rate")
    assert more_needed(plan, seen, verdict) == verdict.threshold.n_needed
    assert f"about {verdict.threshold.n_needed:,} more requests" in story_of(plan, verdict, seen).told


def test_of_what_none_was_measured_no_growth_makes_any():
    plan, seen = make_plan(), counts(arm_seen(60, latency=tuple([0] * 97)))
    verdict = verdict_of(plan, seen, "latency_p99")
    assert (verdict.measurement.n, verdict.status) == (0, Status.INCONCLUSIVE)
    assert more_needed(plan, seen, verdict) is None


@pytest.mark.parametrize(("requests", "errors"), [(400, 60), (2000, 300)])
def test_one_error_more_than_allowed_goes_back(requests, errors):
    plan, seen = make_plan(), counts(arm_seen(requests, errors))
    verdict = verdict_of(plan, seen, "error_rate")
    assert verdict.status is Status.FAIL
    most = allowed(plan, seen, verdict)
    assert verdict_of(plan, counts(arm_seen(requests, most)), "error_rate").status is not Status.FAIL
    assert verdict_of(plan, counts(arm_seen(requests, most + 1)), "error_rate").status is Status.FAIL


def test_one_lost_decision_more_than_allowed_goes_back():
    plan, seen = make_plan(), counts(arm_seen(2000), pairs=Pairs(700, 200, 20, 80))
    verdict = verdict_of(plan, seen, "accuracy")
    assert verdict.status is Status.FAIL
    most = allowed(plan, seen, verdict)
    for lost, fails in ((most, False), (most + 1, True)):
        changed = counts(arm_seen(2000), pairs=Pairs(900 - lost, lost, 20, 80))
        assert (verdict_of(plan, changed, "accuracy").status is Status.FAIL) == fails
    assert f"with {most:,} of them lost to the champion or fewer" in story_of(plan, verdict, seen).told


@pytest.mark.parametrize(
    ("limits", "name", "most"),
    [({"error_rate": 0.02}, "error_rate_limit", 40), ({"total_errors": 7}, "total_errors", 7)],
)
def test_fixed_limits_say_so(limits, name, most):
    plan, seen = make_plan(limits=LimitsSection(**limits)), counts(arm_seen(2000, 50))
    verdict = verdict_of(plan, seen, name)
    story = story_of(plan, verdict, seen)
    assert (story.test, story.allowed) == ("its fixed limit", most)
    assert distance(verdict) < 0


def paused_or_running(*said, at):
    """A rollout whose controller dies at a time."""

    class Stops(World):
        def sleep(self, seconds):
            super().sleep(seconds)
            for moment, order in said:
                if self.time - seconds < moment <= self.time:
                    self.rollouts.command("r1", order, reason="lunch", now=self.time)
            if self.time >= at:
                raise KeyboardInterrupt

    world = Stops.served(rate=20)
    with pytest.raises(KeyboardInterrupt):
        run(make_plan(), replace(world.doors(), stays=True), poll_seconds=1)
    return world


def test_a_running_one_says_what_it_waits_for_and_until_when():
    found = told(paused_or_running(at=2060))
    assert found.headline.endswith("gets 5% of the requests and is judged on them.")
    assert found.waits[0].startswith("Seen at 1970-01-01 00:3")
    assert found.waits[1] == (
        "Without enough evidence by 1970-01-01 00:43:20 UTC, in 510 s, the champion takes over again."
    )
    errors = found.metrics[0]
    assert (errors.metric, errors.status) == ("error_rate", "INCONCLUSIVE")
    assert errors.more > 0
    assert "s at the present pace" in errors.told
    assert found.next[0] == "Watch it: sluiceway rollout watch r1"
    assert told(paused_or_running(at=2060), runner=None).next[0].startswith("Nobody runs it")


@pytest.mark.parametrize(
    ("policy", "enabled", "manual", "then"),
    [
        ("rollback", True, False, "the champion takes over again"),
        ("rollback", False, False, "it pauses for a person"),
        ("pause", False, False, "it pauses for a person"),
        ("hold", False, False, "it waits on"),
        ("continue", False, False, "it goes on all the same"),
        ("rollback", True, True, "it pauses for a person"),
        ("hold", True, True, "it waits on"),
        ("continue", True, True, "it pauses for a person"),
    ],
)
def test_what_a_deadline_leads_to_is_told_as_it_is_decided(policy, enabled, manual, then):
    steps = ({"weight": 0.5, "manual": manual}, {"weight": 1.0})
    plan = make_plan(steps=steps, on_inconclusive=policy, rollback=RollbackSection(enabled=enabled))
    state = RolloutState(Phase.STEP, 0, 2, since=2000.0, generations=(2,))
    entry = Entry(1, state, "advance to step 0", {}, 2000.0)
    assert explain(plan, [entry], (), now=2010.0, runner="x").waits[-1].endswith(f", {then}.")


def test_a_paused_one_says_who_paused_it_and_how_to_go_on():
    found = told(paused_or_running((2005, Order.PAUSE), (2010, Order.PAUSE), at=2060))
    assert "is paused at 5%" in found.headline
    assert found.waits == ("It waits for a person since 1970-01-01 00:33:25 UTC: paused by ann: lunch.",)
    assert "What it was told was refused: pause by ann: lunch is refused: it is paused already." in everything(found)
    assert [line.rpartition(": ")[2] for line in found.next] == [
        "sluiceway rollout resume r1",
        "sluiceway rollout abort r1",
        "sluiceway rollout promote r1",
    ]


def test_one_that_has_not_begun_or_has_no_looks_is_told_as_far_as_it_goes():
    world = World.served()
    Journal.begin(world.rollouts, make_plan())
    assert "has not begun" in told(world).headline
    world = World.served(errors=(0.0, 0.33))
    run(make_plan(), world.doors(), poll_seconds=1)
    journal = Journal.open(world.rollouts, "r1")
    found = explain(journal.plan, journal.entries, (), now=world.time, runner=None)  # by a release without looks
    failed = next(metric for h in found.happened for metric in h.metrics if metric.status == "FAIL")
    assert failed.allowed is None
    assert "decided by the test over the whole rollout" in failed.told


def test_a_probation_says_when_it_ends():
    class Stops(World):
        def sleep(self, seconds):
            super().sleep(seconds)
            if self.rollouts.entries["r1"] and '"probation"' in self.rollouts.entries["r1"][-1].state:
                self.stopping = getattr(self, "stopping", 0) + 1
                if self.stopping == 10:
                    raise KeyboardInterrupt

    world = Stops.served()
    with pytest.raises(KeyboardInterrupt):
        run(make_plan(probation_seconds=600.0), world.doors(), poll_seconds=1)
    found = told(world)
    assert found.headline.endswith("is promoted, on probation.")
    assert "then the promotion stands" in found.waits[-1]
    assert found.metrics[0].metric == "accuracy"


def test_a_probation_in_which_something_failed_says_who_it_waits_for():
    steps = tuple({"weight": weight, "max_seconds": 20} for weight in (0.5, 1.0))
    kept = {"steps": steps, "on_inconclusive": "continue", "rollback": RollbackSection(enabled=False)}
    world = World.served(delay=120.0, wrong=(0.06, 0.02))
    run(make_plan(probation_seconds=600.0, **kept), world.doors(), poll_seconds=1)
    found = told(world)
    assert found.headline.endswith("is promoted, on probation, and waits for a person.")
    assert found.happened[-1].told.endswith("its probation was paused: rollback is disabled: after the promotion.")
    assert found.waits[0].startswith("It waits for a person since")
    assert [line.rpartition(": ")[2] for line in found.next if "Nobody" not in line] == [
        "sluiceway rollout resume r1",
        "sluiceway rollout abort r1",
        "sluiceway rollout promote r1",
    ]


def test_a_step_that_waits_for_a_person_says_so():
    class Stops(World):
        def sleep(self, seconds):
            super().sleep(seconds)
            if self.time > 2100:
                raise KeyboardInterrupt

    world = Stops.served()
    with pytest.raises(KeyboardInterrupt):
        run(make_plan(steps=({"weight": 0.5, "manual": True}, {"weight": 1.0})), world.doors(), poll_seconds=1)
    found = told(world)
    assert found.waits[1] == "Every metric passed at 50%; it waits for `sluiceway rollout promote r1`."
    assert {metric.status for metric in found.metrics} == {"PASS"}


def test_a_shadow_and_a_switch_are_told_as_what_they_are():
    found = ended(plan_of(STRATEGIES["shadow, canary"]))
    assert found.happened[0].told == "It began with a copy of 20% of the requests."
    found = ended(plan_of(STRATEGIES["blue/green"]))
    sentences = [happening.told for happening in found.happened]
    assert sentences[0] == "It began with no requests and is kept warm."
    assert "it went on to 100% of the requests" in sentences[1]
    (enough,) = found.happened[1].metrics
    assert (enough.metric, enough.test) == ("champion_requests", "its fixed limit")
    assert "requests of the champion" in enough.told


def test_intervals_that_failed_are_told():
    found = ended(plan_of(STRATEGIES["at most 2 failures"]), outcomes=False)
    sentences = [happening.told for happening in found.happened]
    assert "it waited on: interval 1 at 50% has failed, 1 of 2." in sentences[1]
    assert "it was sent back: not enough evidence after 3 intervals that failed at 50%." in sentences[3]


def test_a_test_of_several_versions_is_told_for_each():
    """Counts of two versions, of which the second one fails."""
    others = (Arm("3", 0.0, "bundles/3", "d3", "flights-challenger-3"),)
    plan = plan_of({"strategy": "ab", "ab": {"weight": 0.2, "min_seconds": 60}}, others=others)

    class Two(World):
        def observe(self, plan, state):
            seen = super().observe(plan, replace(state, generations=state.generations[:1]))
            n = seen.steps[0].challenger.requests
            other = replace(seen.steps[0], challenger=arm_seen(n, n // 3))
            return replace(seen, others=(replace(seen, steps=(other,)),))

    world = Two.served()
    run(plan, world.doors(), poll_seconds=30)
    found = told(world)
    assert found.headline.startswith("The A/B test of versions 2, 3 of flights for flights in place of version 1 is")
    assert "a version got no more requests: version 3." in found.happened[1].told
    (failed,) = [metric for metric in found.happened[1].metrics if metric.status == "FAIL"]
    assert (failed.metric, failed.allowed) == ("3 error_rate", None)
    assert found.next[1].startswith("No version was found to be better.")
    running = RolloutState(Phase.STEP, 0, 2, generations=(2,))
    assert not any("promote" in line for line in what_next(plan, running, runner="a"))


@pytest.mark.parametrize("policy", ["rollback", "pause"])
def test_a_prometheus_that_does_not_answer_is_no_fault_of_the_version(policy):
    plan = make_plan(source="prometheus", on_inconclusive=policy)

    class Silent(World):
        def observe(self, plan, state):
            return replace(super().observe(plan, state), told=Told(errors=99, error="it does not answer"))

    world = Silent.served()
    run(plan, world.doors(), poll_seconds=1)
    found = told(world)
    if policy == "rollback":
        assert found.headline.endswith("is rolled back because of prometheus.")
        assert any("Prometheus did not answer" in line for line in found.next)
    else:
        assert any("sluiceway rollout promote r1" in line for line in found.next)
    # What the counters alone do not give is told as the verdict has it.
    undecided = [m for h in found.happened for m in h.metrics if m.metric == "error_rate"]
    assert all("no number of them will do" not in metric.told for metric in undecided)


def test_a_mean_says_how_many_pairs_would_do():
    plan = make_plan(margins=MarginsSection(score_shift=0.05))
    moments = Moments(200, 9.0, 0.6)
    seen = replace(counts(arm_seen(2000)), score_shift=PairedMoments(moments, moments))
    verdict = verdict_of(plan, seen, "score_shift")
    assert verdict.status is Status.INCONCLUSIVE
    story = story_of(plan, verdict, seen)
    assert story.more == verdict.enough - 200 > 0
    assert f"about {story.more:,} more pairs would do" in story.told
