"""The keys of a contract as frozen sections: version 3 of the Open Data Contract Standard, as one table needs it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.data.contract.limits import Operators
from sluiceway.data.contract.people import CustomProperty, Described, Description, Documents, Member, Team

# What YAML makes of a limit or a value; a text stands for a date or a time where the column has these.
Limit = int | float | date | datetime | str
Value = bool | int | float | date | datetime | str
LogicalType = Literal["string", "integer", "number", "boolean", "date", "timestamp", "time", "array", "object"]
Metric = Literal["rowCount", "nullValues", "missingValues", "invalidValues", "duplicateValues"]

# Names of version 3.0 for the metrics of 3.1.
EARLIER_METRICS = {"nullCount": "nullValues", "nullCheck": "nullValues", "duplicateCount": "duplicateValues"}
EARLIER_METRICS |= {"unique": "duplicateValues", "uniqueCheck": "duplicateValues", "validValues": "invalidValues"}


class Arguments(Section):
    """What a metric needs to know."""

    validValues: tuple[Value, ...] | None = None
    pattern: str | None = None
    missingValues: tuple[Value, ...] | None = None
    properties: tuple[str, ...] = ()


class Quality(Operators):
    """A rule of quality: a metric and the operator that it has to fit, or a text for people."""

    id: str | None = None
    type: Literal["library", "text"] = "library"
    metric: Metric | None = None
    rule: str | None = None
    arguments: Arguments = Arguments()
    validValues: tuple[Value, ...] | None = None
    unit: Literal["rows", "percent"] = "rows"
    name: str | None = None
    description: str | None = None
    dimension: str | None = None
    severity: str | None = None
    businessImpact: str | None = None
    method: str | None = None
    schedule: str | None = None
    scheduler: str | None = None
    tags: tuple[str, ...] = ()
    authoritativeDefinitions: Documents = ()
    customProperties: tuple[CustomProperty, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _earlier_names(cls, document: Any) -> Any:
        """The names of 3.0: ``rule`` for ``metric``, and other names of metrics."""
        if not isinstance(document, dict) or document.get("type") == "text":
            return document
        named = document.get("metric", document.get("rule"))
        metric = EARLIER_METRICS.get(named, named) if isinstance(named, str) else named
        return {**document, "metric": metric} if metric is not None else document

    @model_validator(mode="after")
    def _complete(self) -> Quality:
        if self.type == "text":
            return self
        if self.metric is None:
            raise ValueError("a rule of the library needs a metric")
        if self.metric == "invalidValues" and not self.allowed and self.arguments.pattern is None:
            raise ValueError("invalidValues needs arguments.validValues or arguments.pattern")
        if self.metric == "missingValues" and not self.arguments.missingValues:
            raise ValueError("missingValues needs arguments.missingValues, the values that stand for nothing")
        if self.given == 0 and self.metric == "rowCount":
            raise ValueError("rowCount needs an operator, e.g. mustBeBetween: [1000, 100000]")
        return self

    @property
    def allowed(self) -> tuple[Value, ...]:
        """The values that are valid; empty where no such list is given."""
        return self.arguments.validValues or self.validValues or ()


class TypeOptions(Section):
    """What the values of a type have to be."""

    # Of a limit that may be a number or a time, pydantic would tell every kind that it is not: see ``problems``.
    model_config = ConfigDict(allow_inf_nan=True)

    minimum: Limit | None = None
    maximum: Limit | None = None
    exclusiveMinimum: bool | Limit | None = None
    exclusiveMaximum: bool | Limit | None = None
    minLength: int | None = Field(default=None, ge=0)
    maxLength: int | None = Field(default=None, ge=0)
    pattern: str | None = None
    format: str | None = None
    timezone: bool | None = None
    defaultTimezone: str | None = None

    def lower(self) -> Iterator[tuple[Limit, bool]]:
        """The limits below: each with whether it is itself forbidden."""
        yield from _limits(self.minimum, self.exclusiveMinimum)

    def upper(self) -> Iterator[tuple[Limit, bool]]:
        """The limits above, likewise."""
        yield from _limits(self.maximum, self.exclusiveMaximum)


class Property(Described):
    """A column."""

    name: str
    physicalName: str | None = None
    logicalType: LogicalType | None = None
    physicalType: str | None = None
    logicalTypeOptions: TypeOptions = TypeOptions()
    required: bool = False
    unique: bool = False
    primaryKey: bool = False
    primaryKeyPosition: int = -1
    partitioned: bool = False
    partitionKeyPosition: int = -1
    classification: str | None = None
    encryptedName: str | None = None
    criticalDataElement: bool = False
    transformSourceObjects: tuple[str, ...] = ()
    transformLogic: str | None = None
    transformDescription: str | None = None
    examples: tuple[Any, ...] = ()
    relationships: Documents = ()
    quality: tuple[Quality, ...] = ()

    @property
    def column(self) -> str:
        """Its name in the table."""
        return self.physicalName or self.name

    @property
    def open_to_all(self) -> bool:
        """Whether its values may be shown: a classification other than ``public`` forbids it."""
        return self.classification is None or self.classification.strip().lower() == "public"


class TableSchema(Described):
    """The table."""

    name: str
    physicalName: str | None = None
    physicalType: str | None = None
    logicalType: Literal["object"] | None = None
    dataGranularityDescription: str | None = None
    properties: tuple[Property, ...] = Field(min_length=1)
    relationships: Documents = ()
    quality: tuple[Quality, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the primary key, in its order; none where no property is of one."""
        # Stable: without positions, the order of the file.
        primary = sorted((p for p in self.properties if p.primaryKey), key=lambda p: p.primaryKeyPosition)
        return tuple(p.column for p in primary)


class SlaProperty(Section):
    """A promise about the service; ``freshness`` and ``latency`` are checked."""

    id: str | None = None
    property: str
    value: float | int | bool | str | None
    valueExt: float | int | bool | str | None = None
    unit: str | None = None
    element: str | None = None
    driver: str | None = None
    description: str | None = None
    scheduler: str | None = None
    schedule: str | None = None


# pydantic has an old method of the name that the standard gives to its most important key.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message='Field name "schema"')

    class Contract(Section):
        """A contract."""

        apiVersion: str = Field(pattern=r"^v3\.\d+\.\d+$")
        kind: Literal["DataContract"]
        id: str
        version: str
        status: str
        name: str | None = None
        tenant: str | None = None
        domain: str | None = None
        dataProduct: str | None = None
        description: Description | str | None = None
        schema: tuple[TableSchema, ...]  # type: ignore[assignment]
        slaProperties: tuple[SlaProperty, ...] = ()
        slaDefaultElement: str | None = None
        team: Team | tuple[Member, ...] | None = None
        roles: Documents = ()
        support: Documents = ()
        servers: Documents = ()
        price: dict[str, Any] | None = None
        tags: tuple[str, ...] = ()
        authoritativeDefinitions: Documents = ()
        customProperties: tuple[CustomProperty, ...] = ()
        contractCreatedTs: datetime | str | None = None

        @field_validator("schema")
        @classmethod
        def _one_table(cls, tables: tuple[TableSchema, ...]) -> tuple[TableSchema, ...]:
            if len(tables) != 1:
                raise ValueError(f"a contract here is about one table, this one has {len(tables)}; a file for each")
            return tables

        @property
        def table(self) -> TableSchema:
            """The one table that it is about."""
            return self.schema[0]

        @property
        def owner(self) -> str | None:
            """Who answers for the data: a member whose role says owner, else the team, else its first member."""
            team, members = (self.team, self.team.members) if isinstance(self.team, Team) else (None, self.team or ())
            present = [member for member in members if member.dateOut is None]
            owners = [member for member in present if "owner" in (member.role or "").lower()]
            named = [member.name or member.username for member in [*owners, *present]]
            if team is not None and team.name and not owners:
                return team.name
            return named[0] if named else None

        @property
        def purpose(self) -> str | None:
            """What the data is, in one line."""
            described = self.description.purpose if isinstance(self.description, Description) else self.description
            found = described or self.table.description
            return " ".join(found.split()) if found else None

        @property
        def strict(self) -> bool:
            """Whether columns outside the contract are forbidden."""
            given = (*self.customProperties, *self.table.customProperties)
            return any(custom.property == "strict" and custom.value is True for custom in given)


def _limits(limit: Limit | None, exclusive: bool | Limit | None) -> Iterator[tuple[Limit, bool]]:
    """3.0 has a flag beside the limit, 3.1 a second limit."""
    if limit is not None:
        yield limit, exclusive is True
    if exclusive is not None and not isinstance(exclusive, bool):
        yield exclusive, True
