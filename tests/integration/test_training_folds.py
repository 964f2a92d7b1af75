"""Who is trained on and who judges, on real tables: groups, time, given and balanced folds, classes, weights."""

import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import ray
from deltalake import DeltaTable, write_deltalake
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from sluiceway.catalog.tags import TagStore
from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import DataError
from sluiceway.data import commit, references
from sluiceway.data.profile import check_trainable
from sluiceway.data.ray_order_statistics import order_statistics, ordered_bits, signed
from sluiceway.data.ray_profile import profile
from sluiceway.data.ray_read import labelled_dataset, labelled_rows, read_part
from sluiceway.data.tables import schema as table_schema
from sluiceway.features.schema import derive
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.recipe import Recipe
from sluiceway.training.trainer import rows_of, train

# Ray's workers cannot import the test's module.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

SEED = 5
N = 4_000


class Heard(SilentProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def advance(self, text, share=None):
        self.lines.append(text)


MODEL = ModelSection(params={"n_estimators": 25, "max_depth": 4, "learning_rate": 0.3})
TRAINING = TrainingSection(folds=4, early_stopping_rounds=None)


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(SEED)
    a, b = random.normal(size=(2, N))
    signal = a - b + random.normal(size=N)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "id": np.arange(N),
            "a": a,
            "b": b,
            "customer": [f"c{i}" for i in random.integers(0, 400, N)],
            "at": pa.array(
                [start + timedelta(minutes=int(m)) for m in random.permutation(N) * 30], pa.timestamp("us", "UTC")
            ),
            "assigned": random.integers(-1, 4, N),
            "late": (signal > 1.2).astype(np.int8),
            "grade": np.array(["bad", "fair", "good"])[np.digitize(signal, [-1, 1])],
            "count": random.random(N) * 3,
        }
    )


@pytest.fixture
def version(table, tmp_path, catalog):
    uri = str(tmp_path / "table")
    for start in range(0, N, 1500):
        commit.append(uri, table.slice(start, 1500), message="rows", source="test")
    return references.resolve(uri, None, tags=TagStore(catalog))


def section(version, **given):
    return DataSection(**{"path": version.uri, "features": ("a", "b"), "target": "late", "key": ("id",)} | given)


def labelled(version, data, **given):
    dataset = labelled_dataset(
        labelled_rows(version, data=data, seed=SEED, n_folds=4, **{"extra_columns": ["id"]} | given)
    )
    return pa.concat_tables(ray.get(dataset.to_arrow_refs())).sort_by("id")


def fit(version, data, oof_uri="", *, model=MODEL, training=TRAINING):
    columns = profile(version, (*data.features, data.target))
    classes = check_trainable(columns, data, kind="number" if model.type == "XGBRegressor" else "classes")
    schema = derive(table_schema(version.uri, version.version), categories=columns.categories, features=data.features)
    return train(
        version, Recipe(data, model, training, SEED, schema, classes), oof_uri=str(oof_uri), progress=SilentProgress()
    )


def test_a_group_is_on_one_side_of_everything(version, table):
    data = section(version, group=("customer",), split={"by": "group"})
    found = labelled(version, data)
    customers = np.array(table["customer"].to_pylist())
    for name in ("__part__", "__fold__"):
        places = found[name].to_numpy()
        sides = {}
        for customer, place in zip(customers, places, strict=True):
            sides.setdefault(customer, set()).add(int(place))
        assert {len(side) for side in sides.values()} == {1}
        assert len(set(places)) == (3 if name == "__part__" else 4)
    test = ray.get(read_part(version, data=data, seed=SEED, part=2, extra_columns=["customer"]))
    train_rows = ray.get(read_part(version, data=data, seed=SEED, part=0, extra_columns=["customer"]))
    assert not set(test["customer"].to_pylist()) & set(train_rows["customer"].to_pylist())
    shares = np.bincount(found["__part__"].to_numpy()) / N
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.06)


def test_time_goes_forward(version, table, tmp_path):
    split = {"by": "time", "gap": "2d", "train": 0.6, "validation": 0.2, "test": 0.2}
    data = section(version, time="at", split=split)
    found = labelled(version, data)
    at = table["at"].cast(pa.int64()).to_numpy()
    part, fold, since = (found[name].to_numpy() for name in ("__part__", "__fold__", "__since__"))
    gap = 2 * 86_400_000_000
    assert at[part == 0].max() < at[part == 1].min() - gap
    assert at[part == 1].max() < at[part == 2].min() - gap
    assert (part == 3).sum() == pytest.approx(2 * 96, abs=2)  # a row each half hour, two days before two cuts
    assert (part == 2).sum() == N // 5
    for number in range(4):
        seen = at[(part == 0) & (since <= number) & (fold != number)]
        assert seen.max() < at[(part == 0) & (fold == number)].min() - gap
    assert ray.get(read_part(version, data=data, seed=SEED, part=2))["__key__"].to_pylist() == (
        found.filter(pa.array(part == 2)).take(_as_read(version, data, part))["__key__"].to_pylist()
    )

    report = fit(version, data, tmp_path / "oof")
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    assert len(oof) == ((part == 0) & (fold != 255)).sum() == sum(each.rows for each in report.folds)
    assert report.rows["train"] == (part == 0).sum()


def _as_read(version, data, part):
    """Places, among the test rows by id, of the test rows in the order of the table."""
    dataset = labelled_dataset(labelled_rows(version, data=data, seed=SEED, n_folds=1, extra_columns=["id"]))
    whole = pa.concat_tables(ray.get(dataset.to_arrow_refs()))
    ids = whole.filter(pa.array(whole["__part__"].to_numpy() == 2))["id"].to_numpy()
    return pa.array(np.searchsorted(np.flatnonzero(part == 2), ids))


def test_too_few_times_to_cut(version):
    data = section(version, time="assigned", split={"by": "time"})
    with pytest.raises(DataError, match="too few different values"):
        labelled(version, data)
    with pytest.raises(DataError, match="has type string"):
        labelled(version, section(version, time="grade", split={"by": "time"}))


def test_folds_that_a_column_says(version, table, tmp_path):
    training = TrainingSection(folds=4, fold_by="column", fold_column="assigned", early_stopping_rounds=None)
    report = fit(version, section(version), tmp_path / "oof", training=training)
    found = labelled(version, section(version), fold_column="assigned")
    train_rows = found["__part__"].to_numpy() == 0
    assigned = table["assigned"].to_numpy()
    assert [fold.rows for fold in report.folds] == [((assigned == f) & train_rows).sum() for f in range(4)]
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    assert len(oof) == ((assigned >= 0) & train_rows).sum()
    with pytest.raises(DataError, match="holds 3; there are 3 folds"):
        fit(version, section(version), training=training.model_copy(update={"folds": 3}))


@pytest.mark.parametrize("target", ["late", "grade"])
def test_balanced_folds_are_even_to_one_row(version, table, tmp_path, target):
    data = section(version, target=target)
    training = TRAINING.model_copy(update={"fold_by": "stratified", "eval_metric": "auc"})
    report = fit(version, data, tmp_path / "oof", training=training)
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    fold, label = oof["fold"].to_numpy(), oof["label"].to_numpy()
    counts = np.array([[((fold == f) & (label == c)).sum() for c in np.unique(label)] for f in range(4)])
    peer = [np.bincount(label[own].astype(int)) for _, own in StratifiedKFold(4).split(label, label)]
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    assert np.abs(np.sort(counts, axis=0) - np.sort(peer, axis=0)).max() <= 1
    assert [each.rows for each in report.folds] == counts.sum(axis=1).tolist()


def test_hashed_folds_are_as_even_as_chance(version):
    found = labelled(version, section(version))
    train_rows = found.filter(pa.array(found["__part__"].to_numpy() == 0))
    fold, late = train_rows["__fold__"].to_numpy(), train_rows["late"].to_numpy()
    positives = np.bincount(fold[late == 1], minlength=4)
    expected = positives.sum() / 4
    chi_square = ((positives - expected) ** 2 / expected).sum()
    assert chi_square < 16.3  # 99.9 % of fair draws with three degrees of freedom


def test_several_classes(version, table, tmp_path):
    data = section(version, target="grade")
    training = TRAINING.model_copy(update={"eval_metric": "mlogloss", "early_stopping_rounds": 5})
    report = fit(version, data, tmp_path / "oof", training=training)
    assert (report.kind, report.classes) == ("multiclass", ("bad", "fair", "good"))
    assert report.validation.scores.shape[1] == 3
    assert report.validation.scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    scores = np.array(oof["score"].to_pylist())
    scores /= scores.sum(axis=1, keepdims=True)  # they are 32-bit numbers
    for fold in report.folds:
        own = oof["fold"].to_numpy() == fold.fold
        assert fold.metric == pytest.approx(log_loss(oof["label"].to_numpy()[own], scores[own]), abs=1e-5)
    assert roc_auc_score(oof["label"].to_numpy(), scores, multi_class="ovr") > 0.8


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_weights_are_carried_and_counted(version, table, tmp_path, workers):
    data = section(version, weight="count")
    training = TRAINING.model_copy(update={"workers": workers, "folds": 2})
    report = fit(version, data, tmp_path / "oof", training=training)
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    for fold in report.folds:
        own = oof["fold"].to_numpy() == fold.fold
        label, score, weight = (oof[name].to_numpy()[own] for name in ("label", "score", "weight"))
        assert fold.metric == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-5)
    with pytest.raises(DataError, match="the weight 'a' has missing, infinite or negative values"):
        fit(version, section(version, weight="a", features=("b",)))


PLACES = {
    "key": {},
    "content": {"key": ()},
    "group": {"group": ("customer",), "split": {"by": "group"}},
    "time": {"time": "at", "split": {"by": "time", "gap": "1d"}},
    "given": {},
    "weight": {"weight": "count"},
    "partitions": {"features": ("a", "b", "grade")},
}


@pytest.mark.parametrize("kind", PLACES)
def test_who_reads_the_rows_does_not_change_the_model(kind, table, tmp_path, catalog):
    """A task that reads its rows itself, and one that gets them from Ray Data: the same bytes."""
    uri = str(tmp_path / "table")
    a = table["a"].to_numpy()
    holes = pa.array(a, mask=np.arange(N) % 7 == 0)
    rows = table.set_column(table.schema.get_field_index("a"), "a", holes)
    for start in range(0, N, 1_500):
        by = ["grade"] if kind == "partitions" else None
        write_deltalake(uri, rows.slice(start, 1_500), mode="append", partition_by=by)
    version = references.resolve(uri, None, tags=TagStore(catalog))
    data = section(version, **PLACES[kind])
    columns = profile(version, (*data.features, data.target))
    schema = derive(table_schema(uri, version.version), categories=columns.categories, features=data.features)
    training = TRAINING.model_copy(update={"fold_column": "assigned"} if kind == "given" else {})
    recipe = Recipe(data, MODEL, training, SEED, schema, (0, 1))
    heard = Heard()
    own = train(version, recipe, oof_uri="", progress=heard)
    assert "it reads the rows" in " ".join(heard.lines)
    by_data = train_dataset(rows_of(version, recipe), recipe, oof_uri="", progress=SilentProgress())
    assert own.model == by_data.model
    assert own.rows == by_data.rows
    assert [fold.metric for fold in own.folds] == [fold.metric for fold in by_data.folds]
    np.testing.assert_array_equal(own.validation.labels, by_data.validation.labels)


def test_order_statistics_are_exact():
    random = np.random.default_rng(1)
    numbers = np.concatenate(
        [random.integers(-(2**63), 2**63 - 1, 500), random.integers(-3, 3, 500), [-(2**63), 2**63 - 1]]
    )
    kinds = random.integers(0, 3, len(numbers))
    table = pa.table({"n": numbers, "k": kinds})
    blocks = [ray.put(table[start : start + 300]) for start in range(0, len(table), 300)] + [ray.put(table[:0])]
    wanted = [0, 1, 7, 100, 200, 250]
    found = order_statistics(blocks, _values, lambda counts: dict.fromkeys(counts, wanted))
    for kind in range(3):
        assert [signed(bits) for bits in found[kind]] == np.sort(numbers[kinds == kind])[wanted].tolist()
    assert order_statistics([ray.put(table[:0])], _values, lambda counts: dict.fromkeys(counts, wanted)) == {}


def _values(block):
    return ordered_bits(block["n"].to_numpy()), block["k"].to_numpy()
