"""How people name a version of a table and a version of a model."""

from __future__ import annotations

from dataclasses import dataclass

from sluiceway.core.errors import InputError


@dataclass(frozen=True)
class TableReference:
    """``TABLE@REF``: a table and the name of one of its states.

    Attributes:
        table: a path, a URI, or an alias that the settings map to one.
        ref: a version number, tag, branch or ISO time; None is the newest version.
    """

    table: str
    ref: str | None = None

    @classmethod
    def parse(cls, text: str) -> TableReference:
        """Split at the last ``@`` behind the last ``/`` (a URI may hold an ``@`` before its host)."""
        head, slash, tail = text.rstrip("/").rpartition("/")
        name, at, ref = tail.rpartition("@")
        if not at:
            name, ref = tail, ""
        if not name or (at and not ref):
            raise InputError(f"{text!r} is not TABLE or TABLE@REF", hint="for example sales@v12 or data/sales@h1")
        return cls(f"{head}{slash}{name}", ref or None)

    def __str__(self) -> str:
        return f"{self.table}@{self.ref}" if self.ref else self.table


@dataclass(frozen=True)
class TableVersion:
    """A state of a table, pinned: what a run trains on and records.

    Attributes:
        uri: absolute path or URI of the table.
        version: Delta version number.
        digest: level-1 digest of the version (schema and live files), hex.
        rows: number of live rows.
        ref: the name that it was asked for by, for people.
    """

    uri: str
    version: int
    digest: str
    rows: int
    ref: str


@dataclass(frozen=True)
class ModelReference:
    """``MODEL@VERSION``: a registered model and one of its versions or aliases."""

    name: str
    version: str

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Split ``MODEL@VERSION``; both parts are required."""
        name, _, version = text.rpartition("@")
        if not name or not version:
            raise InputError(f"{text!r} is not MODEL@VERSION", hint="for example flights_late@champion")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
