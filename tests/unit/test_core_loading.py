"""What a configuration names by `module:name` is loaded, whatever the module does when it is imported."""

from __future__ import annotations

import pytest

from sluiceway.core.errors import ConfigError
from sluiceway.core.loading import load_named, loaded


def test_what_is_there_is_loaded():
    assert load_named("os.path:join")("a", "b") == "a/b"
    assert loaded("an entry point", lambda: 3) == 3


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("a_module_that_is_not_there:f", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("json:nothing", "AttributeError: module 'json' has no attribute 'nothing'"),
        ("json", "AttributeError: "),
        (":f", "ValueError: "),
        ("a_script_without_a_guard:f", "SystemExit: 0"),
        ("a_module_that_breaks:f", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_loaded_says_why(place, why, tmp_path, monkeypatch):
    (tmp_path / "a_script_without_a_guard.py").write_text("raise SystemExit(0)")
    (tmp_path / "a_module_that_breaks.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_named(place)
    assert caught.value.message.startswith(f"{place!r} cannot be loaded: {why}")
