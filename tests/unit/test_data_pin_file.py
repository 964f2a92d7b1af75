"""The file of pins: what is written is read back, whatever the texts look like, and what is wrong is named."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import ConfigError
from sluiceway.core.references import TableVersion
from sluiceway.data.pins import load_pins, write_pins

DIGEST = "0123456789abcdef" * 4
GOOD = f'a: {{table: "s3://lake/a", version: 3, digest: "{DIGEST}", rows: 5, ref: "v3"}}\n'
# Some that readers of YAML take for numbers, times, truths or nothing.
TEXTS = st.sampled_from(["1e5", "0o17", "0x1f", "12:30:00", "no", "~", "2026-01-01", "a: b", "ä\U0001f40c", " x "])
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_-]{0,8}\Z") | st.sampled_from(["null", "yes", "e5", "_1"])
PINS = st.builds(
    TableVersion,
    st.sampled_from(["s3://lake/a b", "/tables/ä", "/tables/no: # yes"]),
    st.integers(0, 2**40),
    st.from_regex(r"\A[0-9]{4}e[0-9]{59}\Z") | st.from_regex(r"\A[0-9a-f]{64}\Z"),
    st.integers(0, 2**50),
    TEXTS | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, PINS, max_size=4))
def test_what_is_written_is_read_back_in_order(tmp_path_factory, pins):
    path = tmp_path_factory.mktemp("pins") / "pins.yaml"
    assert write_pins(path, pins)
    assert load_pins(path) == pins
    assert list(load_pins(path)) == sorted(pins)
    assert not write_pins(path, dict(reversed(pins.items())))
    # Every text in quotes, one line each: nothing is left to what a reader of YAML takes a word for.
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    assert len(lines) == (6 * len(pins) or 1)
    assert all(re.search(r': ".*"$', line) for line in lines if re.match("  (table|digest|ref):", line))


def test_a_table_below_the_file_is_named_from_there(tmp_path):
    pins = {"in": pin(f"{tmp_path}/data/a"), "out": pin(f"{tmp_path}-b/a"), "far": pin("s3://lake/a")}
    write_pins(tmp_path / "pins.yaml", pins)
    written = yaml.safe_load((tmp_path / "pins.yaml").read_text())
    assert {name: entry["table"] for name, entry in written.items()} == {
        "in": "data/a",
        "out": f"{tmp_path}-b/a",
        "far": "s3://lake/a",
    }
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "pins.yaml").rename(moved / "pins.yaml")
    assert load_pins(moved / "pins.yaml")["in"].uri == f"{moved}/data/a"


def test_the_same_again_does_not_touch_the_file_and_a_change_keeps_its_mode(tmp_path):
    path = tmp_path / "pins.yaml"
    write_pins(path, {"a": pin("/t/a")})
    path.chmod(0o640)
    before = path.stat()
    assert not write_pins(path, {"a": pin("/t/a")})
    after = path.stat()
    # Not the whole of stat(): reading the file moves its time of access.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_pins(path, {"a": pin("/t/a", version=4)})
    assert path.stat().st_mode == before.st_mode
    assert [one.name for one in tmp_path.iterdir()] == ["pins.yaml"]


def test_a_link_to_the_file_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "pins.yaml"
    link.symlink_to(tmp_path / "real" / "pins.yaml")
    write_pins(link, {"a": pin("/t/a")})
    assert link.is_symlink()
    assert load_pins(tmp_path / "real" / "pins.yaml") == {"a": pin("/t/a")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {table: x, version: 1\nb: 2\n", "line 2"),
        ("<<<<<<< HEAD\na: 1\n", "is not YAML: line 2"),
        (GOOD + GOOD, "line 2, column 1: the key 'a' stands twice"),
        ("- a\n", "no mapping"),
        ("1: {}\n", "line 1"),
        ("a.b" + GOOD[1:], "'a.b' cannot be a name"),
        ("a: s3://lake/a\n", "a: holds no table, version, digest"),
        (GOOD.replace("version: 3", "version: 3.0"), "a.version: is not the number"),
        (GOOD.replace("version: 3", "version: true"), "a.version: is not the number"),
        (GOOD.replace("version: 3", "version: -1"), "a.version: is not the number"),
        (GOOD.replace(DIGEST, "abc"), "a.digest: is not 64 hex digits"),
        (GOOD.replace('table: "s3://lake/a", ', ""), "a.table: the place of a table is missing"),
        (GOOD.replace("rows: 5", "row: 5"), "a.row: there is no such key"),
        (GOOD.replace('ref: "v3"', "ref: 3"), "a.ref: is not a text"),
        ("a: 2024-02-31\n", "is not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, said):
    path = tmp_path / "pins.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_pins(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    path = tmp_path / "pins.yaml"
    path.write_text("a: {version: x}\n3b: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_pins(path)
    assert len(caught.value.problems) == 7


def test_rows_and_ref_may_be_left_out_by_who_writes_by_hand(tmp_path):
    path = tmp_path / "pins.yml"
    path.write_text(f'a: {{table: s3://lake/a, version: 3, digest: "{DIGEST}"}}\n')
    assert load_pins(path) == {"a": TableVersion("s3://lake/a", 3, DIGEST, 0, "newest")}
    path.write_text("# nothing yet\n")
    assert load_pins(path) == {}


@pytest.mark.parametrize("name", ["pins", "pins.json", "pins.toml"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="yaml"):
        write_pins(tmp_path / name, {})


@pytest.mark.parametrize("name", ["", "a.b", "3a", "a*", "a b", "ä"])
def test_an_odd_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="name of a pin"):
        write_pins(tmp_path / "pins.yaml", {name: pin("/t/a")})


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        write_pins(tmp_path / "nowhere" / "pins.yaml", {"a": pin("/t/a")})


def pin(uri: str, version: int = 3) -> TableVersion:
    return TableVersion(uri, version, DIGEST, 5, "v3")
