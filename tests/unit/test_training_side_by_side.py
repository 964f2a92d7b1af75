"""Folds that share a worker's threads: how they share them, what they give, and what happens when one fails."""

import threading
import time

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.training.side_by_side import Spans, fold_threads, run_side_by_side


@pytest.mark.parametrize(
    ("folds", "threads", "shares"),
    [
        (5, 2, (1, 1, 1, 1, 2)),
        (4, 2, (1, 1, 1, 1)),
        (5, 1, (1, 1, 1, 1, 1)),
        (5, 16, (3, 3, 3, 3, 3)),
        (5, 4, (1, 1, 1, 1, 4)),
        (5, 3, (1, 1, 1, 1, 1)),
        (3, 8, (2, 2, 2)),
    ],
)
def test_as_many_folds_as_threads_share_them_evenly(folds, threads, shares):
    assert fold_threads(folds, threads) == shares


def test_no_more_threads_run_than_there_are_and_results_keep_their_order():
    running, most, lock = [0], [0], threading.Lock()

    def work(number, share):
        with lock:
            running[0] += share
            most[0] = max(most[0], running[0])
        time.sleep(0.02 * (5 - number))
        with lock:
            running[0] -= share
        return number

    assert run_side_by_side(work, fold_threads(5, 2), 2, failed=threading.Event()) == [0, 1, 2, 3, 4]
    assert most[0] == 2


def test_the_first_fold_that_fails_ends_the_others_and_is_told():
    failed, begun = threading.Event(), []

    def work(number, _share):
        begun.append(number)
        if number == 1:
            raise ValueError("no rows in fold 1")
        if not failed.wait(10):
            raise TimeoutError("nobody told it")
        raise BackendError("ended")

    with pytest.raises(ValueError, match="no rows in fold 1"):
        run_side_by_side(work, fold_threads(5, 2), 2, failed=failed)
    assert begun[:2] == [0, 1]
    assert 4 not in begun


def test_seconds_are_told_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sluiceway.training.side_by_side.time.perf_counter", lambda: now[0])
    spans, first, second = Spans(), [], []
    with spans.building(first):
        now[0] = 2.0  # alone
    with spans.building(second):
        now[0] = 3.0  # the first boosts meanwhile
    now[0] = 7.0
    assert spans.boosted(first) == 7.0
    now[0] = 9.0
    assert spans.boosted(second) == 7.0
    assert spans.seconds() == (2.0, 7.0)
    assert Spans().seconds() == (0, 0)
