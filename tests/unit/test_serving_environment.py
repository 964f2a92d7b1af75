"""The folder of HAProxy's admin socket is one user's alone."""

import os
import stat

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.serving.environment import make_private


def mode(folder):
    return stat.S_IMODE(folder.stat().st_mode)


def test_it_is_made_and_closed(tmp_path):
    before = os.umask(0)
    try:
        make_private(tmp_path / "haproxy")
    finally:
        os.umask(before)
    assert mode(tmp_path / "haproxy") == 0o700


def test_an_open_one_of_before_is_closed_and_keeps_what_is_in_it(tmp_path):
    folder = tmp_path / "haproxy"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "record.json").write_text("{}")
    make_private(folder)
    assert mode(folder) == 0o700
    assert (folder / "record.json").exists()


def test_what_somebody_else_has_put_there_is_refused(tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for path in (link, tmp_path / "file"):
        with pytest.raises(BackendError, match="is not a folder of this user's"):
            make_private(path)
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(BackendError, match="is not a folder of this user's"):
        make_private(tmp_path / "theirs")
