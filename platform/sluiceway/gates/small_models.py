"""Small models that find out what a large one could have learned; none of them is kept.

One learns rows by heart, to see whether other rows are the same ones; one learns the target, to see what rows of
another time are worth. scikit-learn is imported when one is trained: a second, for nothing where gates are only named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.gates.identity import number_column, text_column

Array = npt.NDArray[Any]
LARGEST = 3.0e38
TREES = 10
ROUNDS = 50
MOST_CATEGORIES = 254  # scikit-learn's boosting keeps a category in a byte; rarer ones share the last code


def matrices(
    train: pa.Table, others: Sequence[pa.Table], kinds: Mapping[str, str], *, numbers: Literal["ranks", "values"]
) -> list[Array]:
    """Rows as numbers.

    A category is its place by frequency in the training rows. A number is its value, or its rank among the values of
    the training rows: equal values have equal ranks, and a cut at random falls between values however they are spread.

    Args:
        train: rows that the model is trained on.
        others: rows that it is asked about.
        kinds: ``numeric`` or ``category`` of each feature.
        numbers: what numeric features are.

    Returns:
        for the training rows and each of the others shape (n, features), float64. What is missing, or a category that
        training has not seen, is NaN; of ranks it is -1.
    """
    found = [np.empty((table.num_rows, len(kinds))) for table in (train, *others)]
    for at, (name, kind) in enumerate(kinds.items()):
        columns = [table[name] for table in (train, *others)]
        made = _codes(columns) if kind == "category" else _ranks(columns) if numbers == "ranks" else _values(columns)
        for matrix, column in zip(found, made, strict=True):
            matrix[:, at] = np.nan_to_num(column, nan=-1.0) if numbers == "ranks" else column
    return found


def by_heart(known: Array, labels: Array, asked: Sequence[Array], *, seed: int) -> list[Array]:
    """Trees that are cut at random until every training row that differs from the others stands alone.

    Args:
        known: training rows, shape (n, features), without NaN.
        labels: of these, shape (n,), 0 or 1.
        asked: other rows.
        seed: of the cuts.

    Returns:
        for each of the others shape (its rows,): share of the trees that say 1. A copy of a training row has its label.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415

    model = ExtraTreesClassifier(TREES, max_features=1, random_state=seed, n_jobs=1)
    model.fit(known.astype(np.float32), labels)
    return [_share_of_ones(model, rows) for rows in asked]


def boosted(known: Array, labels: Array, asked: Array, *, categories: Array, k: int, seed: int) -> Array:
    """A small boosted model of the target.

    Args:
        known: training rows, shape (n, features), NaN is missing.
        labels: of these, shape (n,): places of k classes, or numbers.
        asked: other rows.
        categories: shape (features,), bool: which features are codes of categories.
        k: classes; 0 for a regression.
        seed: of the model.

    Returns:
        the scores of the other rows: shape (m,) of a regression and of two classes, else (m, k).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # noqa: PLC0415

    rounds = ROUNDS if k <= 2 else max(10, 2 * ROUNDS // k)  # of several classes each round is a tree a class
    options: dict[str, Any] = {
        "max_iter": rounds,
        "early_stopping": False,
        "categorical_features": categories,
        "random_state": seed,
    }
    known, asked = (np.where(categories, np.minimum(rows, MOST_CATEGORIES), rows) for rows in (known, asked))
    if k == 0:
        told: Array = HistGradientBoostingRegressor(**options).fit(known, labels).predict(asked)
        return told
    if len(np.unique(labels)) < 2:
        return np.zeros(len(asked)) if k == 2 else np.zeros((len(asked), k))
    model = HistGradientBoostingClassifier(**options).fit(known, labels)
    scores = np.zeros((len(asked), k))
    scores[:, model.classes_.astype(np.int64)] = model.predict_proba(asked)
    return scores[:, 1] if k == 2 else scores


def _share_of_ones(model: Any, rows: Array) -> Array:
    if not len(rows) or 1 not in model.classes_:
        return np.zeros(len(rows))
    shares: Array = model.predict_proba(rows.astype(np.float32))[:, list(model.classes_).index(1)]
    return shares


def _codes(columns: Sequence[pa.ChunkedArray]) -> list[Array]:
    train = text_column(columns[0])
    counts = pc.value_counts(train.drop_null())
    order = np.argsort(-counts.field("counts").to_numpy(), kind="stable")
    names = counts.field("values").take(pa.array(order))
    return [
        pc.index_in(text_column(column), value_set=names).cast(pa.float64()).to_numpy(zero_copy_only=False)
        for column in columns
    ]


def _values(columns: Sequence[pa.ChunkedArray]) -> list[Array]:
    # scikit-learn refuses infinite values.
    return [np.clip(number_column(c).cast(pa.float64(), safe=False).to_numpy(), -LARGEST, LARGEST) for c in columns]


def _ranks(columns: Sequence[pa.ChunkedArray]) -> list[Array]:
    values = _values(columns)
    known = np.unique(values[0][~np.isnan(values[0])])
    # Half a rank for what lies between two: only what training has seen has its rank.
    return [
        np.where(
            np.isnan(column),
            np.nan,
            (np.searchsorted(known, column, side="left") + np.searchsorted(known, column, side="right")) / 2,
        )
        for column in values
    ]
