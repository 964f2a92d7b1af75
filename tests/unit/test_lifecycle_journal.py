"""Steps that are done stay done."""

from datetime import UTC, datetime

import pytest

from sluiceway.catalog.pipeline import PipelineStore
from sluiceway.core.clock import SystemClock
from sluiceway.lifecycle.journal import Journal


@pytest.fixture
def store(catalog):
    found = PipelineStore(catalog)
    found.create("run-1", config_digest="d", config="", now=datetime.now(UTC).timestamp())
    return found


class Work:
    def __init__(self, result=None, error=None):
        self.calls, self.result, self.error = 0, result or {"a": 1}, error

    def __call__(self):
        self.calls += 1
        if self.error:
            raise self.error
        return self.result


def journal(store, run_id="run-1"):
    return Journal(store, run_id, clock=SystemClock())


def test_a_done_step_is_not_done_again(store):
    work = Work()
    first = journal(store).perform("train", work, key="k")
    again = journal(store).perform("train", work, key="k")
    assert work.calls == 1
    assert not first.reused
    assert again.reused
    assert again.result == {"a": 1}


def test_a_step_whose_inputs_changed_is_done_again(store):
    work = Work()
    journal(store).perform("train", work, key="k")
    journal(store).perform("train", work, key="other")
    assert work.calls == 2


def test_what_work_needs_is_prepared_once_and_only_for_work(store):
    journal(store).perform("train", Work(), key="k")
    prepared = Work()
    again = Journal(store, "run-1", clock=SystemClock(), prepare=prepared)
    again.perform("train", Work(), key="k")
    assert prepared.calls == 0
    again.perform("gates", Work(), key="k")
    again.perform("register", Work(), key="k")
    assert prepared.calls == 1


def test_what_cannot_be_prepared_is_tried_again_and_writes_nothing_down(store):
    refused = Work(error=OSError("no port"))
    for _ in range(2):
        with pytest.raises(OSError, match="no port"):
            Journal(store, "run-1", clock=SystemClock(), prepare=refused).perform("train", Work(), key="k")
    assert refused.calls == 2
    assert store.step("run-1", "train") is None


def test_a_failed_step_is_written_down_and_tried_again(store):
    with pytest.raises(ValueError, match="broken"):
        journal(store).perform("train", Work(error=ValueError("broken")), key="k")
    assert store.step("run-1", "train").status == "failed"
    assert "broken" in store.step("run-1", "train").result["error"]
    work = Work()
    assert not journal(store).perform("train", work, key="k").reused
    assert work.calls == 1


def test_ctrl_c_is_written_down_too(store):
    with pytest.raises(KeyboardInterrupt):
        journal(store).perform("train", Work(error=KeyboardInterrupt()), key="k")
    assert store.step("run-1", "train").status == "failed"


def test_a_value_is_taken_from_another_run_and_an_effect_is_not(store):
    journal(store).perform("train", Work({"bundle": "b"}), key="k")
    store.create("run-2", config_digest="d", config="", now=datetime.now(UTC).timestamp())
    value, effect = Work(), Work()
    found = journal(store, "run-2").perform("train again", value, key="k", across_runs=True)
    assert found.reused
    assert found.result == {"bundle": "b"}
    assert value.calls == 0
    assert not journal(store, "run-2").perform("rollout", effect, key="k").reused
    assert [step.name for step in store.steps("run-2")] == ["train again", "rollout"]


def test_a_result_that_is_none_is_made_again_in_this_run_and_in_others(store):
    work = Work({"error": True})
    first = journal(store).perform("gates", work, key="k", across_runs=True, again=lambda result: result["error"])
    assert first.result == {"error": True}
    assert journal(store).recorded("gates") is None
    work.result = {"error": False}
    second = journal(store).perform("gates", work, key="k", across_runs=True, again=lambda result: result["error"])
    assert (second.result, second.reused, work.calls) == ({"error": False}, False, 2)
    assert journal(store).perform("gates", work, key="k", across_runs=True).reused
