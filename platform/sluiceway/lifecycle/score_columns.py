"""What is written of a scored row: columns of its own that are kept, what the model says of it, and which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.core.classes import Class
from sluiceway.core.errors import ConfigError, SchemaMismatchError
from sluiceway.features.schema import FeatureSchema, is_number, is_text, near

SCORE, DECISION, PROBABILITIES = "score", "decision", "probabilities"
# Where a row's score comes from; the same for all rows of a batch.
MODEL, MODEL_VERSION, MODEL_DIGEST = "model", "model_version", "model_digest"
SOURCE, SOURCE_VERSION, BATCH, SCORED_AT = "source", "source_version", "batch_id", "scored_at"
OWN = (SCORE, DECISION, PROBABILITIES, MODEL, MODEL_VERSION, MODEL_DIGEST, SOURCE, SOURCE_VERSION, BATCH, SCORED_AT)


@dataclass(frozen=True)
class Kept:
    """A column that a scored row keeps.

    Attributes:
        column: its name in the table that is scored.
        name: its name beside the score.
    """

    column: str
    name: str

    @classmethod
    def parse(cls, text: str, schema: pa.Schema) -> Kept:
        """Read ``COLUMN``, or ``COLUMN=NAME`` for another name beside the score."""
        column, equals, name = text.rpartition("=")
        return cls(text, text) if not equals or text in schema.names else cls(column, name)

    def __str__(self) -> str:
        return self.column if self.column == self.name else f"{self.column}={self.name}"


@dataclass(frozen=True)
class Origin:
    """Where the scores of a batch come from.

    Attributes:
        model: its registered name.
        version: of the model.
        digest: of the model's bundle.
        source: URI of the table that is scored.
        source_version: of the table.
        batch_id: name of the batch.
        time: when the batch began, UTC.
    """

    model: str
    version: str
    digest: str
    source: str
    source_version: int
    batch_id: str
    time: datetime


@dataclass(frozen=True)
class ScoreColumns:
    """The columns of scored rows.

    Attributes:
        kept: columns of the source.
        types: of these, in their order.
        classes: of a model of several classes, in the order of its scores; else empty.
        decides: the model has a threshold.
        origin: where the scores come from.
    """

    kept: tuple[Kept, ...]
    types: tuple[pa.DataType, ...]
    classes: tuple[Class, ...]
    decides: bool
    origin: Origin

    @property
    def schema(self) -> pa.Schema:
        """Names and types in their order; ``decision`` is there only where the model decides something."""
        kept = [pa.field(one.name, kind) for one, kind in zip(self.kept, self.types, strict=True)]
        decision: list[pa.Field] = []
        if self.classes:
            text = isinstance(self.classes[0], str)
            decision = [
                pa.field(DECISION, pa.string() if text else pa.int64()),
                pa.field(PROBABILITIES, pa.map_(pa.string(), pa.float64())),
            ]
        elif self.decides:
            decision = [pa.field(DECISION, pa.int8())]
        names = (MODEL, MODEL_VERSION, MODEL_DIGEST, SOURCE)
        origin = [
            *(pa.field(name, pa.string()) for name in names),
            pa.field(SOURCE_VERSION, pa.int64()),
            pa.field(BATCH, pa.string()),
            pa.field(SCORED_AT, pa.timestamp("us", "UTC")),
        ]
        return pa.schema([*kept, pa.field(SCORE, pa.float64()), *decision, *origin])

    def rows(self, batch: pa.RecordBatch, scores: np.ndarray, decisions: np.ndarray) -> pa.RecordBatch:
        """Put scored rows together.

        Args:
            batch: n rows of the source; has at least the kept columns.
            scores: shape (n,) or (n, classes), float64.
            decisions: shape (n,), float64, 0 or 1; not looked at where there are classes or no threshold.

        Returns:
            n rows of :attr:`schema`.
        """
        arrays = [batch.column(one.column) for one in self.kept]
        if self.classes:
            arrays += [pa.array(scores.max(axis=1)), *self._of_classes(scores)]
        else:
            arrays += [pa.array(scores), *([pa.array(decisions.astype(np.int8))] if self.decides else [])]
        origin = self.origin
        constants: tuple[Any, ...] = (origin.model, origin.version, origin.digest, origin.source)
        constants += (origin.source_version, origin.batch_id, origin.time)
        schema = self.schema
        types = schema.types[len(arrays) :]
        arrays += [
            pa.repeat(pa.scalar(value, kind), batch.num_rows) for value, kind in zip(constants, types, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _of_classes(self, scores: np.ndarray) -> list[pa.Array]:
        """The class of the highest probability, and the probability of each by its name."""
        rows, count = scores.shape
        decision = pa.array(self.classes).take(pa.array(scores.argmax(axis=1)))
        names = pa.array([str(one) for one in self.classes]).take(pa.array(np.tile(np.arange(count), rows)))
        starts = pa.array(np.arange(0, (rows + 1) * count, count, dtype=np.int32))
        return [decision, pa.MapArray.from_arrays(starts, names, pa.array(scores.ravel()))]


def refuse_other_features(schema: pa.Schema, features: FeatureSchema, *, table: str) -> None:
    """Refuse a table that a model cannot score, with every column that is missing or of another kind.

    Args:
        schema: of the table.
        features: of the model.
        table: its name, for the error.

    Raises:
        SchemaMismatchError: columns do not fit.
    """
    problems = []
    for feature in features.features:
        if feature.name not in schema.names:
            problems.append(f"there is no column {feature.name!r}{near(feature.name, schema.names)}")
            continue
        kind = schema.field(feature.name).type
        fits = is_text(kind) or pa.types.is_null(kind) if feature.kind == "category" else is_number(kind)
        if not fits:
            problems.append(f"{feature.name!r} is {kind}, the model was trained on a {feature.kind} column")
    if problems:
        raise SchemaMismatchError(
            f"{table} has not the columns that the model needs: {'; '.join(problems)}",
            hint=f"the model's columns: {', '.join(features.names)}",
            table=table,
        )


def kept_columns(names: Sequence[str], schema: pa.Schema, *, table: str) -> tuple[Kept, ...]:
    """The columns that scored rows keep.

    Args:
        names: ``COLUMN`` or ``COLUMN=NAME`` each; a name that comes again counts once.
        schema: of the table that is scored.
        table: its name, for errors.

    Raises:
        SchemaMismatchError: the table has no such column.
        ConfigError: a name is one that scoring gives, or two columns would have the same.
    """
    kept = tuple(dict.fromkeys(Kept.parse(name, schema) for name in names))
    missing = [f"{one.column!r}{near(one.column, schema.names)}" for one in kept if one.column not in schema.names]
    if missing:
        raise SchemaMismatchError(
            f"{table} has no column {', '.join(missing)} to keep", hint=f"its columns: {', '.join(schema.names)}"
        )
    # Delta has no two columns whose names differ by case only.
    given = [one.name.casefold() for one in kept]
    problems = [f"{one}: scoring writes a column {one.name!r} of its own" for one in kept if one.name.casefold() in OWN]
    problems += [f"{one}: two columns would be called so" for one in kept if given.count(one.name.casefold()) > 1]
    problems += [f"{one}: a column needs a name" for one in kept if not one.name]
    if problems:
        raise ConfigError(
            "these columns cannot be kept", problems=tuple(problems), hint="--keep COLUMN=NAME gives another name"
        )
    return kept


def unseen_categories(batch: pa.RecordBatch, matrix: np.ndarray, features: FeatureSchema) -> Mapping[str, int]:
    """How many values of each column are categories that the model does not know.

    Args:
        batch: n rows.
        matrix: these rows encoded, shape (n, features).
        features: of the model.
    """
    found = {}
    for index, feature in enumerate(features.features):
        if feature.kind == "category":
            count = int(np.isnan(matrix[:, index]).sum()) - batch.column(feature.name).null_count
            if count:
                found[feature.name] = count
    return found
