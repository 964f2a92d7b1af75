"""Searches on a real cluster, on real flights, with MLflow: what is tried, stopped, kept, and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from sluiceway.catalog.pipeline import DONE
from sluiceway.config.load import load_settings
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.data.commit import append
from sluiceway.data.source_flights import flights_month
from sluiceway.lifecycle import search_trials
from sluiceway.lifecycle.candidate import candidate_key
from sluiceway.lifecycle.keys import code_digest
from sluiceway.lifecycle.search import search, search_key
from sluiceway.lifecycle.search_journal import SearchJournal
from sluiceway.training.ray_search import run_trials
from sluiceway.wiring.context import build_context

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

FOLDS = 4
SPACE = {
    "max_depth": {"whole": [1, 8]},
    "learning_rate": {"real": [0.05, 0.6], "log": True},
    "subsample": {"real": [0.5, 1.0]},
}


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.lines = []

    def stage(self, name, detail=""):
        self.lines.append(f"{name}: {detail}")

    def advance(self, text, fraction=None):
        assert fraction is None or 0 <= fraction <= 1
        self.lines.append(text)

    @property
    def folds(self) -> int:
        """Folds that were trained in front of it."""
        return sum(line.startswith("trial ") and ": fold " in line and ", stopped" not in line for line in self.lines)


@pytest.fixture(scope="module")
def flights(tmp_path_factory) -> str:
    uri = str(tmp_path_factory.mktemp("search") / "flights")
    append(uri, flights_month(1)[:5000], message="January", source="test")
    return uri


class Place:
    """A state folder with a configuration."""

    def __init__(self, folder: Path, table: str):
        self.folder, self._table = folder, table
        self.heard = Heard()

    def config(self, *, space=None, params=None, patience=5, model="XGBClassifier", **budget) -> Path:
        document = {
            "experiment": {"name": "flights", "seed": 7},
            "data": {
                "path": self._table,
                "key": ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"],
                "target": "late",
                "features": ["dep_delay", "weekday", "sched_dep_minutes", "carrier", "origin", "distance", "temp"],
            },
            "model": {"type": model, "params": params or {"n_estimators": 40, "max_depth": 8, "learning_rate": 0.6}},
            "training": {"folds": FOLDS, "early_stopping_rounds": patience},
            "search": {"space": space or SPACE, **budget},
            "platform": {"state": str(self.folder / "state")},
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def context(self, **given):
        settings = load_settings(self.config(**given))
        self.heard = Heard()
        return build_context(settings, progress=self.heard), settings.search

    def search(self, **given):
        context, section = self.context(**given)
        return search(context, context.version(), section)

    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder / 'state' / 'mlflow.db'}")

    def runs(self):
        """The search's own runs, and those of its trials, in MLflow."""
        client = self.client()
        found = client.search_runs([client.get_experiment_by_name("flights").experiment_id], max_results=1000)
        children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
        return client, [run for run in found if run not in children], children


@pytest.fixture
def place(tmp_path, flights):
    return Place(tmp_path, flights)


def shape(outcome):
    """What of the trials does not depend on the machine."""
    return {one.number: (one.params, one.scores, one.status) for one in outcome.trials}


def test_a_search_stops_the_hopeless_and_trains_the_best(place):
    outcome = place.search(trials=12)
    trials = {one.number: one for one in outcome.trials}
    assert sorted(trials) == list(range(12))
    assert outcome.trained == 12
    best, configured = outcome.trials[0], trials[0]
    assert configured.params == {}
    assert (configured.status, best.status) == ("finished", "finished")
    assert best.score == max(one.score for one in trials.values() if one.status == "finished")
    assert best.score > configured.score + 0.003  # the configured one is bad on purpose

    stopped = [one for one in trials.values() if one.status == "stopped"]
    assert len(stopped) >= 3
    assert all(0 < len(one.scores) < FOLDS for one in stopped)
    assert place.heard.folds == sum(len(one.scores) for one in trials.values()) < 12 * FOLDS

    # The candidate is the model of these parameters, and a release of them finds it.
    context, _ = place.context(params=outcome.params, trials=1)
    assert context.stores.pipeline.done(candidate_key(context, context.version())).result["digest"] == (
        outcome.candidate.digest
    )
    folds = outcome.candidate.training["folds"]
    assert [fold["metric"] for fold in folds] == pytest.approx(list(best.scores))
    written = yaml.safe_load(Path(outcome.file).read_text())
    assert written == {"model": {"type": "XGBClassifier", "params": outcome.params}}
    assert outcome.params == {"n_estimators": 40, "max_depth": 8, "learning_rate": 0.6, **best.params}

    _, parents, children = place.runs()
    assert [run.info.run_id for run in parents] == [outcome.run_id]
    assert (parents[0].info.status, parents[0].data.tags["best_trial"]) == ("FINISHED", str(best.number))
    assert parents[0].data.metrics["cv_auc"] == pytest.approx(best.score)
    assert parents[0].data.params["space.max_depth"] == "1 to 8, whole"
    assert len(children) == 12
    client = place.runs()[0]
    for run in children:
        one = trials[int(run.data.tags["trial"])]
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", outcome.run_id)
        assert run.data.params["n_estimators"] == "40"
        assert {name: str(value) for name, value in one.params.items()}.items() <= run.data.params.items()
        points = client.get_metric_history(run.info.run_id, "fold_auc")
        assert sorted((point.step, point.value) for point in points) == list(enumerate(one.scores))
        assert run.data.tags.get("stopped_after_folds") == (str(len(one.scores)) if one.status == "stopped" else None)


@pytest.mark.soak
def test_a_search_that_has_ended_is_told_again_and_given_more_it_goes_on(place):
    first = place.search(trials=4)
    again = place.search(trials=4)
    assert (again.trained, place.heard.folds) == (0, 0)
    assert (shape(again), again.candidate, again.run_id) == (shape(first), first.candidate, first.run_id)
    more = place.search(trials=6)
    assert more.trained == 2
    assert {number: shape(more)[number] for number in range(4)} == shape(first)
    assert len(place.runs()[2]) == 6
    # What another seed finds is another search.
    assert sorted(shape(more)) == list(range(6))


@pytest.mark.soak
def test_a_search_of_a_killed_driver_goes_on_and_ends_as_an_undisturbed_one(place, tmp_path, flights):
    import ray  # noqa: PLC0415 (collected without Ray, too)

    given = {
        "params": {"n_estimators": 300, "learning_rate": 0.02},
        "space": {"max_depth": {"whole": [6, 8]}, "subsample": {"real": [0.5, 1]}},
        "patience": None,  # every fold takes its time
        "trials": (total := 6),
    }
    code_digest.cache_clear()  # the driver looks at the sources of now
    config = place.config(**given)
    context, section = place.context(**given)
    key = search_key(context, context.version(), section)

    def kept() -> dict[str, dict]:
        run = context.stores.pipeline.newest(key)
        steps = context.stores.pipeline.steps(run.run_id) if run else []
        return {step.name: step.result for step in steps if step.status == DONE and step.name.startswith("trial ")}

    driver = Path(__file__).resolve().parents[1] / "search_driver.py"
    address = ray.get_runtime_context().gcs_address
    with (tmp_path / "driver.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(driver), str(config), address], stdout=log, stderr=log, env=dict(os.environ)
        )
        deadline = time.monotonic() + 240
        while len(kept()) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "driver.log").read_text()
    before = kept()
    assert 2 <= len(before) < total

    outcome = search(context, context.version(), section)
    assert outcome.trained == total - len(before)
    assert sorted(shape(outcome)) == list(range(total))
    after = kept()
    assert {name: after[name] for name in before} == before
    assert place.heard.folds == sum(len(doc["scores"]) for name, doc in after.items() if name not in before)
    _, parents, children = place.runs()
    assert [run.info.run_id for run in parents] == [outcome.run_id]
    # What the driver was writing when it was killed is closed as KILLED, and written anew.
    whole = [run for run in children if run.info.status != "KILLED"]
    assert sorted(int(run.data.tags["trial"]) for run in whole) == list(range(total))
    assert len(children) - len(whole) <= 1

    (tmp_path / "undisturbed").mkdir()
    undisturbed = Place(tmp_path / "undisturbed", flights).search(**given)
    assert undisturbed.trained == total
    assert shape(undisturbed) == shape(outcome)
    assert undisturbed.candidate.training["model_digest"] == outcome.candidate.training["model_digest"]


@pytest.mark.soak
def test_minutes_end_a_search_in_the_middle_of_a_fold(place):
    endless = {"params": {"n_estimators": 1_000_000}, "patience": None, "minutes": 0.25}
    began = time.monotonic()
    with pytest.raises(BackendError, match="the time was over before one trial") as caught:
        place.search(**endless)
    assert caught.value.exit_code == 4
    assert time.monotonic() - began >= 15
    _, parents, children = place.runs()
    assert [run.info.status for run in parents] == ["FAILED"]
    assert [run.info.status for run in children] in (["KILLED"], [])  # none where reading alone took the time
    context, section = place.context(**endless)
    key = search_key(context, context.version(), section)
    assert SearchJournal(context.stores.pipeline, key, clock=context.clock).known == ()


@pytest.mark.soak
def test_minutes_end_a_search_whose_trials_never_find_a_place(place, monkeypatch):
    import ray  # noqa: PLC0415 (collected without Ray, too)

    @ray.remote
    class Holder:
        def up(self):
            return True

    held = []

    def while_all_is_held(*given, **named):
        held.append(Holder.options(num_cpus=ray.cluster_resources()["CPU"]).remote())
        ray.get(held[0].up.remote())
        run_trials(*given, **named)

    monkeypatch.setattr(search_trials, "run_trials", while_all_is_held)
    try:
        with pytest.raises(BackendError, match="the time was over before one trial"):
            place.search(minutes=0.25)
    finally:
        for holder in held:
            ray.kill(holder)


@pytest.mark.soak
def test_minutes_end_a_search_that_goes_well(place):
    outcome = place.search(minutes=0.4)
    assert outcome.trained == len(outcome.trials) >= 1
    assert outcome.trials[0].status == "finished"
    assert place.search(minutes=0.4).trained == 0


def test_a_combination_that_xgboost_refuses_is_kept_and_the_search_goes_on(place):
    space = {"objective": {"choice": ["reg:logistic", "reg:gamma"]}, "subsample": {"real": [0.5, 1]}}
    given = {"model": "XGBRegressor", "space": space, "trials": 6}
    outcome = place.search(**given)
    failed = [one for one in outcome.trials if one.status == "failed"]
    assert {one.params["objective"] for one in failed} == {"reg:gamma"}
    assert {one.params.get("objective") for one in outcome.trials if one.status != "failed"} == {None, "reg:logistic"}
    assert all("label must be positive" in one.error and one.scores == () for one in failed)
    children = place.runs()[2]
    assert sorted(run.info.status for run in children) == ["FAILED"] * len(failed) + ["FINISHED"] * (6 - len(failed))
    assert {run.data.tags["error"] for run in children if run.info.status == "FAILED"} == {one.error for one in failed}
    assert place.search(**given).trained == 0


def test_what_the_classes_of_the_target_forbid_is_told_before_a_trial_is_trained(place):
    given_space = {"base_score": {"choice": [0.3, 7.0]}}
    with pytest.raises(ConfigError, match=r"search\.space\.base_score: 7.0 cannot be used; of two classes") as caught:
        place.search(space=given_space, trials=6)
    assert caught.value.exit_code == 2
    assert place.client().get_experiment_by_name("flights") is None  # nothing is left behind
    context, section = place.context(space=given_space, trials=6)
    key = search_key(context, context.version(), section)
    assert SearchJournal(context.stores.pipeline, key, clock=context.clock).run_id == ""


@pytest.mark.soak
def test_a_search_in_which_all_fail_is_an_error(place):
    params = {"n_estimators": 40, "objective": "reg:gamma"}
    given = {"model": "XGBRegressor", "params": params, "space": {"subsample": {"real": [0.5, 1]}}}
    with pytest.raises(
        BackendError, match=r"none of 2 trials could be trained .* trial 0: label must be pos"
    ) as caught:
        place.search(trials=2, **given)
    assert caught.value.exit_code == 4
    assert [run.info.status for run in place.runs()[1]] == ["FAILED"]
    given["space"] = {"subsample": {"real": [0.4, 1]}}
    with pytest.raises(BackendError, match="none of 10 trials"):  # it does not go on failing for an hour
        place.search(minutes=60, **given)
    assert [run.info.status for run in place.runs()[1]] == ["FAILED", "FAILED"]
    context, _ = place.context(minutes=60, **given)
    assert context.stores.pipeline.unfinished() == []  # no vacuum waits for them


@pytest.mark.soak
def test_trials_run_side_by_side(place):
    outcome = place.search(trials=6, concurrent=2)
    assert sorted(shape(outcome)) == list(range(6))
    assert outcome.trials[0].status == "finished"


def test_what_cannot_be_searched_changes_nothing(place):
    with pytest.raises(ConfigError, match="cannot be tried") as caught:
        place.search(space={"max_dept": {"whole": [1, 3]}}, trials=2)
    assert caught.value.exit_code == 2
    assert "max_depth" in caught.value.problems[0]
    assert not (place.folder / "state" / "mlflow.db").exists()
