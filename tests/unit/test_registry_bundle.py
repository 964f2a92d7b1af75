"""Bundles: one digest over four files, written whole or not at all, and what is refused."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import pickle
import shutil
from pathlib import Path

import pytest

from sluiceway.core.errors import BackendError, ModelError
from sluiceway.registry.bundle import FILES, Bundle, read, write
from sluiceway.registry.mlflow_folder import card
from sluiceway.registry.store import BundleStore

# The shortest UBJSON object: enough for everything here that does not score.
UBJSON = b"{L\x00\x00\x00\x00\x00\x00\x00\x01aL\x00\x00\x00\x00\x00\x00\x00\x01}"


def make(**changes) -> Bundle:
    parts = {
        "model": UBJSON,
        "schema": {"version": 1, "features": [{"name": "ä", "kind": "numeric"}]},
        "decision": {"kind": "binary", "threshold": 0.25, "target": "late"},
        "lineage": {"data": {"uri": "/t", "version": 3}},
    }
    return Bundle(**{**parts, **changes})


def test_what_is_written_is_read_back_with_the_same_digest(tmp_path: Path):
    bundle = make()
    folder = write(bundle, tmp_path / "m")
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert read(folder, digest=bundle.digest) == bundle
    assert read(folder).digest == bundle.digest


def test_the_digest_sees_every_file_and_ignores_the_order_of_keys():
    bundle = make()
    others = [
        make(model=UBJSON[:-1] + b" }"),
        make(schema={"version": 1, "features": []}),
        make(decision={"kind": "binary", "threshold": 0.26, "target": "late"}),
        make(lineage={}),
    ]
    assert len({bundle.digest, *(other.digest for other in others)}) == 5
    assert make(decision=dict(reversed(bundle.decision.items()))).digest == bundle.digest


def test_the_digest_is_a_promise_to_every_later_release():
    assert make().digest == "e3bee9bc6e7e342784a4bc8636c285a8a7cf5466ce708aa2bd205db40fafb934"


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_refused(tmp_path: Path, name: str):
    bundle = make()
    folder = write(bundle, tmp_path / "m")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b"\n")
    with pytest.raises(ModelError, match="has digest"):
        read(folder, digest=bundle.digest)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        read(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("method", ["is_file", "read_bytes"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, method: str):
    folder = write(make(), tmp_path / "m")
    as_before = getattr(Path, method)

    def fail(path: Path):
        if path.name == name:
            raise OSError(errno.EACCES, "Permission denied")  # as of read(): without the name of the file
        return as_before(path)

    monkeypatch.setattr(Path, method, fail)
    with pytest.raises(ModelError, match=f"{folder / name} cannot be read: Permission denied") as caught:
        read(folder, digest=make().digest)
    assert "permissions" in caught.value.hint


def test_a_document_that_was_reformatted_is_refused_without_a_digest(tmp_path: Path):
    folder = write(make(), tmp_path / "m")
    (folder / "decision.json").write_text(json.dumps(make().decision))
    with pytest.raises(ModelError, match="canonical"):
        read(folder)


def test_a_broken_document_is_named(tmp_path: Path):
    folder = write(make(), tmp_path / "m")
    (folder / "lineage.json").write_text("{")
    with pytest.raises(ModelError, match=r"lineage\.json is not JSON"):
        read(folder)


@pytest.mark.parametrize("model", [pickle.dumps({}), b"", b'{"learner": {}}', b"binf"])
def test_only_ubjson_is_a_model(model: bytes):
    with pytest.raises(ModelError, match="UBJSON"):
        make(model=model)


@pytest.mark.parametrize("part", ["schema", "lineage"])
@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_a_document_that_json_cannot_hold_is_refused(part: str, value):
    with pytest.raises(ModelError, match=f"{part}.json cannot be written"):
        make(**{part: {"x": value}})


def test_an_unknown_kind_is_refused():
    with pytest.raises(ModelError, match=r"decision\.kind"):
        make(decision={"kind": "ranking"})


def test_the_card_tells_of_a_calibrator_and_is_as_it_was_without_one():
    calibrated = make(decision={**make().decision, "calibrator": TABLE})
    told = "- Calibration: raw scores go through the table of 3 points in `decision.json`\n"
    assert card(calibrated).replace(told, "").replace(calibrated.digest, make().digest) == card(make())
    assert told in card(calibrated)


TABLE = {"scores": [0.1, 0.5, 0.9], "values": [0.05, 0.5, 0.99]}


def test_a_calibrator_is_kept_and_is_part_of_the_digest(tmp_path: Path):
    decision = {**make().decision, "calibrator": TABLE}
    bundle = make(decision=decision)
    assert bundle.digest != make().digest
    assert read(write(bundle, tmp_path / "m")).decision["calibrator"] == TABLE


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ({"kind": "regression", "calibrator": TABLE}, "only a binary one"),
        ({"calibrator": [0.1, 0.2]}, "not an object"),
        ({"calibrator": {"scores": [0.1]}}, "not an object"),
        ({"calibrator": {**TABLE, "more": 1}}, "not an object"),
        ({"calibrator": {**TABLE, "scores": [0.1, 0.5]}}, "2 scores and 3 values"),
        ({"calibrator": {**TABLE, "scores": [0.1, 0.1, 0.9]}}, r"scores\[1\]"),
        ({"calibrator": {**TABLE, "values": [0.1, 0.05, 0.9]}}, r"values\[1\]"),
        ({"calibrator": {**TABLE, "values": [0.1, 0.5, 1.5]}}, "within 0 and 1"),
        ({"calibrator": {**TABLE, "values": [0.1, None, 0.9]}}, "not a finite number"),
        ({"calibrator": {**TABLE, "values": [0.1, 0.5, float("inf")]}}, "not a finite number"),
    ],
)
def test_a_calibrator_that_is_no_rising_table_is_refused(decision, told):
    with pytest.raises(ModelError, match=told):
        make(decision={**make().decision, **decision})


def test_a_folder_that_holds_something_else_is_not_overwritten(tmp_path: Path):
    write(make(), tmp_path / "m")
    write(make(), tmp_path / "m")
    with pytest.raises(ModelError, match="another bundle"):
        write(make(lineage={}), tmp_path / "m")
    assert read(tmp_path / "m") == make()
    assert [p.name for p in tmp_path.iterdir()] == ["m"], "drafts were left"


def test_a_crash_while_writing_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def crash(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(OSError, match="no space"):
        write(make(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_the_store_keeps_by_digest_and_twice_is_once(tmp_path: Path):
    store = BundleStore(tmp_path / "bundles")
    uri = store.put(make())
    assert uri == str(tmp_path / "bundles" / make().digest)
    assert store.put(make()) == uri
    assert store.get(uri, make().digest) == make()
    assert store.get(f"file://{uri}", make().digest) == make()


def test_the_store_refuses_another_digest_and_an_absent_bundle(tmp_path: Path):
    store = BundleStore(tmp_path)
    uri = store.put(make())
    with pytest.raises(ModelError, match="has digest"):
        store.get(uri, "0" * 64)
    with pytest.raises(ModelError, match="no model bundle"):
        store.get(str(tmp_path / "nothing"), make().digest)
    with pytest.raises(ModelError, match="not a folder"):
        store.get("s3://bucket/x", make().digest)


def damage(folder: Path, how: str) -> None:
    if how == "changed":
        (folder / "decision.json").write_text("{}")
    elif how == "cut":
        (folder / "model.ubj").write_bytes(UBJSON[:-2])
    elif how == "lost":
        for name in FILES[1:]:
            (folder / name).unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize("how", ["changed", "cut", "lost", "emptied"])
def test_a_damaged_bundle_is_not_there_and_is_repaired_when_it_is_kept_again(tmp_path: Path, how: str):
    store = BundleStore(tmp_path)
    uri = store.put(make())
    assert store.has(make().digest)
    assert not store.has("0" * 64)
    damage(Path(uri), how)
    assert not store.has(make().digest)
    assert store.put(make()) == uri
    assert store.has(make().digest)
    assert store.get(uri, make().digest) == make()
    assert [path.name for path in tmp_path.iterdir()] == [make().digest], "drafts were left"


def test_a_bundle_that_cannot_be_read_is_repaired_and_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, as_before = BundleStore(tmp_path), Path.read_bytes
    uri = store.put(make())
    broken = (Path(uri) / "model.ubj").stat().st_ino

    def fail(path: Path):
        if path.stat().st_ino == broken:
            raise OSError(errno.EIO, "Input/output error")
        return as_before(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ModelError, match=r"model\.ubj cannot be read: Input/output error"):
        store.has(make().digest)
    store.put(make())
    assert store.get(uri, make().digest) == make()


@pytest.mark.parametrize("after", range(len(FILES)))
def test_a_repair_that_is_cut_short_is_done_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
):
    store, as_before, moved = BundleStore(tmp_path), Path.replace, []
    uri = store.put(make())
    damage(Path(uri), "cut")
    damage(Path(uri), "changed")

    def crash(path: Path, target: Path):
        if len(moved) == after:
            raise KeyboardInterrupt
        moved.append(path)
        return as_before(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.put(make())
    monkeypatch.undo()
    store.put(make())
    assert store.get(uri, make().digest) == make()


def test_of_many_who_repair_at_once_nobody_loses_and_a_good_bundle_is_never_gone(tmp_path: Path):
    store = BundleStore(tmp_path)
    for _ in range(10):
        damage(Path(store.put(make())), "changed")

        def put_and_read(_: int) -> Bundle:
            return store.get(store.put(make()), make().digest)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(put_and_read, range(16))) == [make()] * 16


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="cannot keep a model"):
        BundleStore(tmp_path / "file").put(make())
