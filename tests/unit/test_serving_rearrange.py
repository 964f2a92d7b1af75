"""Traffic that a person moves: what the next document is, what is refused, what is deployed and taken away."""

from __future__ import annotations

import concurrent.futures
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_world import make_plan
from serving_models import train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.rollouts import JournalRow
from sluiceway.catalog.stores import stores_on
from sluiceway.catalog.traffic import PAGE, TrafficStore
from sluiceway.cli import serve_traffic
from sluiceway.cli.serve_traffic import shares
from sluiceway.config.serving import ServingSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError, InputError, ModelError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle.arm_lookup import ArmLookup
from sluiceway.lifecycle.traffic_by_hand import TrafficByHand
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.store import BundleStore
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.plan import plan_first
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.serving.rearrange import reweighted, shadowed, switched


def arm(version, weight=0.0, application=""):
    return Arm(version, weight, f"bundles/{version}", f"d{version}", application)


ONE = TrafficDocument("flights", 7, arm("1", 1.0), rollout_id="r1", salt="r1")
TWO = TrafficDocument("flights", 8, arm("1", 0.8), (arm("2", 0.1, "a2"), arm("3", 0.1, "a3")), salt="s")
NAMED = {version: arm(version) for version in "12345"}


def weights(document):
    return {one.version: one.weight for one in (document.champion, *document.challengers)}


def test_the_champion_has_what_is_left():
    document = reweighted(ONE, {"2": 0.1, "3": 0.2}, NAMED)
    assert weights(document) == {"1": pytest.approx(0.7), "2": 0.1, "3": 0.2}
    assert (document.generation, document.rollout_id) == (8, "")
    assert weights(reweighted(ONE, {"2": 1.0}, NAMED)) == {"1": 0.0, "2": 1.0}
    assert weights(reweighted(TWO, {"1": 1.0}, NAMED)) == {"1": 1.0}


def test_challengers_keep_their_order_and_the_salt_is_kept_while_there_is_one():
    document = reweighted(TWO, {"4": 0.1, "3": 0.2, "2": 0.2}, {**NAMED, "2": TWO.challengers[0]})
    assert [one.version for one in document.challengers] == ["2", "3", "4"]
    assert document.salt == "s"
    assert document.challengers[0].application == "a2"
    assert reweighted(ONE, {"2": 0.1}, NAMED).salt == "flights/8"


@pytest.mark.parametrize("given", [{"1": 0.9, "2": 0.2}, {"2": 0.7, "3": 0.7}, {"1": 0.5}])
def test_weights_that_do_not_sum_to_one_are_refused(given):
    with pytest.raises(InputError, match="sum to 1"):
        reweighted(ONE, given, NAMED)


@settings(deadline=None)
@given(st.lists(st.sampled_from("123"), min_size=1, max_size=8))
def test_a_switch_has_one_champion_and_keeps_the_one_before(versions):
    document = ONE
    for version in versions:
        if version == document.champion.version:
            with pytest.raises(InputError, match="already"):
                switched(document, arm(version))
            continue
        before, document = document, switched(document, arm(version))
        assert weights(document) == {version: 1.0}
        assert [(one.version, one.weight) for one in document.warm] == [(before.champion.version, 0.0)]
        assert document.generation == before.generation + 1


def test_a_challenger_that_is_switched_to_runs_in_process():
    document = switched(TWO, TWO.challengers[0])
    assert document.champion == Arm("2", 1.0, "bundles/2", "d2")
    assert document.challengers == ()
    assert switched(TWO, TWO.champion).champion.weight == 1.0


def test_shadows_come_and_go_and_answer_nobody():
    document = shadowed(TWO, {"4": 0.2, "5": 0.1}, NAMED)
    assert weights(document) == weights(TWO)
    assert [(one.version, one.weight) for one in document.shadows] == [("4", 0.2), ("5", 0.1)]
    assert [one.version for one in shadowed(document, {"4": 0.0}, NAMED).shadows] == ["5"]
    with pytest.raises(InputError, match="version 2 answers requests"):
        shadowed(TWO, {"2": 0.2}, NAMED)
    assert reweighted(document, {"4": 0.1, "1": 0.9}, NAMED).shadows == (arm("5", 0.1),)
    assert switched(document, arm("4")).shadows == (arm("5", 0.1),)


def test_what_is_kept_warm_has_no_weight():
    with pytest.raises(InputError, match="warm"):
        replace(ONE, warm=(arm("2", 0.1),))


@pytest.mark.parametrize("text", ["7", "7=", "=1", "7=x", "7=1.1", "7=-0.1", "7=0.5,7=0.5", "", "7=nan", "7=0.9,"])
def test_shares_of_another_form_are_refused(text):
    with pytest.raises(InputError, match="--weights"):
        shares(text, "--weights")


def test_shares_are_read():
    assert shares(" 7=0.9, challenger = .1", "--weights") == {"7": 0.9, "challenger": 0.1}


# The catalog.


def test_of_30_who_publish_a_generation_one_has(tmp_path):
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    open_catalog(url).dispose()
    engines = [open_catalog(url, migrate=False) for _ in range(6)]
    documents = [replace(ONE, generation=1, salt=str(i)) for i in range(30)]
    for generation in range(1, 4):

        def publish(i, generation=generation):
            try:
                TrafficStore(engines[i % 6]).publish(replace(documents[i], generation=generation))
            except ConflictError:
                return None
            return i

        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            winners = [i for i in pool.map(publish, range(30)) if i is not None]
        assert len(winners) == 1
        newest = TrafficStore(engines[0]).newest("flights")
        assert (newest.generation, newest.salt) == (generation, str(winners[0]))
    for engine in engines:
        engine.dispose()


def test_the_history_is_read_from_the_newest_on(catalog):
    store = TrafficStore(catalog)
    for generation in range(1, 2 * PAGE + 2):
        store.publish(replace(ONE, generation=generation))
        store.publish(replace(ONE, endpoint="fraud", generation=generation))
    assert [d.generation for d in store.history("flights")] == list(range(2 * PAGE + 1, 0, -1))
    assert list(store.history("nobody")) == []


# By hand, with a catalog and bundles that are real.


class Running:
    """A Serve that runs the endpoint."""

    def __init__(self):
        self.deployed, self.removed, self.applied = [], [], []
        self.runs, self.confirms = set[str](), True

    def deploy(self, spec):
        self.deployed.append(spec.application)
        self.runs.add(spec.application)
        return spec.application

    def remove(self, application):
        self.removed.append(application)
        self.runs.discard(application)

    def remove_unasked(self, asked):
        for application in sorted(self.runs - asked):
            self.remove(application)

    def apply(self, document):
        if not self.confirms:
            raise BackendError("a replica did not follow", endpoint=document.endpoint)
        self.applied.append(document)


class Hands:
    """An endpoint with versions 1 to 4 in the registry, 1 its champion."""

    def __init__(self, catalog, folder):
        self.stores = stores_on(catalog, "sqlite://")
        self.bundles = BundleStore(folder / "bundles")
        self.models = {str(i): train_small(folder, seed=i).bundle for i in range(1, 5)}
        first = self.models["1"]
        champion = Arm("1", 1.0, self.bundles.put(first), first.digest)
        plan = plan_first("r0", endpoint="flights", model="late", arm=champion, now=1.0)
        self.stores.rollouts.create("r0", endpoint="flights", plan=plan.to_json(), now=1.0)
        self.stores.traffic.publish(plan.promoted_document(generation=1))
        self.running, self.asked = Running(), []

    def registered(self, model, version):
        self.asked.append((model, version))
        number = {"challenger": "2"}.get(version, version)
        if number not in self.models:
            raise ModelError(f"no version {version}")
        return number, self.models[number]

    def hand(self, *, running=True, **serving):
        lookup = ArmLookup("flights", stores=self.stores, bundles=self.bundles, registered=self.registered)
        return TrafficByHand(
            "flights",
            stores=self.stores,
            lookup=lookup,
            serving=ServingSection(**serving),
            running=self.running if running else None,
            clock=SystemClock(),
        )

    @property
    def newest(self):
        return self.stores.traffic.newest("flights")


@pytest.fixture
def hands(catalog, tmp_path):
    return Hands(catalog, tmp_path)


def test_a_challenger_is_deployed_before_it_gets_requests_and_goes_after(hands):
    changed = hands.hand().weights({"challenger": 0.1})
    assert hands.asked == [("late", "challenger")]
    assert weights(hands.newest) == {"1": 0.9, "2": 0.1}
    (challenger,) = hands.newest.challengers
    assert hands.running.deployed == [challenger.application]
    assert hands.running.applied == [hands.newest] == [changed.document]
    assert changed.confirmed
    assert changed.notes == ()
    hands.hand().weights({"2": 0.3})
    assert set(hands.running.deployed) == {challenger.application}
    hands.hand().weights({"1": 1.0})
    assert hands.running.removed == [challenger.application]
    assert hands.newest.generation == 4


@pytest.mark.parametrize("isolation", ["process", "replica"])
def test_on_a_serve_that_has_begun_anew_what_the_traffic_names_is_deployed_again(hands, isolation):
    hands.hand().weights({"2": 0.1})
    hands.hand().shadow({"3": 0.2})
    named = {one.application for one in (*hands.newest.challengers, *hands.newest.shadows)}
    hands.running = Running()
    hands.hand(isolation=isolation).weights({"2": 0.3})
    assert set(hands.running.deployed) == named
    assert {one.application for one in (*hands.newest.challengers, *hands.newest.shadows)} == named
    hands.running.deploy = refused
    with pytest.raises(BackendError):
        hands.hand().weights({"2": 0.4})
    assert hands.running.removed == []


@pytest.mark.parametrize("way", ["less", "back", "switch"])
def test_the_way_back_does_not_wait_for_a_challenger_or_shadow_that_does_not_come_up(hands, way):
    hands.hand().switch("2")
    hands.hand().weights({"3": 0.2})
    hands.hand().shadow({"4": 0.1})
    hands.running = Running()
    hands.running.deploy = refused
    if way == "less":
        changed = hands.hand().weights({"3": 0.1})
        assert hands.newest.challengers[0].weight == 0.1
    else:
        changed = hands.hand().back() if way == "back" else hands.hand().switch("1")
        assert hands.newest.champion.version == "1"
    assert any("does not come up" in note for note in changed.notes)
    assert changed.confirmed


def refused(spec):
    raise BackendError(f"{spec.application} does not come up")


def test_in_the_replicas_nothing_is_deployed(hands):
    hands.hand(isolation="replica").weights({"2": 0.1})
    assert hands.newest.challengers[0].application == ""
    assert hands.running.deployed == []


def test_switch_and_back(hands):
    hands.hand().weights({"2": 0.1})
    application = hands.newest.challengers[0].application
    hands.hand().switch("2")
    assert weights(hands.newest) == {"2": 1.0}
    assert [one.version for one in hands.newest.warm] == ["1"]
    assert hands.running.removed == [application]
    hands.hand().back()
    assert weights(hands.newest) == {"1": 1.0}
    assert [one.version for one in hands.newest.warm] == ["2"]
    hands.hand().back()
    assert weights(hands.newest) == {"2": 1.0}
    assert all(not one.application for one in hands.newest.arms)


def unconfirmed(hands, change):
    """A change that the catalog has, and that one replica did not confirm in time; gives its error."""
    hands.running.confirms = False
    with pytest.raises(BackendError, match="a replica did not follow") as caught:
        change(hands.hand())
    hands.running.confirms = True
    return caught.value


def test_a_switch_that_was_not_confirmed_is_repeated_and_publishes_nothing_new(hands):
    hands.hand().weights({"2": 0.1})
    application = hands.newest.challengers[0].application
    error = unconfirmed(hands, lambda hand: hand.switch("2"))
    assert "`sluiceway serve traffic flights --switch 2`" in error.hint
    switched_to = hands.newest
    assert (weights(switched_to), hands.running.removed) == ({"2": 1.0}, [])
    changed = hands.hand().switch("2")
    assert changed.document == hands.newest == switched_to == hands.running.applied[-1]
    assert changed.confirmed
    assert "version 2 has all requests of flights already" in changed.notes[0]
    assert hands.running.removed == [application]
    assert hands.hand().switch("2").document == switched_to
    assert hands.running.removed == [application]


@pytest.fixture
def switches(hands, monkeypatch):
    return Switches(hands, monkeypatch)


class Switches:
    """What the command does where a configuration is named, before a registry that remembers."""

    def __init__(self, hands, monkeypatch):
        self.promoted, self.tagged, self.notes = [], [], ()
        registry = SimpleNamespace(
            promote=lambda name, version, *_: self.promoted.append((name, version)),
            tag=lambda name, version, tags: self.tagged.append((version, *tags.values())),
        )
        experiment, deployment = SimpleNamespace(name="late"), SimpleNamespace(environments=("p",))
        settings = SimpleNamespace(platform=None, experiment=experiment, deployment=deployment)
        module = serve_traffic
        monkeypatch.setattr(module, "_changed", lambda endpoint, change, *_: change(hands.hand()))
        monkeypatch.setattr(module, "load_settings", lambda config: settings)
        monkeypatch.setattr(module, "endpoint_name", lambda *_: "flights")
        monkeypatch.setattr(module, "build_registry", lambda platform: registry)
        monkeypatch.setattr(module, "load_platform", lambda config: None)
        monkeypatch.setattr(module, "read_stores", lambda platform: hands.stores)
        monkeypatch.setattr(module, "_show", lambda document, stores, notes, **_: setattr(self, "notes", notes))

    def __call__(self, version):
        told = {"address": None, "config": "c.yaml", "as_json": True, "champion": True}
        serve_traffic.move("flights", lambda hand: hand.switch(version), **told)


def test_the_registry_is_told_by_the_repeat_of_a_switch_that_was_not_confirmed(hands, switches):
    unconfirmed(hands, lambda _: switches("2"))
    assert switches.promoted == []
    switches("2")
    assert switches.promoted == [("late", "2")]
    assert [told[:3] for told in switches.tagged] == [("1", "", "replaced")]


def test_a_repeat_tells_the_same_story(hands, switches, monkeypatch):
    monkeypatch.setattr("sluiceway.catalog.traffic.time", SimpleNamespace(time=lambda: 1e9))  # long ago
    switches("2")
    hands.hand().shadow({"4": 0.1})
    switches("2")
    assert switches.tagged == [("1", "", "replaced", "", "version 2 by hand", "2001-09-09T01:46:40+00:00")] * 2


def test_of_a_champion_that_a_rollout_replaced_a_repeat_tells_nothing(hands, switches):
    rolled_out(hands, "3", Phase.STEP, Phase.PROMOTING, Phase.PROMOTED)
    switches("3")
    hands.hand().shadow({"4": 0.1})
    hands.stores.traffic.publish(replace(hands.newest, generation=hands.newest.generation + 1, warm=(arm("1"),)))
    assert (hands.newest.rollout_id, [one.version for one in hands.newest.warm]) == ("", ["1"])
    switches("3")
    assert (switches.promoted, switches.tagged) == ([("late", "3")] * 2, [])


def test_a_catalog_that_does_not_answer_after_the_move_is_told_and_ends_nothing(hands, switches, monkeypatch):
    def silent(*_, **__):
        raise BackendError("the catalog does not answer")

    monkeypatch.setattr(serve_traffic, "champion_before", silent)
    switches("2")
    assert weights(hands.newest) == {"2": 1.0}
    assert "late@champion is not version 2: the catalog does not answer" in switches.notes[-1]


def test_a_way_back_that_was_not_confirmed_is_not_repeated_by_going_forth_again(hands):
    hands.hand().switch("2")
    error = unconfirmed(hands, lambda hand: hand.back())
    assert weights(hands.newest) == {"1": 1.0}
    assert "`sluiceway serve traffic flights --switch 1`" in error.hint
    assert hands.hand().switch("1").document == hands.newest


def test_a_repeated_switch_brings_shadows_back_and_says_where_nobody_could_be_asked(hands):
    hands.hand().shadow({"3": 0.2})
    hands.running = Running()
    (note,) = hands.hand().switch("1").notes
    assert "nothing new was published" in note
    assert hands.running.deployed == [hands.newest.shadows[0].application]
    assert any("no Serve that runs it is known" in note for note in hands.hand(running=False).switch("1").notes)
    assert hands.newest.generation == 2


@pytest.mark.parametrize("next_change", ["weights", "shadow", "switch", "back"])
def test_what_a_change_that_was_not_confirmed_has_left_goes_with_the_next(hands, next_change):
    hands.hand().switch("2")
    hands.hand().weights({"3": 0.1})
    (challenger,) = hands.newest.challengers
    unconfirmed(hands, lambda hand: hand.weights({"2": 1.0}))
    assert hands.running.removed == []  # a replica may still ask it
    changes = {
        "weights": lambda hand: hand.weights({"4": 0.1}),
        "shadow": lambda hand: hand.shadow({"4": 0.1}),
        "switch": lambda hand: hand.switch("2"),
        "back": lambda hand: hand.back(),
    }
    changes[next_change](hands.hand())
    assert hands.running.removed == [challenger.application]


@pytest.mark.parametrize("way", ["back", "switch"])
def test_a_change_whose_tidying_fails_is_done_and_says_so(hands, monkeypatch, way):
    hands.hand().switch("2")
    hands.hand().shadow({"4": 0.1})
    hands.hand().weights({"3": 0.2})
    shadow, challenger = hands.newest.shadows[0].application, hands.newest.challengers[0].application
    hands.running.deployed.clear()

    def silent(asked):
        raise BackendError("Serve does not take it away")

    with monkeypatch.context() as patch:
        patch.setattr(hands.running, "remove_unasked", silent)
        changed = hands.hand().back() if way == "back" else hands.hand().switch("1")
    assert (changed.confirmed, weights(hands.newest)) == (True, {"1": 1.0})
    assert changed.notes[0].endswith("the next change takes them away: Serve does not take it away")
    assert hands.running.deployed == [shadow]
    hands.hand().switch("1")
    assert hands.running.removed == [challenger]


def test_while_a_rollout_has_the_champion_alone_it_is_no_switch_of_a_person(hands):
    rolled_out(hands, "2", Phase.STEP, Phase.PROMOTING, Phase.PROBATION)
    with pytest.raises(InputError, match="already"):
        hands.hand().switch("2")
    assert hands.running.applied == []


def rolled_out(hands, version, *phases):
    """A rollout of a version that has gone through these phases; gives its name."""
    now, bundle = hands.newest, hands.models[version]
    arm = Arm(version, 1.0, hands.bundles.put(bundle), bundle.digest)
    plan = make_plan(
        rollout_id=f"r{version}", version=version, bundle=arm.bundle, digest=arm.digest, champion=now.champion
    )
    journal = Journal.begin(hands.stores.rollouts, plan)
    moves = {
        Phase.STEP: lambda generation: plan.step_document(0, generation=generation),
        Phase.PROMOTING: lambda generation: plan.promoted_document(generation=generation),
        Phase.ROLLING_BACK: lambda generation: plan.rolled_back_document(generation=generation),
    }
    for phase in phases:
        journal.append(RolloutState(phase, 0), action=str(phase), evidence={}, now=1.0)
        if phase in moves:
            hands.stores.traffic.publish(moves[phase](hands.newest.generation + 1))
    return plan.rollout_id


STEPS_BACK = (Phase.STEP, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
UNDONE = (Phase.STEP, Phase.PROMOTING, Phase.PROBATION, Phase.ROLLING_BACK, Phase.ROLLED_BACK)


@pytest.mark.parametrize("phases", [STEPS_BACK, UNDONE, UNDONE[:-1]])
def test_what_a_rollout_has_given_back_already_is_not_given_back_once_more(hands, phases):
    hands.hand().switch("2")
    name = rolled_out(hands, "3", *phases)
    before = hands.newest
    with pytest.raises(InputError, match=f"flights has gone back to version 2 already: rollout {name} was rolled") as e:
        hands.hand().back()
    assert "`sluiceway rollout undo flights --to VERSION`" in e.value.hint
    assert hands.newest == before
    hands.hand().switch("1")  # what --to does
    assert weights(hands.newest) == {"1": 1.0}


@pytest.mark.parametrize("phases", [STEPS_BACK, UNDONE])
def test_a_version_whose_promotion_was_undone_is_never_the_champion_before(hands, phases):
    hands.hand().switch("2")
    rolled_out(hands, "3", *phases)
    hands.hand().weights({"2": 0.9, "4": 0.1})  # a person's: nothing has gone back since
    hands.hand().back()
    assert weights(hands.newest) == {"1": 1.0}


def test_a_promotion_that_stands_is_gone_back_from(hands):
    rolled_out(hands, "2", Phase.STEP, Phase.PROMOTING, Phase.PROMOTED)
    assert weights(hands.newest) == {"2": 1.0}
    hands.hand().back()
    assert weights(hands.newest) == {"1": 1.0}


def test_a_switch_takes_away_shadows_with_other_features(hands, tmp_path):
    hands.models["5"] = with_other_features(tmp_path)
    hands.hand().shadow({"3": 0.2})
    application = hands.newest.shadows[0].application
    assert hands.hand().switch("2").notes == ()
    assert [one.version for one in hands.newest.shadows] == ["3"]
    changed = hands.hand().switch("5")
    assert changed.notes == ("version 3 is no shadow any more: it has other features than the champion",)
    assert hands.newest.shadows == ()
    assert hands.running.removed == [application]


@pytest.mark.parametrize("change", ["back", "switch"])
def test_a_shadow_whose_bundle_is_damaged_goes_and_keeps_nobody_from_answering(hands, change):
    hands.hand().switch("2")
    hands.hand().shadow({"3": 0.2})
    (hands.bundles.root / hands.models["3"].digest / "decision.json").write_text("{}")
    changed = hands.hand().back() if change == "back" else hands.hand().switch("1")
    assert (hands.newest.champion.version, hands.newest.shadows) == ("1", ())
    assert changed.notes[0].startswith("version 3 is no shadow any more: its bundle cannot be read: ")


def test_a_shadow_with_features_that_clients_may_send_beside_stays(hands, tmp_path):
    other = train_small(tmp_path, seed=9).bundle
    more = [*other.schema["features"], {**other.schema["features"][0], "name": "wind"}]
    hands.models["5"] = Bundle(other.model, {**other.schema, "features": more}, other.decision, other.lineage)
    given = {"input": {"extra": ["wind"]}}
    hands.hand(**given).shadow({"5": 0.2})
    assert hands.hand(**given).switch("2").notes == ()
    assert hands.hand(**given).back().notes == ()
    assert [one.version for one in hands.newest.shadows] == ["5"]


def with_other_features(folder):
    other = train_small(folder, seed=9).bundle
    renamed = {**other.schema, "features": [{**f, "name": f["name"] + "_x"} for f in other.schema["features"]]}
    return Bundle(other.model, renamed, other.decision, other.lineage)


def test_without_a_champion_before_there_is_no_way_back(hands):
    with pytest.raises(InputError, match="no champion before version 1"):
        hands.hand().back()


def test_a_shadow_gets_a_deployment_and_loses_it(hands):
    hands.hand().shadow({"3": 0.2})
    (seeing,) = hands.newest.shadows
    assert (seeing.version, seeing.weight, hands.running.deployed) == ("3", 0.2, [seeing.application])
    hands.hand().shadow({"3": 0.0})
    assert hands.newest.shadows == ()
    assert hands.running.removed == [seeing.application]


def test_where_no_serve_is_known_the_catalog_is_changed_and_it_is_said(hands):
    changed = hands.hand(running=False, isolation="replica").weights({"2": 0.1})
    assert not changed.confirmed
    assert "follow" in changed.notes[0]
    assert weights(hands.newest) == {"1": 0.9, "2": 0.1}
    with pytest.raises(InputError, match="needs a deployment"):
        hands.hand(running=False).weights({"3": 0.1})
    assert hands.newest.generation == 2


def test_while_a_rollout_runs_nothing_is_moved(hands):
    leases = hands.stores.leases
    assert leases.acquire("rollout:flights", owner="elsewhere:1:2", ttl=60, now=datetime.now(UTC))
    for change in (
        lambda hand: hand.weights({"2": 0.1}),
        lambda hand: hand.switch("2"),
        lambda hand: hand.back(),
        lambda hand: hand.shadow({"2": 0.1}),
    ):
        with pytest.raises(InputError, match="elsewhere") as caught:
            change(hands.hand())
        assert caught.value.exit_code == 2
    assert hands.newest.generation == 1
    assert hands.running.deployed == []
    leases.release("rollout:flights", owner="elsewhere:1:2")
    hands.hand().switch("2")
    assert leases.list("rollout:") == []


def test_a_rollout_that_waits_is_told_of(hands):
    plan = make_plan(rollout_id="r9", endpoint="flights")
    hands.stores.rollouts.create("r9", endpoint="flights", plan=plan.to_json(), now=2.0)
    state = RolloutState(phase=Phase.PAUSED, step=0, generation=1)
    hands.stores.rollouts.append("r9", JournalRow(1, state.to_json(), "pause", "{}", 2.0))
    assert any("r9" in note for note in hands.hand().switch("2").notes)


def test_what_cannot_be_used_is_refused_before_anything_is_changed(hands, tmp_path):
    with pytest.raises(ModelError, match="no version 9"):
        hands.hand().weights({"9": 0.1})
    with pytest.raises(InputError, match="named twice"):
        hands.hand().weights({"2": 0.1, "challenger": 0.1})
    hands.models["5"] = with_other_features(tmp_path)
    with pytest.raises(InputError, match="other features than the champion"):
        hands.hand().weights({"5": 0.1})
    folder = hands.bundles.put(hands.models["4"])
    hands.hand().switch("4")
    hands.hand().back()
    (hands.bundles.root / hands.models.pop("4").digest / "decision.json").write_text("{}")
    with pytest.raises(ModelError, match=r"decision.json|has digest"):
        hands.hand().back()
    assert folder
    assert (hands.newest.champion.version, hands.newest.generation) == ("1", 3)
    assert hands.running.deployed == []


def test_a_damaged_bundle_is_fetched_from_the_registry_again(hands):
    hands.hand().switch("2")
    hands.hand().switch("1")
    two = hands.models["2"]
    damaged = hands.bundles.root / two.digest / "decision.json"
    damaged.write_text("{}")
    hands.models["2"] = hands.models["3"]  # as of a model that was registered anew under the old number
    with pytest.raises(ModelError, match="has digest"):
        hands.hand().back()
    hands.models["2"] = two
    hands.hand().back()
    damaged.unlink()
    hands.hand().switch("1")
    hands.hand().switch("2")
    assert hands.newest.champion.version == "2"
    assert hands.bundles.has(two.digest)


def test_somebody_who_was_faster_wins_and_what_was_deployed_for_the_loser_goes(hands):
    hand, publish = hands.hand(), hands.stores.traffic.publish

    def overtaken(spec, deploy=hands.running.deploy):
        publish(replace(hands.newest, generation=2, rollout_id="somebody"))
        return deploy(spec)

    hands.running.deploy = overtaken
    with pytest.raises(ConflictError):
        hand.weights({"2": 0.1})
    assert hands.newest.rollout_id == "somebody"
    assert hands.running.removed == hands.running.deployed != []
    assert hands.running.applied == []


def test_an_endpoint_that_is_not_there_is_named(catalog, tmp_path):
    stores = stores_on(catalog, "sqlite://")
    lookup = ArmLookup("nobody", stores=stores, bundles=BundleStore(tmp_path), registered=lambda *_: None)
    hand = TrafficByHand(
        "nobody", stores=stores, lookup=lookup, serving=ServingSection(), running=None, clock=SystemClock()
    )
    with pytest.raises(InputError, match="nobody"):
        hand.switch("1")
    assert stores.leases.list() == []
