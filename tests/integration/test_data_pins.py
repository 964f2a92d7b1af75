"""``sluiceway data pin`` and ``read_pins``, on real tables and branches."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
from sluiceway import append, read_pins
from sluiceway.core.errors import DataError, ReferenceNotFoundError, TableNotFoundError
from sluiceway.data import commit, places, tables

pytestmark = pytest.mark.integration


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


@pytest.fixture
def folder(tmp_path):
    """Two tables: sales with the versions 0 (tagged first) and 1, people with one."""
    for ids in ((1, 2), (3,)):
        append(str(tmp_path / "data/sales"), rows(*ids), message="rows", source="test")
    append(str(tmp_path / "data/people"), rows(7), message="rows", source="test")
    sluiceway(tmp_path, "data", "tag", "data/sales@0", "first")
    return tmp_path


def pin(folder, *arguments, expect=0):
    return sluiceway(folder, "data", "pin", *arguments, expect=expect)


def stamp_of(path):
    """What writing changes and reading does not: reading moves the time of access."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def written(folder):
    return yaml.safe_load((folder / "pins.yaml").read_text())


def test_a_pin_is_version_and_digest_of_what_the_name_means_now(folder):
    (shown,) = pin(folder, "sales=data/sales@first")
    version = sluiceway(folder, "data", "show", "data/sales@0")
    expected = {"table": "data/sales", "version": 0, "digest": version["digest"], "rows": 2, "ref": "first"}
    assert written(folder) == {"sales": expected}
    assert shown == {"name": "sales", **expected, "table": str(folder / "data/sales"), "changed": True}
    found = read_pins(folder / "pins.yaml")["sales"]
    assert (found.uri, found.version, found.rows) == (str(folder / "data/sales"), 0, 2)
    assert found.digest == version["digest"]


def test_one_name_is_pinned_again_and_the_others_stay(folder):
    pin(folder, "sales=data/sales@0", "people=data/people")
    append(str(folder / "data/people"), rows(8), message="rows", source="test")
    before = written(folder)
    (shown,) = pin(folder, "sales=data/sales")
    assert (shown["version"], shown["changed"]) == (1, True)
    assert written(folder)["people"] == before["people"]
    stamp = stamp_of(folder / "pins.yaml")
    assert pin(folder, "sales=data/sales")[0]["changed"] is False
    assert stamp_of(folder / "pins.yaml") == stamp
    assert [(one["name"], one["version"]) for one in pin(folder)] == [("people", 1), ("sales", 1)]


def test_a_check_says_what_would_move_and_changes_nothing(folder):
    pin(folder, "tagged=data/sales@first", "newest=data/sales", "numbered=data/sales@1")
    assert [one["finding"] for one in pin(folder, "--check")] == ["", "", ""]
    append(str(folder / "data/sales"), rows(4), message="rows", source="test")
    stamp = stamp_of(folder / "pins.yaml")
    found = pin(folder, "--check", expect=1)
    assert {one["name"]: one["finding"] for one in found} == {
        "newest": "newest means version 2 now",
        "numbered": "",
        "tagged": "",
    }
    sluiceway(folder, "data", "tag", "data/sales@2", "first", "--move")
    assert {one["name"] for one in pin(folder, "--check", expect=1) if one["finding"]} == {"newest", "tagged"}
    assert [one["finding"] for one in pin(folder, "--check", "numbered=data/sales@1")] == [""]
    (asked,) = pin(folder, "--check", "other=data/sales", expect=1)
    assert (asked["finding"], asked["pinned"]) == ("not pinned", None)
    (asked,) = pin(folder, "--check", "newest=data/people", expect=1)
    assert "people" in asked["finding"]
    assert stamp_of(folder / "pins.yaml") == stamp


def test_a_table_that_was_made_anew_is_refused(folder):
    pin(folder, "sales=data/sales@0", "people=data/people")
    shutil.rmtree(folder / "data/sales")
    append(str(folder / "data/sales"), rows(1, 2), message="rows", source="test")
    with pytest.raises(DataError, match="made anew"):
        read_pins(folder / "pins.yaml")
    found = {one["name"]: one["finding"] for one in pin(folder, "--check", expect=1)}
    assert found["people"] == ""
    assert "made anew" in found["sales"]
    shutil.rmtree(folder / "data/sales")
    with pytest.raises(TableNotFoundError):
        read_pins(folder / "pins.yaml")
    assert "no Delta table" in pin(folder, "--check", expect=1)[1]["finding"]


def test_a_version_that_is_gone_is_refused(folder):
    pin(folder, "sales=data/sales@1")
    shutil.rmtree(folder / "data/sales")
    append(str(folder / "data/sales"), rows(1), message="rows", source="test")
    with pytest.raises(ReferenceNotFoundError, match="no version 1"):
        read_pins(folder / "pins.yaml")


def test_a_branch_is_pinned_by_the_place_of_its_own(folder):
    sluiceway(folder, "data", "add", "data/sales")
    sluiceway(folder, "data", "commit", "-m", "first")
    sluiceway(folder, "data", "branch", "exp")
    pin(folder, "sales=data/sales@exp")
    assert (written(folder)["sales"]["table"], written(folder)["sales"]["version"]) == ("data/sales", 1)
    place = sluiceway_place(folder)
    commit.append(place, rows(9), message="on the branch", source="test")
    sluiceway(folder, "data", "commit", "-b", "exp", "-m", "nine")
    append(str(folder / "data/sales"), rows(5), message="on main", source="test")
    assert place in pin(folder, "--check", expect=1)[0]["finding"]
    pin(folder)
    entry = written(folder)["sales"]
    assert (entry["ref"], entry["rows"]) == ("exp", 4)
    assert str(folder / entry["table"]) == place
    assert pin(folder, "--check")[0]["finding"] == ""
    found = read_pins(folder / "pins.yaml")["sales"]
    held = places.dataset(tables.open_table(found.uri, version=found.version), found.uri).to_table()
    assert sorted(held["id"].to_pylist()) == [1, 2, 3, 9]
    # By a number of its own log, too: that names the place itself, and not main's version.
    pin(folder, f"sales={place}@{found.version}")
    assert pin(folder, "--check")[0]["finding"] == ""


def sluiceway_place(folder) -> str:
    """Where the branch's own copy of the table is; made here, as the first write does."""
    from sluiceway.config.platform import PlatformSection  # noqa: PLC0415
    from sluiceway.core.clock import SystemClock  # noqa: PLC0415
    from sluiceway.data.repository import Repository  # noqa: PLC0415
    from sluiceway.wiring.stores import build_stores  # noqa: PLC0415

    stores = build_stores(PlatformSection(state=str(folder / ".sluiceway")))
    return Repository(stores.repository, SystemClock()).place_to_write(str(folder / "data/sales"), "exp")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sales",), "NAME=TABLE"),
        (("sales=",), "NAME=TABLE"),
        (("a.b=data/sales",), "a.b"),
        (("3=data/sales",), "'3'"),
        (("a=data/sales", "a=data/people"), "twice"),
        (("a=data/sales@", "b=data/people"), "TABLE@REF"),
        (("b=data/people", "a=data/nothing"), "data/nothing"),
        (("a=data/sales@frist",), "first"),
        (("a=data/sales@99",), "99"),
        (("a=data/sales", "--out", "pins.json"), "pins.json"),
        (("a=data/sales", "--out", "no/where/pins.yaml"), "no/where"),
        (("--out", "nothing.yaml"), "nothing.yaml"),
        (("--check", "--out", "nothing.yaml"), "nothing.yaml"),
    ],
)
def test_bad_input_is_one_error_and_changes_nothing(folder, arguments, said):
    pin(folder, "sales=data/sales@0")
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    error = pin(folder, *arguments, expect=2)
    assert said in f"{error['message']} {error['hint']}"
    assert {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()} == before


def test_a_broken_file_is_not_written_over(folder):
    (folder / "pins.yaml").write_text("sales: {version: 1\n<<<<<<< HEAD\n")
    assert "line " in pin(folder, "sales=data/sales", expect=2)["message"]
    assert (folder / "pins.yaml").read_text() == "sales: {version: 1\n<<<<<<< HEAD\n"
