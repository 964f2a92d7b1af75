"""How a search ends, without its trials: what it leaves in the catalog, and which candidate it tells of."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from sluiceway.catalog.pipeline import DONE, FAILED, RUNNING, PipelineStore
from sluiceway.config.experiment import ExperimentSection, ModelSection, TrainingSection
from sluiceway.config.search import SearchSection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import BackendError, ConfigError, DataError
from sluiceway.core.references import TableVersion
from sluiceway.lifecycle import candidate, search_trials
from sluiceway.lifecycle import search as module
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.search_journal import SearchJournal
from sluiceway.training.trials import Trial

VERSION = TableVersion("/t", 3, "d1", 100, "newest")
SECTION = SearchSection(space={"max_depth": {"whole": [2, 9]}}, trials=4)


def trial(number, status="finished", **more) -> Trial:
    return Trial(number, {"max_depth": number}, (0.5,), status, 1.0, **more)


@pytest.fixture
def world(catalog, tmp_path, monkeypatch):
    """Trials are what ``world.trials`` says, or it is raised; each candidate is a bundle of its own."""
    world = SimpleNamespace(trials=[trial(0)], bundles=[], closed=[])
    context = SimpleNamespace(
        stores=SimpleNamespace(pipeline=PipelineStore(catalog)),
        clock=SimpleNamespace(now=lambda: datetime.now(UTC)),
        connect=lambda: None,
        config_text="",
        progress=SilentProgress(),
        experiment=ExperimentSection(name="m"),
        model=ModelSection(),
        training=TrainingSection(),
        evaluation=None,
        serving=None,
        folders=SimpleNamespace(reports=tmp_path, state=tmp_path),
        bundles=SimpleNamespace(has=lambda digest: digest in world.bundles),
    )

    class Runs:
        run_id = "r"

        def __init__(self, *_, **__):
            """MLflow is not asked."""

        def open(self, *_):
            """Nothing."""

        def write(self, _):
            """Nothing."""

        def close(self, best, trials, _):
            world.closed.append((best, len(trials)))

    def train_trials(context, version, recipe, section, journal, runs):
        for one in world.trials if isinstance(world.trials, list) else ():
            journal.keep(one)
        if isinstance(world.trials, Exception):
            raise world.trials
        return world.trials

    def build(context, version):
        world.bundles.append(f"digest {len(world.bundles)}")
        return Candidate(version, "uri", world.bundles[-1], {})

    monkeypatch.setattr(module, "SearchInMlflow", Runs)
    monkeypatch.setattr(module, "train_trials", train_trials)
    monkeypatch.setattr(module, "trial_recipe", lambda *_: "recipe")
    monkeypatch.setattr(candidate, "_train", build)
    for place in (candidate, module):
        monkeypatch.setattr(place, "check_named_columns", lambda *_: None)
    monkeypatch.setattr(candidate, "candidate_key", lambda *_: "candidate")
    monkeypatch.setattr(module, "replace", lambda context, model: SimpleNamespace(**{**vars(context), "model": model}))
    world.context, world.store = context, context.stores.pipeline
    world.search = lambda: module._search(
        context, VERSION, SECTION, SearchJournal(world.store, "k", clock=context.clock)
    )
    return world


def test_one_that_found_something_is_done(world):
    world.search()
    assert world.store.newest("k").status == DONE


def test_one_that_found_nothing_has_failed_and_goes_on_when_it_is_asked_again(world):
    world.trials = [trial(number, "failed", error="no") for number in range(3)]
    with pytest.raises(BackendError, match="none of 3 trials"):
        world.search()
    assert (world.store.newest("k").status, world.store.unfinished()) == (FAILED, [])
    assert world.closed == [(None, 3)]
    world.trials = [trial(3)]
    assert world.search().candidate.digest == "digest 0"
    assert world.store.newest("k").status == DONE


def heard_of(world, monkeypatch, trials):
    """The world's trials go through what listens to Tune."""

    def run_trials(*_, heard, **__):
        for one in trials:
            heard(one)

    job = SimpleNamespace(job=SimpleNamespace(spec=SimpleNamespace(metric="auc", maximise=True)), folds=3, concurrent=1)
    for name in ("prepare", "rows_of", "Draws"):
        monkeypatch.setattr(search_trials, name, lambda *_, **__: SimpleNamespace(blocks=None))
    monkeypatch.setattr(search_trials, "plan_trials", lambda *_, **__: (job, None))
    monkeypatch.setattr(search_trials, "run_trials", run_trials)
    monkeypatch.setattr(module, "train_trials", search_trials.train_trials)


def test_trials_that_cannot_be_planned_end_it(world, monkeypatch):
    """No vacuum waits a week for rows that are not trained on."""
    heard_of(world, monkeypatch, ())

    def refuse(*_, **__):
        raise BackendError("rows cannot be trained from disk on a GPU")

    monkeypatch.setattr(search_trials, "plan_trials", refuse)
    with pytest.raises(BackendError, match="from disk on a GPU"):
        world.search()
    assert (world.store.newest("k").status, world.store.unfinished(), world.closed) == (FAILED, [], [(None, 0)])


def test_the_configured_model_is_tried_as_the_base_lets_it(world, monkeypatch):
    found = ModelSection(params={"scale_pos_weight": 1})
    world.context.registry = SimpleNamespace(check=lambda: None)
    world.context.reading = lambda _: nullcontext()
    world.context.stores.leases = None
    for name, made in (
        ("pin_base", lambda c: c),
        ("base_of", lambda _: "base"),
        ("claim", lambda *_, **__: nullcontext()),
    ):
        monkeypatch.setattr(module, name, made)
    monkeypatch.setattr(module, "first_trial", lambda section, model, base: found if base == "base" else model)
    monkeypatch.setattr(module, "search_key", lambda context, *_: repr(context.model.params))
    assert module.search(world.context, VERSION, SECTION).params == {"scale_pos_weight": 1, "max_depth": 0}
    assert world.store.newest(repr(found.params)).status == DONE


def test_ten_that_failed_end_it_as_failed(world, monkeypatch):
    heard_of(world, monkeypatch, (trial(number, "failed", error="no") for number in range(99)))
    with pytest.raises(BackendError, match="none of 10 trials"):
        world.search()
    assert (world.store.newest("k").status, world.closed) == (FAILED, [(None, 10)])


def test_ten_in_a_row_that_the_machine_failed_end_it_whatever_is_known_and_are_tried_again(world, monkeypatch):
    fine = trial(0)
    lost = (trial(number, "failed", error="no room on the disk", lost=True) for number in range(1, 99))
    heard_of(world, monkeypatch, (fine, *lost))
    with pytest.raises(BackendError, match=r"failed 10 of 10 trials; trial 1: no room on the disk") as caught:
        world.search()
    assert "tries them again" in caught.value.hint
    assert (world.store.newest("k").status, world.closed) == (FAILED, [(None, 1)])
    assert SearchJournal(world.store, "k", clock=SimpleNamespace()).known == (fine,)


def test_a_search_whose_trials_the_machine_failed_says_what_it_was(world):
    world.trials = [trial(number, "failed", error="it sees no GPU", lost=True) for number in range(3)]
    with pytest.raises(BackendError, match=r"failed 3 of 3 trials; trial 0: it sees no GPU"):
        world.search()
    assert world.store.newest("k").status == FAILED
    assert SearchJournal(world.store, "k", clock=SimpleNamespace()).known == ()


def test_rows_that_are_refused_end_it(world, monkeypatch):
    world.trials = DataError("a weight is negative")
    with pytest.raises(DataError):
        world.search()
    assert (world.store.newest("k").status, world.store.unfinished()) == (FAILED, [])
    world.trials = [trial(0)]
    monkeypatch.setattr(candidate, "_train", lambda *_: (_ for _ in ()).throw(DataError("only one class")))
    with pytest.raises(DataError):
        world.search()
    assert (world.store.newest("k").status, world.store.unfinished()) == (FAILED, [])


def test_a_column_to_hide_that_is_not_there_is_refused_also_where_all_is_known(world, monkeypatch):
    world.search()

    def refuse(*_):
        raise ConfigError("no such column")

    monkeypatch.setattr(module, "check_named_columns", refuse)
    closed = len(world.closed)
    with pytest.raises(ConfigError, match="no such column"):
        world.search()
    assert (world.store.newest("k").status, len(world.closed)) == (DONE, closed)


def test_one_that_could_not_go_on_has_not_ended(world):
    world.trials = BackendError("Ray is gone")
    with pytest.raises(BackendError, match="Ray is gone"):
        world.search()
    assert world.store.newest("k").status == RUNNING


def test_a_candidate_whose_files_were_deleted_is_trained_again(world):
    assert world.search().candidate.digest == "digest 0"
    world.trials = []
    assert world.search().candidate.digest == "digest 0"
    world.bundles[0] = "deleted"
    assert world.search().candidate.digest == "digest 1"
