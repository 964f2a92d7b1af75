"""Who is asked before a rollout moves may keep it where it is; who is told afterwards holds up nothing."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from rollout_world import CHAMPION, Commanded, Crash, World, make_plan
from sluiceway.config.deployment import DeploymentSection, RollbackSection, RolloutHookSection
from sluiceway.core.command import Order
from sluiceway.core.errors import BackendError, HookRefusedError
from sluiceway.rollout.controller import _Controller, run
from sluiceway.rollout.hooks import ConfiguredHooks, NoHooks, RolloutEvent
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase

STEPS = ({"weight": 0.25}, {"weight": 1.0})
EVENT = RolloutEvent("before_increase", "r1", 2, "flights", "flights", "2", "1", 0.25, "why")


@pytest.fixture
def receiver():
    """A server that writes down what it gets, and answers what it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.got.append((self.path, body))
            status = server.answers.pop(0) if server.answers else 200
            server.free.wait(10)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"not on a Friday" if status >= 300 else b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answers, server.free = [], [], threading.Event()
    server.free.set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def hooks_of(*hooks, notify=()):
    return ConfiguredHooks([RolloutHookSection(**hook) for hook in hooks], notify)


def rolled_out(world, hooks, **changes):
    with hooks:
        return run(make_plan(steps=STEPS, **changes), replace(world.doors(), hooks=hooks), poll_seconds=1)


ASKED = ("before_start", "before_increase", "before_promotion", "step", "promoted", "rolled_back", "paused")


def test_every_move_is_asked_for_and_told_in_order(receiver):
    world = World.served()
    hooks = hooks_of({"on": ASKED, "url": f"{receiver.url}/hook"}, notify=(f"{receiver.url}/slack",))
    assert rolled_out(world, hooks).status == "promoted"
    asked = [body for path, body in receiver.got if path == "/hook" and body["moment"].startswith("before")]
    assert [(body["moment"], body["weight"], body["sequence"]) for body in asked] == [
        ("before_start", 0.25, 1),
        ("before_increase", 1.0, 2),
        ("before_promotion", 1.0, 3),
    ]
    assert asked[1]["reason"] == "every metric passed at 25%"
    told = [
        body["moment"] for path, body in receiver.got if path == "/hook" and not body["moment"].startswith("before")
    ]
    assert told == ["step", "step", "promoted"]
    assert [body["text"].partition(" (")[0] for path, body in receiver.got if path == "/slack"] == [
        "flights: version 2 gets 25% of the requests",
        "flights: version 2 gets 100% of the requests",
        "flights: version 2 is promoted",
    ]


def test_a_hook_that_says_no_keeps_the_weights_and_is_asked_again_after_a_resume(receiver):
    world = World.served()
    receiver.answers = [500]
    hooks = {"on": ["before_increase"], "url": receiver.url, "retries": 0}
    outcome = rolled_out(world, hooks_of(hooks))
    assert outcome.status == "paused"
    assert outcome.reason == "hook 1 of deployment.hooks (127.0.0.1) does not let it: status 500: not on a Friday"
    assert world.applied.challengers[0].weight == 0.25
    assert rolled_out(world, hooks_of(hooks)).status == "promoted"


def test_who_fails_for_a_while_is_asked_again(receiver):
    receiver.answers = [503, 503]
    hooks = hooks_of({"on": ["before_increase"], "url": receiver.url, "retries": 2})
    assert hooks.refusal(EVENT) == ""
    assert len(receiver.got) == 3


def test_a_rollout_that_is_not_let_begin_has_not_begun(receiver):
    world = World.served()
    receiver.answers = [403] * 3
    hooks = {"on": ["before_start"], "url": receiver.url}
    with pytest.raises(HookRefusedError, match="has not begun"):
        rolled_out(world, hooks_of(hooks))
    assert world.rollouts.journal("r1") == []
    assert world.applied.champion == CHAMPION
    assert rolled_out(world, hooks_of(hooks)).status == "promoted"


CHECKING = """
import json, sys
event = json.load(sys.stdin)
assert event["endpoint"] == "flights" and event["champion"] == "1"
print("the bank is closed")
sys.exit(3 if event["moment"] == sys.argv[1] else 0)
"""


@pytest.mark.parametrize(("moment", "status"), [("before_promotion", "paused"), ("never", "promoted")])
def test_a_command_reads_the_event_and_says_yes_by_its_exit_code(tmp_path, moment, status):
    program = tmp_path / "checking.py"
    program.write_text(CHECKING)
    hook = {"on": ["before_increase", "before_promotion"], "command": f"{sys.executable} {program} {moment}"}
    outcome = rolled_out(World.served(), hooks_of({**hook, "retries": 0}))
    assert outcome.status == status
    assert ("exit code 3: the bank is closed" in outcome.reason) == (status == "paused")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({"command": "no-such-program-here"}, "not found"),
        ({"command": "sleep 60 | cat", "timeout_seconds": 0.2}, "not done after 0.2 s"),
        ({"url": "http://127.0.0.1:9/x"}, "refused"),
    ],
)
def test_who_cannot_be_asked_does_not_say_yes(hook, said):
    assert said in hooks_of({"on": ["before_increase"], "retries": 0, **hook}).refusal(EVENT)


@pytest.mark.parametrize(
    ("hook", "named"),
    [
        ({"command": "ASK_TOKEN=s3cr3t false"}, "hook 2 of deployment.hooks does not let it: exit code 1"),
        ({"url": "http://ci:s3cr3t@127.0.0.1:9/s3cr3t?key=s3cr3t"}, "hook 2 of deployment.hooks (127.0.0.1) does not"),
    ],
)
def test_a_hook_is_named_by_its_place_without_the_secrets_that_it_may_hold(hook, named):
    on = {"on": ["before_increase"], "retries": 0}
    told = hooks_of({**on, "command": "true"}, {**on, **hook}).refusal(EVENT)
    assert told.startswith(named)
    assert "s3cr3t" not in told


def test_a_slow_receiver_holds_up_no_rollback(receiver):
    receiver.free.clear()
    world = World.served(errors=(0.0, 0.9), rate=4000)
    with hooks_of(notify=(receiver.url,)) as hooks:
        outcome = run(make_plan(steps=STEPS), replace(world.doors(), hooks=hooks), poll_seconds=1)
        assert (outcome.status, receiver.free.is_set()) == ("rolled_back", False)
        assert len(receiver.got) <= 1  # the first has no answer yet, so none came after it
        receiver.free.set()
    assert [body["text"].partition(" (")[0] for _, body in receiver.got][-1] == "flights: version 2 is rolled back"


def test_who_cannot_be_told_changes_nothing(caplog):
    hooks = hooks_of({"on": ["promoted"], "command": "false", "retries": 0}, notify=("http://127.0.0.1:9/x",))
    assert rolled_out(World.served(), hooks).status == "promoted"
    assert "hook 1 of deployment.hooks was not told" in caplog.text
    assert "was not told: " in caplog.text


class Heard(NoHooks):
    """Writes down what it is told."""

    def __init__(self):
        self.told = []

    def tell(self, event):
        self.told.append((event.moment, event.reason.partition(":")[0]))


def test_a_new_reason_of_a_pause_is_told():
    class GetsBad(Commanded):
        said = ((2003, Order.PAUSE), (2010, Order.PAUSE), (2300, Order.RESUME), (2301, Order.ABORT))

        def sleep(self, seconds):
            self.errors = (0.0, 0.9 if self.time > 2050 else 0.0)
            super().sleep(seconds)

    world, heard = GetsBad.served(rate=100), Heard()
    plan = make_plan(steps=STEPS, rollback=RollbackSection(enabled=False))
    run(plan, replace(world.doors(), hooks=heard, stays=True), poll_seconds=1)
    assert heard.told == [
        ("step", "begin"),
        ("paused", "paused by ann"),
        ("paused", "rollback is disabled"),
        ("step", "resumed by ann"),
        ("paused", "rollback is disabled"),
        ("rolled_back", "by ann"),
    ]


@pytest.mark.parametrize("order", [Order.ADVANCE, Order.PROMOTE])
def test_of_one_promotion_it_is_told_once_also_where_its_probation_pauses_and_goes_on(order):
    steps = tuple({"weight": weight, "max_seconds": 20} for weight in (0.5, 1.0))
    world, heard = Commanded.served(delay=120.0, wrong=(0.08, 0.02)), Heard()
    world.said = ((2400, Order.RESUME), (2410, order))
    plan = make_plan(
        steps=steps,
        on_inconclusive="continue",
        probation_seconds=600.0,
        keeps_warm=True,
        rollback=RollbackSection(enabled=False),
    )
    outcome = run(plan, replace(world.doors(), hooks=heard, stays=True), poll_seconds=1)
    assert outcome.reason.startswith("confirmed by ann")
    moments = [moment for moment, _ in heard.told]
    assert moments == ["step", "step", "promoted", "paused", "paused"]


class Away(World):
    """A world in which one effect fails once."""

    fails = ""

    def _once(self, effect):
        if self.fails == effect:
            self.fails = ""
            raise BackendError(f"nobody answers: {effect}")

    def promoted(self, plan):
        self._once("promoted")
        super().promoted(plan)

    def rolled_back(self, plan, reason):
        self._once("rolled_back")
        super().rolled_back(plan, reason)

    def apply(self, document):
        if document.challengers and document.challengers[0].weight == 1:
            self._once("step")
        super().apply(document)


@pytest.mark.parametrize("probation", [0.0, 60.0])
@pytest.mark.parametrize(
    ("qualities", "fails"),
    [({}, ""), ({}, "step"), ({}, "promoted"), ({"errors": (0.0, 0.3)}, ""), ({"errors": (0.0, 0.3)}, "rolled_back")],
)
def test_what_a_second_try_finishes_is_told_once(qualities, fails, probation):
    world = Away.served(**qualities)
    world.fails = fails
    plan = make_plan(steps=STEPS, probation_seconds=probation)
    if fails:
        with pytest.raises(BackendError):
            run(plan, world.doors(), poll_seconds=1)
    run(plan, world.doors(), poll_seconds=1)
    promoted = [("step", 0.25, 1), ("step", 1.0, 2), ("promoted", 1.0, 5 if fails == "step" else 4)]
    back = [("step", 0.25, 1), ("rolled_back", 0.0, 3)]
    assert world.heard == (back if qualities else promoted)


def test_who_goes_on_tells_nothing_again_that_was_looked_at_since():
    class Asleep(World):
        """The catalog fails once, some looks after the second step began."""

        looked = 0

        def observe(self, plan, state):
            self.looked += state.step == 1
            if self.looked == 3:
                raise BackendError("no catalog")
            return super().observe(plan, state)

    world = Asleep.served(rate=40)
    with pytest.raises(BackendError):
        run(make_plan(steps=STEPS), world.doors(), poll_seconds=1)
    assert run(make_plan(steps=STEPS), world.doors(), poll_seconds=1).status == "promoted"
    assert [moment for moment, *_ in world.heard] == ["step", "step", "promoted"]


def test_a_step_that_is_gone_on_with_after_a_pause_is_told():
    world = World.served(rate=0)
    plan = make_plan(steps=STEPS, on_inconclusive="pause")
    assert run(plan, world.doors(), poll_seconds=60).status == "paused"
    world.rate = 400
    assert run(plan, world.doors(), poll_seconds=1).status == "promoted"
    steps = [("step", 0.25, 1), ("paused", 0.25, 2), ("step", 0.25, 3), ("step", 1.0, 4)]
    assert world.heard == [*steps, ("promoted", 1.0, 6)]


@pytest.mark.parametrize("dies", ["before it is told", "after it is told"])
def test_a_pause_whose_runner_died_is_told_by_whoever_goes_on_from_it(dies):
    class Dies(World):
        def tell(self, event):
            if event.moment == "paused" and dies:
                if dies.startswith("after"):
                    super().tell(event)
                raise Crash
            super().tell(event)

    world = Dies.served(rate=0)
    plan = make_plan(steps=STEPS, on_inconclusive="pause")
    with pytest.raises(Crash):
        run(plan, world.doors(), poll_seconds=60)
    known = len(world.heard)
    dies, world.rate = "", 400
    assert run(plan, world.doors(), poll_seconds=1).status == "promoted"
    assert world.heard[known:] == [("paused", 0.25, 2), ("step", 0.25, 3), ("step", 1.0, 4), ("promoted", 1.0, 6)]


def test_a_crash_anywhere_asks_again_and_ends_the_same(receiver):
    hook = {"on": ASKED, "url": receiver.url}
    undisturbed = World.served()
    rolled_out(undisturbed, hooks_of(hook))
    for crash_at in range(1, undisturbed.operations + 1, 3):
        world = World.served(seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            rolled_out(world, hooks_of(hook))
        rolled_out(world, hooks_of(hook))
        assert world.end_state() == undisturbed.end_state(), crash_at


@pytest.mark.parametrize(
    "wrong",
    [
        {"hooks": [{"on": ["before_start"]}]},
        {"hooks": [{"on": ["before_start"], "command": "a", "url": "http://b"}]},
        {"hooks": [{"on": [], "command": "a"}]},
        {"hooks": [{"on": ["tuesday"], "command": "a"}]},
        {"hooks": [{"on": ["promoted"], "url": "file:///etc/passwd"}]},
        {"notify": ["slack.com/x"]},
    ],
)
def test_what_is_no_hook_is_refused(wrong):
    with pytest.raises(ValidationError):
        DeploymentSection(**wrong)


class Slow:
    """Whoever is asked at a moment says nothing until told to; says what was asked for."""

    def __init__(self, said="", moment="before_increase"):
        self.said, self.moment, self.asked, self.answers = said, moment, [], threading.Event()

    def refusal(self, event):
        if event.moment != self.moment:
            return ""
        self.asked.append(event)
        self.answers.wait(20)
        return self.said

    def tell(self, event):
        pass


class Meanwhile(World):
    """A world in which something happens 40 looks after a hook was asked."""

    def sleep(self, seconds):
        super().sleep(0.1)  # of virtual time for each look, however short it is waited in earnest
        if self.hooks.asked and self.looked < 40:
            self.looked += 1
            if self.looked == 40:
                self.happens(self)

    @classmethod
    def asking(cls, hooks, happens):
        world = cls.served(rate=4000)
        world.hooks, world.happens, world.looked = hooks, happens, 0
        return world

    def rolled_out(self):
        doors = replace(self.doors(), hooks=self.hooks)
        try:
            return run(make_plan(steps=STEPS), doors, poll_seconds=0.01)
        finally:
            self.hooks.answers.set()

    def actions(self):
        return [row.action for row in self.rollouts.journal("r1")]


def test_what_fails_while_a_hook_is_asked_goes_back_and_its_answer_is_dropped():
    def gets_bad(world):
        world.errors = (0.0, 0.9)

    world = Meanwhile.asking(Slow(), gets_bad)
    outcome = world.rolled_out()
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
    assert world.actions() == ["advance to step 0", "rollback", "rolled back"]
    assert len(world.hooks.asked) == 1


def test_a_hook_that_takes_long_is_asked_once_and_obeyed():
    world = Meanwhile.asking(Slow(), lambda world: world.hooks.answers.set())
    assert world.rolled_out().status == "promoted"
    assert [(event.moment, event.sequence) for event in world.hooks.asked] == [("before_increase", 2)]
    assert world.actions()[:2] == ["advance to step 0", "advance to step 1"]

    world = Meanwhile.asking(Slow("not today"), lambda world: world.hooks.answers.set())
    outcome = world.rolled_out()
    assert (outcome.status, outcome.reason) == ("paused", "not today")


def test_people_are_obeyed_while_a_hook_is_asked():
    def abort(world):
        world.rollouts.command("r1", Order.ADVANCE, reason="hurry")
        world.rollouts.command("r1", Order.ABORT, reason="no")

    world = Meanwhile.asking(Slow(), abort)
    outcome = world.rolled_out()
    assert (outcome.status, outcome.reason) == ("rolled_back", "by ann: no")
    assert world.rollouts.next_command("r1", after=2) is None


def test_a_pause_is_obeyed_while_a_hook_is_asked_about_what_was_told_before():
    class Told(Meanwhile):
        def started(self, plan):
            super().started(plan)
            self.rollouts.command("r1", Order.PROMOTE, reason="hurry")

    world = Told.asking(Slow(moment="before_promotion"), lambda world: world.rollouts.command("r1", Order.PAUSE))
    outcome = world.rolled_out()
    assert (outcome.status, outcome.reason) == ("paused", "paused by ann")
    assert world.actions() == ["advance to step 0", "pause"]
    assert len(world.hooks.asked) == 1
    assert world.rollouts.next_command("r1", after=Journal.open(world.rollouts, "r1").state.commands) is None


@pytest.mark.parametrize(
    ("phase", "is_asked", "first"),
    [
        (Phase.STEP, False, ()),
        (Phase.STEP, True, (Order.ABORT, Order.PAUSE)),
        (Phase.PAUSED, True, (Order.ABORT,)),  # a pause would be refused, and the promote be passed over for nothing
    ],
)
def test_only_what_can_be_obeyed_goes_before_what_a_hook_is_asked_about(phase, is_asked, first):
    asking, journal = SimpleNamespace(open=is_asked), SimpleNamespace(state=SimpleNamespace(phase=phase))
    assert _Controller._first(SimpleNamespace(asking=asking, journal=journal)) == first


def test_an_abort_goes_before_a_pause_that_came_earlier():
    world = World.served()
    journal = Journal.begin(world.rollouts, make_plan())
    for order in (Order.PROMOTE, Order.PAUSE, Order.ABORT):
        world.rollouts.command("r1", order)
    found = [journal.next_command(first=first) for first in ((), (Order.PAUSE,), (Order.ABORT, Order.PAUSE))]
    assert [command.order for command in found] == [Order.PROMOTE, Order.PAUSE, Order.ABORT]


def test_an_abort_before_the_start_ends_it_without_any_traffic_moved():
    world = Meanwhile.asking(
        Slow(moment="before_start"), lambda world: world.rollouts.command("r1", Order.ABORT, reason="no")
    )
    outcome = world.rolled_out()
    assert (outcome.status, outcome.reason) == ("rolled_back", "by ann: no")
    assert world.actions() == ["rollback", "rolled back"]
    assert (world.moves, world.documents.newest("flights").generation) == ([], 1)


def test_a_pause_before_the_start_is_obeyed_in_the_first_step():
    def pause(world):
        world.rollouts.command("r1", Order.PAUSE)
        world.hooks.answers.set()

    world = Meanwhile.asking(Slow(moment="before_start"), pause)
    assert world.rolled_out().status == "paused"
    assert world.actions() == ["advance to step 0", "pause"]


def test_looks_are_not_kept_by_the_second_while_a_hook_is_asked():
    """Each would be one of a decision, although none is made."""
    world = Meanwhile.asking(Slow(), lambda world: world.hooks.answers.set())
    world.rolled_out()
    assert len(world.rollouts.looks("r1")) < 30
