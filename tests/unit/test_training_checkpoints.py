"""Checkpoints are whole or not there."""

import os
import time

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.training.checkpoints import CheckpointFolder, forget_checkpoints, run_folder


def test_the_last_one_counts(tmp_path):
    kept = CheckpointFolder(tmp_path / "run")
    assert kept.load("fold-1") is None
    kept.save("fold-1", b"one")
    kept.save("fold-1", b"two")
    kept.save("fold-2", b"")
    assert (kept.load("fold-1"), kept.load("fold-2")) == (b"two", b"")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["fold-1", "fold-2"]


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole[:3], lambda whole: b"x" + whole[1:]])
def test_a_damaged_one_is_none(tmp_path, damage):
    kept = CheckpointFolder(tmp_path)
    kept.save("final", b"trees")
    path = tmp_path / "final"
    path.write_bytes(damage(path.read_bytes()))
    assert kept.load("final") is None


def test_one_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match=r"a checkpoint cannot be read from .*/file: Not a directory") as caught:
        CheckpointFolder(tmp_path / "file").load("final")
    assert "begins anew" in str(caught.value.hint)


def test_a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    kept = CheckpointFolder(tmp_path)
    kept.save("final", b"old")

    def full(descriptor):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackendError, match=r"cannot be written into .*: no space left"):
        kept.save("final", b"new")
    assert kept.load("final") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_those_of_a_run_that_is_done_are_deleted_and_old_ones_of_others(tmp_path):
    for name in ("done", "old", "young"):
        CheckpointFolder(tmp_path / name / "x").save("fold-0", b"")
    week_ago = time.time() - 8 * 86_400
    for path in (tmp_path / "old", *(tmp_path / "old").rglob("*")):
        os.utime(path, (week_ago, week_ago))
    forget_checkpoints(tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
    forget_checkpoints(tmp_path / "nowhere" / "done")


def test_a_run_has_a_folder_of_its_own():
    assert run_folder("/root", 1, "a") == run_folder("/root", 1, "a") != run_folder("/root", 2, "a")


def test_a_run_that_still_writes_is_not_old(tmp_path):
    CheckpointFolder(tmp_path / "running" / "x").save("fold-0", b"")
    week_ago = time.time() - 8 * 86_400
    os.utime(tmp_path / "running", (week_ago, week_ago))
    forget_checkpoints(tmp_path / "done")
    assert (tmp_path / "running").is_dir()
