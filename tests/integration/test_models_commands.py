"""``sluiceway models`` on a real registry and catalog: versions, how they differ, their lineage, and what retires."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from command_line import sluiceway
from rollout_world import make_plan
from serving_models import train_small
from sluiceway.catalog.stores import open_stores
from sluiceway.cli.main import run_command
from sluiceway.core.errors import BackendError, ConflictError, HookRefusedError, ModelError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import Registry, RunRecord
from sluiceway.registry.store import BundleStore
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState

pytestmark = pytest.mark.integration

ENDPOINT = "flights-production"
DATA = {"uri": "/tables/flights", "digest": "d" * 64, "row_digest": "r" * 64}


class Place:
    """A project whose registry has versions 1 to 6 of a model; its catalog is each test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / ".sluiceway"
        self.state.mkdir()
        self.registry = Registry(f"sqlite:///{self.state / 'mlflow.db'}", self.state / "artifacts")
        self.bundles = BundleStore(self.state / "bundles")
        self.made: dict[str, Bundle] = {}
        for number in range(1, 7):
            self.version(str(number))

    def version(self, number: str) -> None:
        small = train_small(self.folder / "models", seed=int(number)).bundle
        lineage = {"data": {**DATA, "version": int(number), "rows": 300}, "code": {"commit": "c" * 40, "dirty": False}}
        if number in ("2", "3"):
            before = str(int(number) - 1)
            lineage["base"] = {"version": before, "digest": self.made[before].digest}
        bundle = dataclasses.replace(small, lineage=lineage)
        run = self.registry.log_run(
            RunRecord(
                "flights",
                f"run {number}",
                params={"max_depth": 3 + int(number)},
                metrics={"cv_auc": 0.9 + int(number) / 100},
                artifacts={"environment.json": json.dumps({"libraries": {"xgboost": f"3.{number}"}}).encode()},
            )
        )
        tags = {"data_ref": f"h{number}", "data_version": number, "env_lock": "lock sha256:1"}
        tags["gate_performance"] = "PASS"
        assert self.registry.register("flights", bundle, run, tags=tags) == number
        self.bundles.put(bundle)
        self.made[number] = bundle

    def arm(self, number: str, weight: float = 1.0) -> Arm:
        bundle = self.made[number]
        return Arm(number, weight, str(self.bundles.root / bundle.digest), bundle.digest)

    def __call__(self, *words: str, expect: int = 0):
        return sluiceway(self.folder, "models", *words, expect=expect)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("models"))


@pytest.fixture
def stores(place):
    """An empty catalog; no version has an alias or is retired."""
    (place.state / "catalog.db").unlink(missing_ok=True)
    for alias in ("champion", "challenger", "previous"):
        place.registry.remove_alias("flights", alias)
    for version in place.registry.versions("flights"):
        gone = [tag for tag in version.tags if tag.startswith("sluiceway.retired")]
        place.registry.tag("flights", version.version, dict.fromkeys(gone))
    return open_stores(f"sqlite:///{place.state / 'catalog.db'}")


def publish(stores, *documents: TrafficDocument) -> None:
    for document in documents:
        newest = stores.traffic.newest(document.endpoint)
        number = newest.generation + 1 if newest else 1
        stores.traffic.publish(dataclasses.replace(document, generation=number))


def rollout(stores, place, rollout_id, version, champion, *phases, **state):
    """A rollout of the catalog that went through these phases, a hundred seconds each."""
    plan = make_plan(
        rollout_id=rollout_id,
        endpoint=ENDPOINT,
        model="flights",
        version=version,
        bundle=place.arm(version).bundle,
        digest=place.made[version].digest,
        champion=None if champion is None else place.arm(champion),
        application="a" if champion else "",
    )
    journal = Journal.begin(stores.rollouts, plan)
    for number, phase in enumerate(phases, start=1):
        last = number == len(phases)
        journal.append(
            RolloutState(phase=phase, step=0, **(state if last or phase == "rolling_back" else {})),
            action=str(phase),
            evidence={},
            now=1000.0 + 100 * number,
        )


def test_versions_are_listed_and_shown_with_how_they_stand(place, stores):
    rollout(stores, place, "r1", "1", None, Phase.PROMOTING, Phase.PROMOTED)
    rollout(stores, place, "r2", "2", "1", Phase.STEP)
    place.registry.promote("flights", "1")
    rows = {row["version"]: row for row in place("list")}
    assert (rows["1"]["aliases"], rows["1"]["rollouts"]) == (["champion"], {ENDPOINT: "promoted"})
    assert (rows["2"]["rollouts"], rows["3"]["rollouts"]) == ({ENDPOINT: "step"}, {})
    assert (rows["2"]["bytes"], rows["2"]["retired"]) == (len(place.made["2"].model), None)
    assert rows["2"]["gates"] == {"performance": "PASS"}
    shown = place("show", "flights@champion")
    assert (shown["version"], shown["aliases"], shown["bytes"]) == ("1", ["champion"], len(place.made["1"].model))
    assert (shown["gates"], shown["rollouts"]) == ({"performance": "PASS"}, {ENDPOINT: "promoted"})
    assert shown["decision"] == place.made["1"].decision
    place("show", "flights@9", expect=2)


def test_two_versions_are_held_against_each_other(place, stores):
    place.registry.promote("flights", "1")
    told = place("diff", "flights@champion", "flights@2")
    assert (told["first"], told["second"], told["same"]) == ("flights@1", "flights@2", False)
    found = {(one["section"], one["what"]): one for one in told["differences"]}
    assert found[("model", "digest")]["second"] == place.made["2"].digest
    assert found[("metrics", "cv_auc")]["change"] == pytest.approx(0.01)
    assert found[("parameters", "max_depth")]["first"] == "4"
    assert found[("libraries", "xgboost")]["second"] == "3.2"
    assert found[("model", "goes on from")]["second"] == "1"
    assert ("model", "rounds") not in found
    same = place("diff", "flights@1", "flights@1")
    assert (same["same"], same["differences"]) == (True, [])
    place("diff", "flights@1", "flights", expect=2)
    place("diff", "flights@1", "other@1", expect=2)


def test_lineage_goes_from_the_data_to_what_became_of_it(place, stores, capsys, monkeypatch):
    rollout(stores, place, "r1", "1", None, Phase.PROMOTING, Phase.PROMOTED)
    rollout(
        stores,
        place,
        "r3",
        "3",
        "1",
        *(Phase.STEP, Phase.PROMOTING, Phase.PROBATION, Phase.ROLLING_BACK, Phase.ROLLED_BACK),
        cause="accuracy",
        reason="it is worse",
    )
    publish(
        stores,
        TrafficDocument(ENDPOINT, 1, place.arm("1"), rollout_id="r1"),
        TrafficDocument(ENDPOINT, 1, place.arm("3"), rollout_id="r3"),
        TrafficDocument(ENDPOINT, 1, place.arm("1"), rollout_id="r3"),
        TrafficDocument(ENDPOINT, 1, place.arm("3")),
    )
    told = place("lineage", "flights@3")
    assert told["data"] == {**DATA, "version": 3, "rows": 300, "ref": "h3"}
    assert (told["code"]["commit"], told["lock"], told["run"]["name"]) == ("c" * 40, "lock sha256:1", "run 3")
    parent = told["parent"]
    assert (parent["version"], parent["there"], parent["data"]["version"]) == ("2", True, 2)
    assert (parent["parent"]["version"], parent["parent"]["parent"]) == ("1", None)
    (one,) = told["rollouts"]
    assert (one["endpoint"], one["outcome"], one["cause"], one["reason"]) == (
        ENDPOINT,
        "undone",
        "accuracy",
        "it is worse",
    )
    assert (one["instead_of"], one["time"]) == ("1", "1970-01-01T00:23:20+00:00")
    spans = [(span["by"], span["ended_by"], span["followed_by"]) for span in told["traffic"]]
    assert spans == [("r3", "r3", "1"), ("by hand", None, None)]
    monkeypatch.chdir(place.folder)
    assert run_command(["models", "lineage", "flights@3"]) == 0
    out = capsys.readouterr().out
    for text in ("d" * 64, "r" * 64, "goes on from flights@2", "undone on accuracy", "it is worse", "until now"):
        assert text in out, text


def refused(place, *words):
    before = {one.version: (one.tags, one.aliases) for one in place.registry.versions("flights")}
    told = place("retire", *words, expect=2)
    assert {one.version: (one.tags, one.aliases) for one in place.registry.versions("flights")} == before
    return f"{told['message']} {told['hint']}"


def test_a_retired_version_is_marked_and_kept(place, stores):
    told = place("retire", "flights@4", "--reason", "leaks the target")
    assert (told["version"], told["consequences"], told["deleted"]) == ("4", [], [])
    assert {row["version"]: row["retired"] for row in place("list")}["4"] == told["since"]
    assert place("lineage", "flights@4")["retired"]["reason"] == "leaks the target"
    assert place.registry.bundle("flights", "4")[1] == place.made["4"]
    assert place("retire", "flights@4")["since"] == told["since"]
    assert place("retire", "flights@4", "--undo")["since"] is None
    assert not [tag for tag in place.registry.version("flights", "4").tags if "retired" in tag]
    assert "is not retired" in place("retire", "flights@4", "--undo", expect=2)["message"]


@pytest.mark.parametrize("alias", ["champion", "challenger", "previous"])
def test_what_an_alias_of_a_rollout_names_is_not_retired(place, stores, alias):
    place.registry.set_alias("flights", alias, "5")
    assert f"it is flights@{alias}" in refused(place, "flights@5", "--force")


def test_what_answers_requests_or_could_at_once_is_not_retired(place, stores):
    document = TrafficDocument(
        ENDPOINT,
        1,
        place.arm("1", 0.9),
        (place.arm("2", 0.1),),
        shadows=(place.arm("3", 0.5),),
        warm=(place.arm("4", 0.0),),
    )
    publish(stores, document)
    for version, role in {"1": "the champion", "2": "a challenger", "3": "a shadow", "4": "kept warm"}.items():
        assert f"it is {role} of {ENDPOINT}" in refused(place, f"flights@{version}", "--force", "--delete-files")
    place("retire", "flights@5")


@pytest.mark.parametrize("phase", [Phase.STEP, Phase.PAUSED, Phase.PROMOTING, Phase.PROBATION, Phase.ROLLING_BACK])
def test_neither_side_of_a_rollout_that_has_not_ended_is_retired(place, stores, phase):
    rollout(stores, place, "r2", "2", "1", Phase.STEP, phase)
    assert "rollout r2 rolls it out" in refused(place, "flights@2", "--force")
    assert "rollout r2 may go back to it" in refused(place, "flights@1", "--force")


def test_what_an_endpoint_goes_back_to_is_only_retired_by_force(place, stores):
    publish(stores, *(TrafficDocument(ENDPOINT, 1, place.arm(version)) for version in "123"))
    told = refused(place, "flights@2")
    assert f"is what {ENDPOINT} can go back to" in told
    assert f"rollout undo {ENDPOINT}` goes back to the retired version 2" in told
    assert "finds no files" in refused(place, "flights@2", "--delete-files")
    (consequence,) = place("retire", "flights@2", "--force")["consequences"]
    assert ENDPOINT in consequence
    assert place("retire", "flights@1")["consequences"] == []  # two champions back


def test_files_are_deleted_only_when_asked_and_the_lineage_stays(place, stores):
    digest = place.made["6"].digest
    place("retire", "flights@6", "-m", "old")
    assert place.bundles.has(digest)
    told = place("retire", "flights@6", "--delete-files")
    assert len(told["deleted"]) == 2
    assert not place.bundles.has(digest)
    left = {path.name for path in place.state.rglob(f"model/{digest[:16]}/*")}
    assert "model.ubj" not in left
    assert {"schema.json", "decision.json", "lineage.json", "MLmodel"} <= left
    with pytest.raises(ModelError, match="were deleted when it was retired"):
        place.registry.bundle("flights", "6")
    lineage = place("lineage", "flights@6")
    assert (lineage["data"]["version"], lineage["retired"]["files_deleted"] is not None) == (6, True)
    assert place("show", "flights@6")["bytes"] is None
    found = {(one["section"], one["what"]) for one in place("diff", "flights@6", "flights@5")["differences"]}
    assert {("model", "rounds"), ("model", "bytes"), ("data", "version")} <= found
    assert "were deleted" in place("retire", "flights@6", "--undo", expect=2)["message"]
    assert place("retire", "flights@6", "--delete-files")["since"]  # again: nothing is left to do
    # Whoever makes the same model again has it again, and it is still retired.
    run = place.registry.version("flights", "6").run_id
    assert place.registry.register("flights", place.made["6"], run) == "6"
    assert place.registry.bundle("flights", "6")[1] == place.made["6"]
    place("retire", "flights@6", "--undo")


def test_a_bundle_that_another_version_shares_stays_in_the_store(place, stores):
    run = place.registry.log_run(RunRecord("flights", "the same once more"))
    twin = place.registry.register("flights", place.made["5"], run)
    place("retire", f"flights@{twin}", "--delete-files")
    assert place.bundles.has(place.made["5"].digest)
    assert place.registry.bundle("flights", "5")[1] == place.made["5"]


CONFIG = """
experiment: {name: flights}
data: {path: data/flights, features: [delay, distance, carrier], target: late}
platform: {serving: {isolation: replica}}
"""


def test_neither_a_rollout_nor_a_person_gives_a_retired_version_traffic(place, stores, monkeypatch):
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)  # the session's Ray is for all tests
    monkeypatch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
    (place.folder / "flights.yaml").write_text(CONFIG)
    publish(stores, TrafficDocument(ENDPOINT, 1, place.arm("1")), TrafficDocument(ENDPOINT, 1, place.arm("2")))
    rollout(stores, place, "r1", "2", "1", Phase.PROMOTING, Phase.PROMOTED)
    place("retire", "flights@3", "-m", "leaks")
    told = sluiceway(place.folder, "rollout", "start", "flights@3", "--config", "flights.yaml", "--ungated", expect=2)
    assert "is retired since" in told["message"]
    assert "leaks" in told["message"]
    for change in (("--switch", "3"), ("--weights", "3=0.1"), ("--shadow", "3=0.1")):
        told = sluiceway(place.folder, "serve", "traffic", ENDPOINT, *change, expect=2)
        assert "is retired since" in told["message"], change
    place("retire", "flights@3", "--undo")
    place.registry.set_alias("flights", "champion", "1")  # as it was before: nobody told the registry of version 2
    moved = sluiceway(place.folder, "serve", "traffic", ENDPOINT, "--switch", "3", "--config", "flights.yaml")
    assert moved["arms"][0]["version"] == "3"
    assert [place.registry.alias("flights", alias) for alias in ("champion", "previous")] == ["3", "2"]
    tags = place.registry.version("flights", "2").tags
    story = [tags[f"rollout.{ENDPOINT}.{part}"] for part in ("outcome", "reason")]
    assert story == ["replaced", "version 3 by hand"]


def test_no_command_of_models_moves_an_alias(place, stores, tmp_path):
    place.registry.promote("flights", "1")
    place.registry.promote("flights", "2")
    place.registry.set_alias("flights", "challenger", "3")
    before = {one.version: one.aliases for one in place.registry.versions("flights")}
    bundle = place.made["4"]
    (tmp_path / "m.ubj").write_bytes(bundle.model)
    schema = {"target": "late", "features": [_entry(feature) for feature in bundle.schema["features"]]}
    (tmp_path / "m.json").write_text(json.dumps(schema))
    place("list")
    place("show", "flights@2")
    place("diff", "flights@1", "flights@2")
    place("lineage", "flights@2")
    place("import", str(tmp_path / "m.ubj"), "flights", "--schema", str(tmp_path / "m.json"))
    place("retire", "flights@4")
    place("retire", "flights@4", "--undo")
    refused(place, "flights@1")
    after = {one.version: one.aliases for one in place.registry.versions("flights")}
    assert {version: aliases for version, aliases in after.items() if aliases} == {
        version: aliases for version, aliases in before.items() if aliases
    }


def _entry(feature):
    return {name: value for name, value in feature.items() if name != "kind" or value == "category"}


@pytest.fixture
def of_version(place, stores, monkeypatch):
    """A version's way to the endpoint, as the process that rolls it out has it."""
    from sluiceway.config.lifecycle import ReleaseStep  # noqa: PLC0415 (brings the configuration and Ray)
    from sluiceway.config.load import load_settings  # noqa: PLC0415
    from sluiceway.core.references import TableVersion  # noqa: PLC0415
    from sluiceway.lifecycle.candidate import Candidate  # noqa: PLC0415
    from sluiceway.lifecycle.deployment import EnvironmentRollout  # noqa: PLC0415
    from sluiceway.wiring.context import build_context  # noqa: PLC0415

    monkeypatch.chdir(place.folder)

    def make(version, *overrides, **more):
        (place.folder / "flights.yaml").write_text(CONFIG)
        context = build_context(load_settings("flights.yaml", overrides=overrides))
        arm = place.arm(version)
        candidate = Candidate(TableVersion("/tables/flights", 2, "d", 300, "2"), arm.bundle, arm.digest, {})
        step = ReleaseStep(step="release", name=f"flights {version}")
        return EnvironmentRollout(context, step, candidate, version, "production", **more)

    return make


@pytest.mark.parametrize("before", [None, "3"])
def test_a_rollout_s_effects_move_the_aliases_and_tell_the_story_however_often(place, stores, of_version, before):
    effects = of_version("2")
    for version in filter(None, (before, "1")):
        place.registry.promote("flights", version)
        publish(stores, TrafficDocument(ENDPOINT, 1, place.arm(version)))
    rollout(stores, place, "r2", "2", "1", Phase.STEP)
    plan = dataclasses.replace(Journal.open(stores.rollouts, "r2").plan, application="", isolation="replica")

    def seen():
        aliases = {name: place.registry.alias("flights", name) for name in ("champion", "challenger", "previous")}
        tags = place.registry.version("flights", "2").tags
        return aliases, {part: tags[f"rollout.{ENDPOINT}.{part}"] for part in ("id", "outcome", "cause", "time")}

    def go(phase, seconds, **state):
        journal = Journal.open(stores.rollouts, "r2")
        journal.append(RolloutState(phase=phase, step=0, **state), action=str(phase), evidence={}, now=seconds)

    effects.started(plan)
    first = seen()
    effects.started(plan)
    assert seen() == first
    assert first == (
        {"champion": "1", "challenger": "2", "previous": before},
        {"id": "r2", "outcome": "started", "cause": "", "time": "1970-01-01T00:18:20+00:00"},
    )
    go(Phase.PROMOTING, 2000.0)
    for _ in range(2):
        effects.promoted(plan)
        assert seen() == (
            {"champion": "2", "challenger": None, "previous": "1"},
            {"id": "r2", "outcome": "promoted", "cause": "", "time": "1970-01-01T00:33:20+00:00"},
        )
    go(Phase.PROBATION, 2100.0)
    publish(stores, plan.promoted_document(generation=1), plan.rolled_back_document(generation=1))
    go(Phase.ROLLING_BACK, 3000.0, cause="accuracy", reason="worse")
    for _ in range(2):
        effects.rolled_back(plan, "worse")
        assert seen() == (
            {"champion": "1", "challenger": None, "previous": before},
            {"id": "r2", "outcome": "undone", "cause": "accuracy", "time": "1970-01-01T00:50:00+00:00"},
        )
    go(Phase.ROLLED_BACK, 3100.0)
    assert place("retire", "flights@2")["consequences"] == []  # nobody goes back to what was undone


AB = ("deployment.strategy=ab", "deployment.ab={weight: 0.2, min_seconds: 60, others: ['3']}")


def test_the_winner_of_a_test_has_the_aliases_and_the_story(place, stores, of_version):
    effects = of_version("2", *AB)
    place.registry.promote("flights", "1")
    publish(stores, TrafficDocument(ENDPOINT, 1, place.arm("1")))
    plan = effects.check("ab1")
    journal = Journal.begin(stores.rollouts, plan)

    def go(phase, **state):
        journal.append(RolloutState(phase=phase, step=0, generation=2, **state), action="x", evidence={}, now=1000.0)

    def outcome(version):
        kept = place.registry.version("flights", version).tags[f"rollout.{ENDPOINT}.outcome"]
        (told,) = place("lineage", f"flights@{version}")["rollouts"]
        assert told["outcome"] == kept
        return kept, told["reason"]

    go(Phase.STEP)
    effects.started(plan)
    assert place.registry.alias("flights", "challenger") == "2"
    go(Phase.PROMOTING, winner="3", reason="version 3 is better")
    for _ in range(2):
        effects.promoted(plan.won_by("3"))
    aliases = {alias: place.registry.alias("flights", alias) for alias in ("champion", "challenger", "previous")}
    assert aliases == {"champion": "3", "challenger": None, "previous": "1"}
    assert outcome("3") == ("promoted", "version 3 is better")
    assert outcome("2") == ("rolled_back", "version 3 has won the test")
    publish(stores, plan.won_by("3").promoted_document(generation=2))
    go(Phase.PROMOTED, winner="3")
    assert place("retire", "flights@2")["since"]


def test_a_release_takes_no_further_version_that_is_retired_or_that_gates_hold_back(place, stores, of_version):
    publish(stores, TrafficDocument(ENDPOINT, 1, place.arm("1")))
    place.registry.tag("flights", "3", {"gate_performance": "FAIL: auc 0.4 < 0.6"})
    try:
        with pytest.raises(ModelError, match="gates do not let version 3"):
            of_version("2", *AB, gated=True).check("ab1")
        assert of_version("2", *AB).check("ab1").versions == ("2", "3")  # `rollout start --ungated`
    finally:
        place.registry.tag("flights", "3", {"gate_performance": "PASS"})
    assert of_version("2", *AB, gated=True).check("ab1").versions == ("2", "3")
    place("retire", "flights@3")
    for gated in (True, False):
        with pytest.raises(ModelError, match="is retired since"):
            of_version("2", *AB, gated=gated).check("ab1")


@pytest.fixture
def deployed(monkeypatch):
    """Neither Serve nor users: what is deployed beside the endpoint."""
    from sluiceway.lifecycle import deployment  # noqa: PLC0415
    from sluiceway.serving.specs import ServeAddress  # noqa: PLC0415

    there = set()
    monkeypatch.setattr(deployment, "start_serve", lambda _: ServeAddress("127.0.0.1", 1))
    monkeypatch.setattr(deployment, "deploy_endpoint", lambda _: None)
    monkeypatch.setattr(deployment.EnvironmentRollout, "_replay", lambda *_: None)
    monkeypatch.setattr(deployment, "deploy_challenger", lambda spec: there.add(spec.application))
    monkeypatch.setattr(deployment, "remove_unasked", lambda _, asked: there.intersection_update(asked))
    return there


def test_a_challenger_that_a_hook_lets_not_begin_is_not_left_behind(place, stores, of_version, deployed):
    publish(stores, TrafficDocument(ENDPOINT, 1, place.arm("1")))
    no = "deployment.hooks=[{'on': [before_start], command: 'exit 1'}]"
    with pytest.raises(HookRefusedError, match="has not begun"):
        of_version("2", "platform.serving.isolation=process", no).run("r2")
    assert deployed == set()


@pytest.mark.parametrize(
    ("phases", "needed"),
    [
        ((Phase.STEP,), True),
        ((Phase.STEP, Phase.PAUSED), True),
        ((Phase.STEP, Phase.PROMOTING), False),
        ((Phase.STEP, Phase.PROMOTING, Phase.PROBATION), False),
        ((Phase.STEP, Phase.ROLLING_BACK), False),
    ],
)
def test_gone_on_with_a_rollout_deploys_what_it_still_needs(
    place, stores, of_version, deployed, monkeypatch, phases, needed
):
    rollout(stores, place, "r2", "2", "1", *phases)

    def stopped(*_):
        raise ConflictError("far enough")

    monkeypatch.setattr("sluiceway.lifecycle.deployment.run", stopped)
    with pytest.raises(ConflictError, match="far enough"):
        of_version("2", "platform.serving.isolation=process").run("r2")
    assert bool(deployed) is needed


@pytest.mark.parametrize("wrong", ["retired", "Prometheus", "files"])
def test_what_is_under_way_is_not_superseded_by_what_cannot_begin(place, stores, of_version, monkeypatch, wrong):
    from sluiceway.lifecycle.start_rollout import end_others  # noqa: PLC0415 (brings Ray)

    ended = []
    monkeypatch.setattr("sluiceway.lifecycle.start_rollout._end", lambda _, known, __: ended.append(known))
    publish(stores, TrafficDocument(ENDPOINT, 1, place.arm("1")))
    rollout(stores, place, "r2", "2", "1", Phase.STEP)
    away = ("deployment.source=prometheus", "deployment.prometheus={url: 'http://127.0.0.1:1', timeout_seconds: 1}")
    good, bad = (of_version("3", *overrides).context for overrides in ((), away))
    if wrong == "retired":
        place("retire", "flights@3")
    with monkeypatch.context() as patch:
        if wrong == "files":
            patch.setattr(type(place.registry), "bundle", broken)
        with pytest.raises(BackendError if wrong == "Prometheus" else ModelError):
            end_others(bad if wrong == "Prometheus" else good, "3", "production", but="r3")
    assert ended == []
    end_others(good, "4", "production", but="r4")
    assert ended == ["r2"]


def broken(*_):
    raise ModelError("the files are damaged")
