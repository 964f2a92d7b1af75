"""What somebody asks of an ingest, and what it tells afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluiceway.core.errors import ConfigError
from sluiceway.data import commit_files, tables
from sluiceway.data.commit_files import RUN, Delivery
from sluiceway.data.ingest.pieces import ARROW, CSV, JSON, PARQUET
from sluiceway.data.ingest.text_files import TextOptions

MODES = (
    commit_files.APPEND,
    commit_files.OVERWRITE,
    commit_files.PARTITION_OVERWRITE,
    commit_files.UPSERT,
    commit_files.DELETE,
)
BY_KEY = (commit_files.UPSERT, commit_files.DELETE)
FORMATS = (PARQUET, CSV, JSON, ARROW)


@dataclass(frozen=True)
class IngestRequest:
    """How rows go into a table.

    Attributes:
        mode: one of ``MODES``.
        key: columns that name a row, for ``upsert`` and ``delete``.
        partition_by: partition columns of a new table; those of one that exists may be repeated.
        message: why, for people; None says what was done.
        batch_id: name of the delivery; the same name again writes nothing.
        author: who.
        meta: further keys of the commit.
        format: of the files; None goes by their names.
        text: how text files are read.
        evolve: columns that the table lacks are added, columns that the rows lack are null.
        strict: a row that breaks the table's contract refuses the delivery instead of going to quarantine.
    """

    mode: str = commit_files.APPEND
    key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    message: str | None = None
    batch_id: str | None = None
    author: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    text: TextOptions = field(default_factory=TextOptions)
    evolve: bool = False
    strict: bool = False

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigError: all problems at once.
        """
        by_key = self.mode in BY_KEY
        reserved = sorted(name for name in self.meta if "." in name or not name or name in _ENGINE_KEYS)
        problems = (
            (self.mode not in MODES, f"mode {self.mode} is none of {', '.join(MODES)}"),
            (self.format not in (None, *FORMATS), f"format {self.format} is none of {', '.join(FORMATS)}"),
            (by_key and not self.key, f"mode {self.mode} needs a key (--key)"),
            (bool(self.key) and not by_key, f"a key is for the modes {' and '.join(BY_KEY)} only"),
            (self.mode == commit_files.DELETE and self.evolve, "mode delete does not add columns"),
            (bool(reserved), f"meta keys may not be empty, hold a dot or be the engine's: {', '.join(reserved)}"),
            (len(self.text.delimiter) != 1, "the delimiter is one character"),
        )
        found = tuple(text for wrong, text in problems if wrong)
        if found:
            raise ConfigError("this cannot be ingested", problems=found)

    def delivery(self, *, source: str, done: str, run: str = "") -> Delivery:
        """What the log is to say.

        Args:
            source: where the rows come from.
            done: the message where nobody gave one.
            run: the digits in the names of the files, where files were written.
        """
        more = {**self.meta, **({RUN: run} if run else {})}
        return Delivery(self.message or done, source, self.batch_id, self.author, more)


_ENGINE_KEYS = frozenset(
    {"timestamp", "operation", "operationParameters", "operationMetrics", "version", "readVersion", "isolationLevel"}
    | {"isBlindAppend", "engineInfo", "clientVersion", "userId", "userName", "userMetadata", "job", "notebook"}
    | {"clusterId", "txnId", "inCommitTimestamp", "tags"}
)


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        table: URI.
        version: that holds the rows; None where the delivery was refused.
        mode: as it was asked for.
        rows: of the source that went in; with ``delete``, of the source.
        skipped: the delivery was there already and nothing was written.
        files: data files that were written; those of an ``upsert`` on main the engine counts for itself, as it does
            what stays of a file that rows were taken out of.
        bytes: of these files.
        quarantined: rows that broke the table's contract and went to ``<table>_quarantine``.
        inserted: rows that were new, by key.
        updated: rows that were replaced, by key.
        deleted: rows that were taken out, by key.
        added_columns: that the table did not have before.
        refused: why a strict delivery was not taken: rows of it break the table's contract; nothing was committed.
        types: columns of text files and the types that they were read as.
    """

    table: str
    version: int | None
    mode: str
    rows: int
    skipped: bool = False
    files: int = 0
    bytes: int = 0
    quarantined: int = 0
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None
    added_columns: tuple[str, ...] = ()
    refused: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)


def report_of_earlier(uri: str, request: IngestRequest) -> IngestReport | None:
    """The report of a delivery that is in the table already, or None; reads the log only."""
    done = commit_files.delivered(uri, request.batch_id)
    if done is None:
        return None
    return IngestReport(tables.absolute(uri), done.version, request.mode, done.rows, skipped=True)
