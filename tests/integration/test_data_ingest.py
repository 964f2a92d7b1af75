"""Files and frames into Delta tables by Ray tasks: formats, modes, refusals, deliveries that come again."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.core.errors import (
    ConfigError,
    ConflictError,
    DataError,
    InputError,
    SchemaMismatchError,
    TableNotFoundError,
)
from sluiceway.core.references import TableVersion
from sluiceway.data import commit, commit_files, delta_log, history, tables
from sluiceway.data.ingest.request import IngestReport, IngestRequest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    # pyarrow's own way of reading a frame of pandas 3.
    pytest.mark.filterwarnings("ignore:Series.values returning an ndarray"),
]


def ingest(sources: list[object], uri: str, **options: object) -> IngestReport:
    from sluiceway.data.ray_ingest import ingest as by_ray  # noqa: PLC0415 (collected without Ray, too)

    return by_ray(sources, uri, IngestRequest(**options))


def made(start: int, n: int) -> pa.Table:
    ids = range(start, start + n)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "x": [i / 4 for i in ids],
            "shop": [f"s{i % 3}" for i in ids],
            "day": [date(2024, 1, 1 + i % 28) for i in ids],
            "seen": pa.array([i * 1_000_001 for i in ids], pa.timestamp("us", "UTC")),
        }
    )


def rows(uri: str) -> list[dict[str, object]]:
    return sorted(DeltaTable(uri).to_pyarrow_table().to_pylist(), key=lambda row: str(row.get("id")).zfill(9))


def files(folder: str | Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*.parquet") if "_delta_log" not in p.parts)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "table")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A folder of three files, one of several row groups."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        pq.write_table(made(number * 1000, 1000), folder / f"part-{number}.parquet", row_group_size=300)
    (folder / "_SUCCESS").touch()
    return folder


def test_a_folder_goes_in_with_one_commit_and_full_statistics(uri, parquet):
    report = ingest([str(parquet)], uri, message="first", batch_id="b1", author="ann", meta={"ticket": "D-1"})
    assert (report.version, report.rows, report.skipped, report.types) == (0, 3000, False, {})
    assert rows(uri) == made(0, 3000).to_pylist()
    (info,) = history.log(uri)
    assert (info.rows, info.message, info.source) == (3000, "first", str(parquet))
    assert (info.batch_id, info.author, info.metadata["ticket"]) == ("b1", "ann", "D-1")
    told = tables.files(tables.open_table(uri))
    assert (min(told["min.id"].to_pylist()), max(told["max.id"].to_pylist())) == (0, 2999)
    assert sum(told["num_records"].to_pylist()) == 3000
    assert {f"null_count.{name}" for name in made(0, 1).column_names} <= set(told.column_names)
    assert report.files == told.num_rows == len(files(uri))
    assert tables.open_table(uri).metadata().configuration["delta.dataSkippingNumIndexedCols"] == "-1"


def test_a_delivery_that_comes_again_writes_nothing(uri, parquet):
    first = ingest([str(parquet / "part-0.parquet")], uri, batch_id="b1")
    before = files(uri)
    again = ingest(["nothing/is/read.parquet"], uri, batch_id="b1")
    assert (again.skipped, again.version, again.rows) == (True, first.version, 1000)
    assert files(uri) == before
    assert ingest([str(parquet / "part-1.parquet")], uri, batch_id="b2").version == 1
    assert len(rows(uri)) == 2000


def test_a_delivery_that_was_made_meanwhile_is_found_at_the_commit(uri, parquet, monkeypatch):
    ingest([str(parquet / "part-0.parquet")], uri, batch_id="b1")
    before = files(uri)
    monkeypatch.setattr(commit_files, "delivered", lambda *_: None)
    again = ingest([str(parquet / "part-0.parquet")], uri, batch_id="b1")
    assert (again.skipped, again.version) == (True, 0)
    assert files(uri) == before


def test_a_pattern_and_more_than_one_source(uri, parquet):
    report = ingest([str(parquet / "part-[01].parquet"), str(parquet / "part-2.parquet")], uri)
    assert report.rows == 3000
    with pytest.raises(DataError, match="no files at"):
        ingest([str(parquet / "part-9*.parquet")], uri)
    with pytest.raises(ConfigError, match="cannot be told from its name"):
        ingest([str(parquet / "_SUCCESS")], uri)


def test_csv_takes_the_types_of_the_table(uri, tmp_path):
    commit.append(uri, made(0, 10), message="types", source="test")
    text = "shop,id,x,day,seen\ns1,10,2.5,2024-01-11,1970-01-01T00:00:10Z\n,11,,2024-02-01,1970-01-01T00:00:11Z\n"
    (tmp_path / "a.csv").write_text(text)
    report = ingest([str(tmp_path / "a.csv")], uri)
    assert report.types["seen"] == "timestamp[us, tz=UTC]"
    last = rows(uri)[-1]
    assert (last["id"], last["x"], last["shop"], last["day"]) == (11, None, None, date(2024, 2, 1))


def test_a_csv_value_that_does_not_parse_is_named_and_nothing_stays(uri, tmp_path):
    commit.append(uri, pa.table({"id": [1], "x": [1.5]}), message="types", source="test")
    before = files(uri)
    lines = ["id,x", *(f"{i},{i}.5" for i in range(2, 200_000)), "oops,1", "7,1"]
    (tmp_path / "good.csv").write_text("id,x\n1,2\n")
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"bad\.csv: row 200000 .*column id: 'oops' is not int64") as caught:
        ingest([str(tmp_path / "good.csv"), str(tmp_path / "bad.csv")], uri)
    assert (caught.value.fields["column"], caught.value.fields["row"]) == ("id", 200_000)
    assert files(uri) == before
    assert DeltaTable(uri).version() == 0


def test_csv_of_a_new_table_is_inferred_and_said(uri, tmp_path):
    (tmp_path / "a.csv").write_text('id;name;when;none\n1;"x;y";2024-01-01;\n2;NA;2024-01-02;\n')
    options = commit_options(delimiter=";", nulls=("NA",))
    report = ingest([str(tmp_path / "a.csv")], uri, text=options)
    assert report.types == {"id": "int64", "name": "string", "when": "date32[day]", "none": "string"}
    assert [row["name"] for row in rows(uri)] == ["x;y", None]
    (tmp_path / "b.csv").write_text("id;name;more;when\n1;a;1;2024-01-01\n")
    with pytest.raises(SchemaMismatchError, match="more is not in the table; none is missing"):
        ingest([str(tmp_path / "b.csv")], uri, text=options)


def commit_options(**options: object):
    from sluiceway.data.ingest.text_files import TextOptions  # noqa: PLC0415

    return TextOptions(**options)


def test_a_packed_csv_is_unpacked(uri, tmp_path):
    table = pa.table({"id": range(1000), "x": [f"t{i}" for i in range(1000)]})
    with pa.CompressedOutputStream(str(tmp_path / "a.csv.gz"), "gzip") as out:
        pv.write_csv(table, out)
    assert ingest([str(tmp_path / "a.csv.gz")], uri).rows == 1000
    assert rows(uri) == table.to_pylist()


def test_json_lines(uri, tmp_path):
    schema = pa.schema(
        [("id", pa.int64()), ("day", pa.date32()), ("tags", pa.list_(pa.string())), ("eur", pa.decimal128(9, 2))]
    )
    write_deltalake(uri, schema.empty_table())
    lines = [{"id": 1, "day": "2024-01-01", "tags": ["a", "b"], "eur": 1.5}, {"id": 2, "eur": 2.5}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ingest([str(tmp_path / "a.jsonl")], uri)
    assert rows(uri) == [
        {"id": 1, "day": date(2024, 1, 1), "tags": ["a", "b"], "eur": Decimal("1.50")},
        {"id": 2, "day": None, "tags": None, "eur": Decimal("2.50")},
    ]
    for bad in ('{"id": "x"}', '{"id": 1, "other": 2}', "{"):
        (tmp_path / "b.jsonl").write_text(bad)
        with pytest.raises(InputError, match=r"b\.jsonl"):
            ingest([str(tmp_path / "b.jsonl")], uri)
    assert DeltaTable(uri).version() == 1


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_ipc(uri, tmp_path, kind):
    opening = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with opening(str(tmp_path / "a.arrow"), made(0, 1).schema) as writer:
        writer.write_table(made(0, 500), max_chunksize=100)
    assert ingest([str(tmp_path / "a.arrow")], uri).rows == 500
    assert rows(uri) == made(0, 500).to_pylist()


def test_another_table_at_a_version_with_partitions_and_younger_columns(uri, tmp_path):
    source = str(tmp_path / "source")
    write_deltalake(source, made(0, 60), partition_by=["shop", "day"])
    more = made(60, 60).append_column("new", pa.array(range(60)))
    write_deltalake(source, more, mode="append", schema_mode="merge")
    write_deltalake(source, made(0, 1), mode="overwrite", schema_mode="overwrite")
    ingest([TableVersion(source, 1, "", 0, "1")], uri)
    assert rows(uri) == sorted(
        DeltaTable(source, version=1).to_pyarrow_table().to_pylist(), key=lambda row: str(row["id"]).zfill(9)
    )
    assert ingest([source], str(tmp_path / "newest")).rows == 1


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "ray"])
def test_rows_in_memory(uri, kind):
    import ray  # noqa: PLC0415

    table = made(0, 5000)
    source = {
        "arrow": lambda: table,
        "pandas": lambda: table.to_pandas(date_as_object=True),
        "polars": lambda: pl.from_arrow(table),
        "ray": lambda: ray.data.from_arrow([table.slice(0, 2000), table.slice(2000)]),
    }[kind]()
    report = ingest([source], uri, partition_by=("shop",))
    assert report.rows == 5000
    assert rows(uri) == table.to_pylist()
    assert tables.open_table(uri).metadata().partition_columns == ["shop"]
    with pytest.raises(DataError, match="dict is no source"):
        ingest([{"id": 1}], uri)


def test_overwrite_and_partition_overwrite(uri):
    ingest([made(0, 300)], uri, partition_by=("shop",))
    part = made(0, 300).filter(pa.compute.equal(made(0, 300)["shop"], "s1")).slice(0, 5)
    report = ingest([part], uri, mode="partition-overwrite", batch_id="p")
    assert (report.version, report.rows) == (1, 5)
    assert len(rows(uri)) == 205
    assert ingest([part], uri, mode="partition-overwrite", batch_id="p").skipped
    ingest([made(7, 3)], uri, mode="overwrite")
    assert rows(uri) == made(7, 3).to_pylist()
    assert [info.rows for info in history.log(uri)] == [3, 5, 300]
    DeltaTable(uri).alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(DataError, match="append-only"):
        ingest([made(7, 3)], uri, mode="overwrite")
    assert ingest([made(10, 3)], uri).rows == 3


def test_no_rows_are_a_commit_that_changes_no_row(uri, tmp_path):
    none = made(0, 1).slice(0, 0)
    assert ingest([none], uri, partition_by=("shop",)).rows == 0
    assert (tables.is_table(uri), files(uri)) == (True, [])
    ingest([made(0, 30)], uri)
    pq.write_table(none, tmp_path / "empty.parquet")
    for mode in ("append", "partition-overwrite"):
        report = ingest([str(tmp_path / "empty.parquet")], uri, mode=mode)
        assert (report.rows, report.files, len(rows(uri))) == (0, 0, 30)
    assert ingest([none], uri, mode="upsert", key=("id",)).inserted == 0
    ingest([none], uri, mode="overwrite")
    assert rows(uri) == []


def test_columns_are_added_on_request_only(uri):
    ingest([made(0, 3)], uri)
    more = made(3, 3).append_column("new", pa.array([10**15] * 3, pa.timestamp("us"))).drop_columns(["x"])
    with pytest.raises(SchemaMismatchError, match="new is not in the table; x is missing"):
        ingest([more], uri)
    report = ingest([more], uri, evolve=True, batch_id="b")
    assert (report.added_columns, report.version) == (("new",), 1)
    assert ingest([more], uri, evolve=True, batch_id="b").skipped
    assert [row["new"] is None for row in rows(uri)] == [True] * 3 + [False] * 3
    assert [row["x"] is None for row in rows(uri)] == [False] * 3 + [True] * 3
    once = made(6, 2).append_column("newer", pa.array([1, 2]))
    version = DeltaTable(uri).version()
    assert ingest([once], uri, evolve=True, mode="overwrite").version == version + 1
    assert [(row["newer"], row["new"]) for row in rows(uri)] == [(1, None), (2, None)]
    upserted = pa.table({"id": [6, 9], "latest": ["a", "b"]})
    report = ingest([upserted], uri, evolve=True, mode="upsert", key=("id",))
    assert (report.inserted, report.updated, report.version) == (1, 1, version + 2)
    assert [(row["id"], row["newer"], row["latest"]) for row in rows(uri)] == [
        (6, None, "a"),
        (7, 2, None),
        (9, None, "b"),
    ]
    with pytest.raises(ConfigError, match="does not add columns"):
        ingest([upserted], uri, evolve=True, mode="delete", key=("id",))
    commit.append(uri, DeltaTable(uri).to_pyarrow_table(), message="the engine still writes", source="test")
    DeltaTable(uri).create_checkpoint()
    assert len(rows(uri)) == 6


def test_new_columns_and_rows_lose_a_race_together(uri, monkeypatch):
    ingest([made(0, 3)], uri)
    DeltaTable(uri).alter.add_constraint({"few": "id < 100"})
    before = json.loads(DeltaTable(uri).schema().to_json())["fields"]
    write, raced = delta_log.write_entry, []

    def overtaken(place: str, *given: object, **named: object):
        if not raced:
            raced.append(True)
            write_deltalake(uri, made(50, 1), mode="append")
        write(place, *given, **named)

    monkeypatch.setattr(delta_log, "write_entry", overtaken)
    more = made(3, 1).append_column("at", pa.array([1], pa.timestamp("us")))
    assert ingest([more], uri, evolve=True).version == 3
    assert [row["id"] for row in rows(uri)] == [0, 1, 2, 3, 50]
    after = json.loads(DeltaTable(uri).schema().to_json())["fields"]
    assert (after[:-1], after[-1]["name"], after[-1]["type"]) == (before, "at", "timestamp_ntz")
    assert DeltaTable(uri).metadata().configuration["delta.constraints.few"] == "id < 100"
    assert {"checkConstraints", "timestampNtz"} <= set(DeltaTable(uri).protocol().writer_features)
    with pytest.raises(DataError, match="constraint few"):
        ingest([made(100, 1).append_column("two", pa.array([1]))], uri, evolve=True)
    assert len(tables.schema(uri)) == 6


def test_constraints_and_not_null_hold(uri, tmp_path):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("x", pa.float64()), ("p", pa.string())])
    write_deltalake(uri, pa.table({"id": [1], "x": [1.0], "p": ["a"]}, schema=schema), partition_by=["p"])
    DeltaTable(uri).alter.add_constraint({"small": "x < 5 AND p <> 'no'"})
    good = pa.table({"id": [2, 3], "x": [2.0, 3.0], "p": ["b", "c"]})
    assert ingest([good], uri).rows == 2
    before = files(uri)
    for x, p in ((9.0, "a"), (1.0, "no"), (None, "a")):
        bad = pa.table({"id": [4], "x": pa.array([x], pa.float64()), "p": [p]})
        with pytest.raises(DataError, match=r"1 rows break the constraint small \(x < 5 AND p .= 'no'\)"):
            ingest([good, bad], uri)
    with pytest.raises(DataError, match="column id has 1 null"):
        ingest([pa.table({"id": pa.array([None], pa.int64()), "x": [1.0], "p": ["a"]})], uri)
    with pytest.raises(DataError, match="cannot be written"):
        ingest([pa.table({"id": [4], "x": [9.0], "p": ["a"]})], uri, mode="upsert", key=("id",))
    assert files(uri) == before
    assert len(rows(uri)) == 3


def test_upsert_and_delete_by_key(uri, tmp_path):
    first = ingest([made(0, 10)], uri, mode="upsert", key=("id",))
    assert (first.version, first.rows) == (0, 10)
    changed = made(5, 10).set_column(1, "x", pa.array([-1.0] * 10))
    pq.write_table(changed, tmp_path / "c.parquet")
    report = ingest([str(tmp_path / "c.parquet")], uri, mode="upsert", key=("id",), batch_id="u", message="fix")
    assert (report.version, report.rows, report.inserted, report.updated, report.deleted) == (1, 10, 5, 5, 0)
    assert [row["x"] for row in rows(uri)] == [0.0, 0.25, 0.5, 0.75, 1.0] + [-1.0] * 10
    assert ingest([changed], uri, mode="upsert", key=("id",), batch_id="u").skipped
    assert (history.log(uri)[0].rows, history.log(uri)[0].message) == (10, "fix")
    (tmp_path / "gone.csv").write_text("why,id\nold,3\nold,4\nnever there,99\n")
    gone = ingest([str(tmp_path / "gone.csv")], uri, mode="delete", key=("id",))
    assert (gone.rows, gone.deleted, gone.inserted) == (3, 2, 0)
    assert [row["id"] for row in rows(uri)] == [0, 1, 2, *range(5, 15)]


def test_keys_that_cannot_name_a_row_are_refused(uri):
    ingest([made(0, 10)], uri)
    with pytest.raises(DataError, match=r"1 keys come more than once, for example \{'id': 12\} 2 times"):
        ingest([made(8, 5), made(12, 1)], uri, mode="upsert", key=("id",))
    hollow = made(20, 1).set_column(0, "id", pa.array([None], pa.int64()))
    with pytest.raises(DataError, match="key column id is null"):
        ingest([hollow], uri, mode="upsert", key=("id",))
    with pytest.raises(DataError, match="has no column nope"):
        ingest([made(8, 5)], uri, mode="upsert", key=("nope",))
    with pytest.raises(ConfigError, match="needs a key"):
        ingest([made(8, 5)], uri, mode="upsert")
    with pytest.raises(TableNotFoundError, match="to delete rows from"):
        ingest([made(8, 5)], f"{uri}2", mode="delete", key=("id",))
    assert DeltaTable(uri).version() == 0
    assert not Path(f"{uri}2").exists()


def test_somebody_who_is_faster_costs_an_attempt_only(uri, monkeypatch):
    ingest([made(0, 3)], uri)
    opened, raced = tables.open_table, []

    def overtaken(place: str, **kwargs: object):
        table = opened(place, **kwargs)
        if history.log_of(table, limit=1) and len(raced) < 1 and Path(place).name == "table" and len(files(uri)) > 1:
            raced.append(True)
            write_deltalake(place, made(50, 1), mode="append")
        return table

    monkeypatch.setattr(tables, "open_table", overtaken)
    assert ingest([made(3, 3)], uri).version == 2
    assert raced
    assert [row["id"] for row in rows(uri)] == [0, 1, 2, 3, 4, 5, 50]


def test_a_table_that_is_changed_while_files_are_written_keeps_them_out(uri, monkeypatch):
    ingest([made(0, 3)], uri)
    add = commit_files.add_files

    def after_a_change(*args: object, **kwargs: object):
        DeltaTable(uri).alter.add_constraint({"few": "id < 100"})
        return add(*args, **kwargs)

    monkeypatch.setattr(commit_files, "add_files", after_a_change)
    before = files(uri)
    with pytest.raises(ConflictError, match="were changed"):
        ingest([made(3, 3)], uri)
    assert files(uri) == before


def test_rows_that_do_not_fit_are_refused_before_anything_is_written(uri, parquet):
    ingest([made(0, 3)], uri)
    for bad, named in (
        (made(3, 3).rename_columns(["id", "y", "shop", "day", "seen"]), "y is not in the table; x is missing"),
        (made(3, 3).set_column(0, "id", pa.array(["1"] * 3)), "id is string, the table has int64"),
    ):
        with pytest.raises(SchemaMismatchError, match=named):
            ingest([bad], uri)
    with pytest.raises(DataError, match="partitioned by nothing, not by shop"):
        ingest([made(3, 3)], uri, partition_by=("shop",))
    with pytest.raises(DataError, match="has no partitions"):
        ingest([made(3, 3)], uri, mode="partition-overwrite")
    with pytest.raises(DataError, match="is a file, not a table"):
        ingest([made(3, 3)], str(parquet / "part-0.parquet"))
    with pytest.raises(DataError, match="lies inside the Delta table"):
        ingest([made(3, 3)], f"{uri}/inner")
    with pytest.raises(DataError, match="cannot keep these columns: t is time64"):
        ingest([pa.table({"t": pa.array([1], pa.time64("us"))})], f"{uri}3")
    (parquet / "part-1.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"part-1\.parquet cannot be read as parquet"):
        ingest([str(parquet)], f"{uri}4")
    assert not Path(f"{uri}4").exists()
    assert len(rows(uri)) == 3


def test_a_new_table_whose_ingest_fails_is_not_there(uri, tmp_path):
    (tmp_path / "a.csv").write_text("id\n" + "1\n" * 5_000_000 + "x\n")
    with pytest.raises(DataError, match="'x' is not int64"):
        ingest([str(tmp_path / "a.csv")], uri)
    assert files(uri) == []
    assert not tables.is_table(uri)


def test_decimals_and_wide_integers_from_a_frame(uri):
    frame = pd.DataFrame({"a": pd.array([1, 2], "uint8"), "d": [Decimal("1.10"), Decimal("2.20")]})
    ingest([frame], uri)
    assert str(tables.schema(uri).field("a").type) == "int16"
    assert [row["d"] for row in rows(uri)] == [Decimal("1.10"), Decimal("2.20")]


def test_a_commit_that_is_told_to_have_failed_keeps_its_files(uri, monkeypatch):
    real = commit_files.add_files

    def answer_lost(*given, **named):
        real(*given, **named)
        commit.overwrite(uri, made(500, 1), message="somebody else", source="test")
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(commit_files, "add_files", answer_lost)
    with pytest.raises(ConnectionError):
        ingest([made(0, 10)], uri, mode="append")
    assert len(DeltaTable(uri, version=0).to_pyarrow_table()) == 10
    assert [row["id"] for row in rows(uri)] == [500]
