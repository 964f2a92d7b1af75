"""Rows that one process reads by itself: the same order in each pass, and a clear word where they are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.experiment import DataSection
from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import labelled_rows as module
from sluiceway.data.commit import append
from sluiceway.data.ray_read import labelled_rows
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.encoded import Target
from sluiceway.training.read_rows import ReadRows

pytestmark = pytest.mark.integration
SCHEMA = FeatureSchema((Feature("a", "numeric"),))


@pytest.fixture
def source(tmp_path):
    uri = str(tmp_path / "table")
    for start in range(0, 400, 100):
        ids = np.arange(start, start + 100)
        append(
            uri, pa.table({"id": ids, "a": ids / 1.0, "late": (ids % 2).astype(np.int8)}), message="x", source="test"
        )
    data = DataSection(path=uri, features=("a",), target="late", key=("id",))
    rows = labelled_rows(TableVersion(uri, 3, "", 400, "newest"), data=data, seed=1, n_folds=2)
    return ReadRows(rows, SCHEMA, Target("late", "binary", (0, 1)))


def placed(source):
    keys = pa.concat_tables(list(source.places()))["__key__"].to_numpy()
    return dict(zip(keys.tolist(), np.concatenate(list(source.features()))[:, 0].tolist(), strict=True))


def test_a_log_in_another_order_gives_each_row_its_own_features(source, monkeypatch):
    expected, files_in, turn = placed(source), module.files_in, iter(range(100))

    def shuffled(table):
        files = files_in(table)
        order = np.random.default_rng(next(turn)).permutation(files.num_rows)
        return files.take(pa.array(order))

    monkeypatch.setattr(module, "files_in", shuffled)
    for _ in range(5):
        assert placed(source) == expected


def test_a_file_that_is_gone_is_named(source):
    next(Path(source.rows.version.uri).glob("*.parquet")).unlink()
    with pytest.raises(DataError, match=r"a data file of .* is gone: .*\.parquet") as caught:
        placed(source)
    assert "vacuum" in caught.value.hint


def test_other_rows_in_the_second_pass_are_refused(source, monkeypatch):
    list(source.places())
    files_in = module.files_in
    monkeypatch.setattr(module, "files_in", lambda table: files_in(table).slice(1))
    with pytest.raises(DataError, match="other ones when it was read again"):
        list(source.features())
