"""The row-set digest against the rules of docs/data/rowset-v1.md, written once more in plain Python."""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import DataError
from sluiceway.core.row_digest import RowDigest
from sluiceway.data.row_digest import CHUNK_ROWS, digest_rows

MASK = (1 << 64) - 1
SEEDS = (0, 0x736C756963657761)
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 (a wall clock)


def mix(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def again(z, key):
    y = z ^ key
    return ((y ^ (y >> 32)) * 0x94D049BB133111EB) & MASK


def both(raw):
    return tuple(xxhash.xxh3_64_intdigest(raw, seed=seed) for seed in SEEDS)


def field(value, kind, path):
    """The two lanes that a value adds, by the page's table."""
    if value is None:
        return 0, 0
    name, bits = bits_of(value, kind, path)
    keys = both(f"{name}\0{path}".encode())
    if isinstance(bits, tuple):
        return tuple(mix(b ^ k) for b, k in zip(bits, keys, strict=True))
    first = mix((bits & MASK) ^ keys[0])
    return first, again(first, keys[1])


def bits_of(value, kind, path):
    if pa.types.is_struct(kind):
        return "struct", row({f.name: (value[f.name], f.type) for f in kind.fields}, f"{path}.")
    if pa.types.is_map(kind):
        entries = [row({"key": (k, kind.key_type), "value": (v, kind.item_type)}, f"{path}[].") for k, v in value]
        return "map", tuple(mix((len(value) + sum(e[i] for e in entries)) & MASK) for i in (0, 1))
    if pa.types.is_list(kind):
        parts = [field(v, kind.value_type, f"{path}[]") for v in value]
        return "list", tuple(
            mix((len(value) + sum(mix(p[i] ^ mix(place)) for place, p in enumerate(parts))) & MASK) for i in (0, 1)
        )
    if isinstance(value, bool | int):
        return "int", int(value)
    if isinstance(value, float):
        bits = 0x7FF8000000000000 if math.isnan(value) else struct.unpack("<Q", struct.pack("<d", value + 0.0))[0]
        return "float", bits
    if isinstance(value, Decimal):
        text = format(value, "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "decimal", both(("0" if text == "-0" else text).encode())
    if isinstance(value, str):
        return "text", both(value.encode())
    if isinstance(value, bytes):
        return "bytes", both(value)
    if isinstance(value, dt.datetime):
        naive = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
        return ("instant" if value.tzinfo else "timestamp"), (naive - EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return "date", (value - EPOCH.date()).days
    raise AssertionError(value)


def row(fields, path=""):
    lanes = [field(value, kind, f"{path}{name}") for name, (value, kind) in fields.items()]
    return tuple(mix(sum(lane[i] for lane in lanes) & MASK) for i in (0, 1))


def reference(table):
    kinds = {f.name: f.type for f in table.schema}
    entries = table.to_pylist()
    rows = [row({name: (value, kinds[name]) for name, value in entry.items()}) for entry in entries]
    return RowDigest(len(rows), sum(r[0] for r in rows) & MASK, sum(r[1] for r in rows) & MASK)


SCHEMA = pa.schema(
    {
        "int": pa.int32(),
        "flag": pa.bool_(),
        "float": pa.float64(),
        "text": pa.string(),
        "raw": pa.binary(),
        "at": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "price": pa.decimal128(12, 3),
        "tags": pa.list_(pa.string()),
        "place": pa.struct({"x": pa.float64(), "inner": pa.list_(pa.int64())}),
        "attributes": pa.map_(pa.string(), pa.int64()),
    }
)
SMALL = st.none() | st.integers(-5, 5)
SCALARS = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "flag": st.booleans(),
    "float": st.floats(),
    "text": st.text(max_size=8),
    "raw": st.binary(max_size=8),
    "at": st.datetimes(EPOCH, timezones=st.just(dt.UTC)),
    "day": st.dates(dt.date(1900, 1, 1)),
    "price": st.decimals(-(10**6), 10**6, places=3),
    "tags": st.lists(st.none() | st.text(max_size=3), max_size=4),
    "place": st.fixed_dictionaries(
        {"x": st.none() | st.floats(allow_nan=False), "inner": st.none() | st.lists(SMALL, max_size=3)}
    ),
    "attributes": st.dictionaries(st.text(max_size=2), SMALL, max_size=3).map(lambda d: list(d.items())),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in SCALARS.items()}), max_size=12)


def table_of(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_it_is_what_the_page_says(rows):
    table = table_of(rows)
    assert digest_rows(table) == reference(table)


@settings(max_examples=15, deadline=None)
@given(ROWS, st.randoms(), st.integers(0, 12))
def test_order_of_rows_and_columns_batches_and_slices_do_not_matter(rows, random, cut):
    table = table_of(rows)
    shuffled, names = list(rows), list(table.column_names)
    random.shuffle(shuffled)
    random.shuffle(names)
    other = table_of(shuffled).select(names)
    pieces = [b for part in (other[:cut], other[cut:]) for b in part.to_batches()]
    assert digest_rows(pieces) == digest_rows(table)
    assert digest_rows(table[:cut]) + digest_rows(table[cut:]) == digest_rows(table)
    assert digest_rows(table) - digest_rows(table[:cut]) == digest_rows(table[cut:])


@settings(max_examples=25, deadline=None)
@given(ROWS.filter(bool), st.data())
def test_any_one_changed_value_changes_both_lanes(rows, data):
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(list(SCALARS)))
    old = table_of(rows)
    changed = [dict(r) for r in rows]
    changed[place][name] = data.draw(st.none() | SCALARS[name])
    new = table_of(changed)
    before, after = digest_rows(old), digest_rows(new)
    if reference(old[place : place + 1]) == reference(new[place : place + 1]):
        assert before == after
    else:
        assert before.low != after.low
        assert before.high != after.high


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([3], pa.int8()), pa.array([3], pa.uint64())),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([0.5], pa.float32()), pa.array([0.5])),
        (pa.array([np.nan]), pa.array([np.frombuffer(b"\x01\0\0\0\0\0\xf8\xff")[0]])),
        (pa.array(["a", "b"]), pa.array(["a", "b"], pa.large_string())),
        (pa.array(["a", "b"]), pa.array(["a", "b"]).dictionary_encode()),
        (pa.array([1_000], pa.timestamp("ms", "UTC")), pa.array([1_000_000], pa.timestamp("us", "Europe/Berlin"))),
        (pa.array([Decimal("1.5")]), pa.array([Decimal("1.500")], pa.decimal128(20, 3))),
        (pa.array([[1, None]]), pa.array([[1, None]], pa.large_list(pa.int64()))),
        (pa.array([[1, 2]]), pa.array([[1, 2]], pa.list_(pa.int64(), 2))),
    ],
)
def test_how_a_value_is_stored_does_not_matter(one, other):
    assert digest_rows(pa.table({"c": one})) == digest_rows(pa.table({"c": other}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array([1.0])),
        (pa.array([None], pa.int64()), pa.array([0])),
        (pa.array([None], pa.float64()), pa.array([np.nan])),
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([[]], pa.list_(pa.int64())), pa.array([None], pa.list_(pa.int64()))),
        (pa.array([[None]], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))),
        (pa.array([[1, 2]]), pa.array([[2, 1]])),
        (pa.array([{"a": None}], pa.struct({"a": pa.int64()})), pa.array([None], pa.struct({"a": pa.int64()}))),
    ],
)
def test_different_values_are_told_apart(one, other):
    assert digest_rows(pa.table({"c": one})) != digest_rows(pa.table({"c": other}))


def test_names_matter_and_a_column_without_values_does_not():
    assert digest_rows(pa.table({"a": [1], "b": [2]})) != digest_rows(pa.table({"a": [2], "b": [1]}))
    later = pa.table({"a": [1, 2], "new": pa.array([None, None], pa.list_(pa.int64()))})
    assert digest_rows(later) == digest_rows(pa.table({"a": [1, 2]}))


def test_equal_rows_do_not_cancel():
    assert digest_rows(pa.table({"a": [5, 5]})) != digest_rows(pa.table({"a": [6, 6]}))
    assert digest_rows(pa.table({"a": [5, 5, 7]})) != digest_rows(pa.table({"a": [5, 7, 7]}))


def test_more_rows_than_a_chunk():
    n = CHUNK_ROWS + 3
    table = pa.table({"a": np.arange(n), "s": pc.cast(pa.array(np.arange(n) % 7), pa.string())})
    whole = digest_rows(table)
    assert whole == digest_rows(table[: n // 3]) + digest_rows(table[n // 3 :])
    assert whole.rows == n
    assert digest_rows(table[:0]) == RowDigest()


def test_a_type_without_rules_is_refused():
    with pytest.raises(DataError, match="column 'c' of type month_day_nano_interval"):
        digest_rows(pa.table({"c": pa.array([pa.scalar((1, 2, 3), pa.month_day_nano_interval())])}))


VECTORS = {
    "null": pa.array([None], pa.int64()),
    "0": pa.array([0]),
    "1": pa.array([1]),
    "-1": pa.array([-1]),
    "0.0": pa.array([0.0]),
    "0.5": pa.array([0.5]),
    "NaN": pa.array([np.nan]),
    "decimal 1.50": pa.array([Decimal("1.50")]),
    "empty text": pa.array([""]),
    "abc": pa.array(["abc"]),
    "bytes abc": pa.array([b"abc"]),
    "2013-01-01T00:00:01 UTC": pa.array([1356998401], pa.timestamp("s", "UTC")),
    "2013-01-01T00:00:01": pa.array([1356998401], pa.timestamp("s")),
    "date 2013-01-01": pa.array([dt.date(2013, 1, 1)]),
    "struct {a: 1}": pa.array([{"a": 1}]),
    "list [1, 2]": pa.array([[1, 2]]),
    "empty list": pa.array([[]], pa.list_(pa.int64())),
    "map {x: 1}": pa.array([[("x", 1)]], pa.map_(pa.string(), pa.int64())),
}


def test_the_vectors_of_the_page(repository):
    text = (repository / "docs/data/rowset-v1.md").read_text()
    written = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{32})` \|$", text, re.MULTILINE))
    assert written == {name: str(digest_rows(pa.table({"c": c}))).split(":")[1] for name, c in VECTORS.items()}
    for column in VECTORS.values():
        assert digest_rows(pa.table({"c": column})) == reference(pa.table({"c": column}))
    table = pa.table({"id": [7, 8, 8], "name": ["Ann", None, None]})
    assert f"`{digest_rows(table)}`" in text
