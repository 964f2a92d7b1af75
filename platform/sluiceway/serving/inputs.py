"""The rows of a request, whatever protocol brought them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sluiceway.config.serving import ServingSection
from sluiceway.features.encoder import Encoder, Place
from sluiceway.features.rules import InputRules
from sluiceway.features.schema import FeatureSchema

# Models of a replica's life that are kept ready; one more begins anew.
_ENCODERS = 32


class Input(Protocol):
    """Rows that a model can be asked for."""

    def __len__(self) -> int:
        """How many rows."""

    def encode(self, schema: FeatureSchema) -> tuple[np.ndarray, int]:
        """The rows as a model sees them.

        Args:
            schema: of the model.

        Returns:
            shape (n_rows, n_features), float32, C order, NaN is missing; and the number of unknown categories.

        Raises:
            RequestError: 422, with the path of every problem.
        """

    def first(self, field: str) -> str | None:
        """The value of a field in the first row, as text; None where it has none."""


class Encoders:
    """The encoders of the models that a replica has met, under one set of rules.

    Args:
        rules: what requests may hold beyond the features.
    """

    def __init__(self, rules: InputRules | None = None) -> None:
        self._rules = rules or InputRules()
        self._known: dict[int, Encoder] = {}

    @classmethod
    def of(cls, limits: ServingSection) -> Encoders:
        """By the configuration of an endpoint; its routing field may stand in every row."""
        given = limits.input
        return cls(InputRules(limits.extra_fields, dict(given.ranges), refuse_unknown=given.categories == "refuse"))

    def encoder(self, schema: FeatureSchema) -> Encoder:
        """The encoder of a model's schema; the same for the same object."""
        found = self._known.get(id(schema))
        if found is None or found.schema is not schema:
            if len(self._known) >= _ENCODERS:
                self._known.clear()
            found = self._known[id(schema)] = Encoder(schema, self._rules)
        return found


PLAIN = Encoders()


@dataclass(frozen=True, slots=True)
class RowsInput:
    """Rows as JSON has them.

    Attributes:
        rows: one object of features a row.
        encoders: under what rules they are encoded.
        where: JSON path of the rows.
    """

    rows: Sequence[Mapping[str, Any]]
    encoders: Encoders = PLAIN
    where: str = "$.rows"

    def __len__(self) -> int:
        return len(self.rows)

    def encode(self, schema: FeatureSchema) -> tuple[np.ndarray, int]:
        """As :meth:`Input.encode`."""
        return self.encoders.encoder(schema).rows(self.rows, where=self.where)

    def first(self, field: str) -> str | None:
        """As :meth:`Input.first`."""
        row = self.rows[0] if self.rows else None
        return as_text(row.get(field)) if isinstance(row, Mapping) else None


@dataclass(frozen=True, slots=True)
class ColumnsInput:
    """Columns of one length.

    Attributes:
        columns: by name: lists of JSON values, or arrays of numbers.
        place: JSON path of a column's value.
        encoders: under what rules they are encoded.
    """

    columns: Mapping[str, Sequence[Any] | np.ndarray]
    place: Place
    encoders: Encoders = PLAIN

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def encode(self, schema: FeatureSchema) -> tuple[np.ndarray, int]:
        """As :meth:`Input.encode`."""
        return self.encoders.encoder(schema).columns(self.columns, self.place)

    def first(self, field: str) -> str | None:
        """As :meth:`Input.first`."""
        column = self.columns.get(field)
        value = column[0] if column is not None and len(column) else None
        return as_text(value.item() if isinstance(value, np.generic) else value)


class TableInput:
    """An Arrow table; what it is encoded to is kept, because a large one is encoded before it is asked for.

    Args:
        table: its columns.
        encoders: under what rules they are encoded.
    """

    def __init__(self, table: pa.Table, encoders: Encoders = PLAIN) -> None:
        self.table, self._encoders = table, encoders
        self._encoded: tuple[FeatureSchema, tuple[np.ndarray, int]] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def encode(self, schema: FeatureSchema) -> tuple[np.ndarray, int]:
        """As :meth:`Input.encode`."""
        if self._encoded is None or self._encoded[0] is not schema:
            self._encoded = (schema, self._encoders.encoder(schema).table(self.table))
        return self._encoded[1]

    def first(self, field: str) -> str | None:
        """As :meth:`Input.first`."""
        position = self.table.schema.get_field_index(field)
        if position < 0 or not len(self):
            return None
        try:
            return as_text(self.table.column(position)[0].as_py())
        except (pa.ArrowException, ValueError, OverflowError, KeyError):
            return None  # a time that Python has not, or in no known zone (a KeyError): no time is a key


def as_text(value: Any) -> str | None:
    """A value as a routing key: the same text whichever protocol brought it; None for what is no single value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Decimal):
        return _digits(value) if value.is_finite() else None
    return str(value) if isinstance(value, int | float) and value == value else None


def _digits(value: Decimal) -> str:
    if value == value.to_integral_value():
        return str(int(value))
    return format(value, "f").rstrip("0")
