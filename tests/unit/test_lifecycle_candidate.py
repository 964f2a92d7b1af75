"""A candidate's checkpoints outlive its training until it is written down; what is known is not checked less."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pytest

from sluiceway.catalog.pipeline import DONE, PipelineStore
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.serving import PredictionLogSection, ServingSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.core.references import TableVersion
from sluiceway.data.commit import append
from sluiceway.lifecycle import candidate as module
from sluiceway.lifecycle.candidate import Candidate, build_candidate, candidate_step
from sluiceway.lifecycle.journal import Journal
from sluiceway.lifecycle.preflight import check_named_columns

VERSION = TableVersion("/t", 3, "d1", 100, "newest")


class Unreachable(PipelineStore):
    """A catalog that is gone when a step has done its work."""

    def end_step(self, *_, status, **__):
        if status == DONE:
            raise BackendError("the catalog does not answer")


@pytest.fixture
def context(tmp_path, monkeypatch):
    """Trains nothing, and leaves the checkpoints of a training."""
    context = SimpleNamespace(
        folders=SimpleNamespace(state=tmp_path),
        bundles=SimpleNamespace(has=lambda digest: True),
        training=SimpleNamespace(incremental=None),
        evaluation=None,
        serving=None,
    )

    def train(context, version):
        (module._checkpoints(context, version) / "run").mkdir(parents=True, exist_ok=True)
        return Candidate(version, "uri", "digest", {})

    monkeypatch.setattr(module, "_train", train)
    monkeypatch.setattr(module, "candidate_key", lambda *_: "k")
    monkeypatch.setattr(module, "check_named_columns", lambda *_: None)
    return context


def test_a_catalog_that_does_not_answer_costs_no_training(context, catalog, tmp_path):
    def step(store):
        return candidate_step(context, VERSION, Journal(store, "r", clock=SystemClock()), name="train")

    with pytest.raises(BackendError, match="does not answer"):
        step(Unreachable(catalog))
    assert (tmp_path / "checkpoints" / "k" / "run").exists()
    assert not step(PipelineStore(catalog)).reused
    assert not (tmp_path / "checkpoints" / "k").exists()
    assert step(PipelineStore(catalog)).reused


def test_a_column_to_hide_that_is_not_there_is_refused_also_where_the_candidate_is_known(
    context, catalog, tmp_path, monkeypatch
):
    store = PipelineStore(catalog)
    candidate_step(context, VERSION, Journal(store, "first", clock=SystemClock()), name="train")
    append(table := str(tmp_path / "table"), pa.table({"customer": [1, 2]}), message="first", source="test")
    context.evaluation = EvaluationSection()
    context.serving = ServingSection(log=PredictionLogSection(drop=["custmer"]))
    monkeypatch.setattr(module, "check_named_columns", check_named_columns)
    version = replace(VERSION, uri=table, version=0)
    with pytest.raises(ConfigError) as caught:
        candidate_step(context, version, Journal(store, "second", clock=SystemClock()), name="train")
    assert "did you mean 'customer'" in caught.value.problems[0]
    assert store.steps("second") == []


def test_without_a_journal_they_go_with_the_end_of_the_training(context, tmp_path):
    assert build_candidate(context, VERSION).digest == "digest"
    assert not (tmp_path / "checkpoints" / "k").exists()
