"""What a batch of scores is going to be: checked before anything is read or written, and named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sluiceway.core.clock import Clock
from sluiceway.core.errors import ConfigError, DataError, InputError, SchemaMismatchError
from sluiceway.core.references import ModelReference, TableVersion
from sluiceway.core.repository import TrackedTable
from sluiceway.data import commit_files, history, tables
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.contract.load import contract_beside
from sluiceway.data.ingest.planning import existing_target, planned_target
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.places import main_of
from sluiceway.data.write_target import WriteTarget
from sluiceway.features.schema import FeatureSchema
from sluiceway.lifecycle.score_columns import Kept, Origin, ScoreColumns, kept_columns, refuse_other_features
from sluiceway.registry.bundle import Bundle

Device = Literal["auto", "cpu", "cuda"]
# The log's keys of a batch: the model as NAME@VERSION, and the digest of its bundle.
MODEL, DIGEST = "sluiceway.model", "sluiceway.model_digest"
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class ScoreRequest:
    """A model, and the rows that it is to score.

    Attributes:
        source: the pinned version of the table.
        model: the registered model and the number of its version, no alias.
        bundle: of that version.
        keep: columns to keep, ``COLUMN`` or ``COLUMN=NAME`` each; empty keeps the declared key.
        batch_id: name of the batch; None names it by its content.
        device: ``auto`` is that of the model's training where the cluster has it.
        actors: processes that score at once; None is for the cluster to say.
        author: who.
        message: why; None says what was done.
    """

    source: TableVersion
    model: ModelReference
    bundle: Bundle
    keep: tuple[str, ...] = ()
    batch_id: str | None = None
    device: Device = "auto"
    actors: int | None = None
    author: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class ScorePlan:
    """A batch that can be scored.

    Attributes:
        request: what was asked for.
        target: the table that scores go to, as files are written for it.
        columns: of the scored rows.
    """

    request: ScoreRequest
    target: WriteTarget
    columns: ScoreColumns

    @property
    def batch_id(self) -> str:
        """Name of the batch."""
        return self.columns.origin.batch_id

    @property
    def features(self) -> FeatureSchema:
        """What the model sees."""
        return FeatureSchema.from_dict(self.request.bundle.schema)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([*self.features.names, *(one.column for one in self.columns.kept)]))


@dataclass(frozen=True)
class ScoreReport:
    """What became of a batch.

    Attributes:
        table: URI of the table with the scores.
        version: that holds them.
        rows: that were scored, by this call or by the one that it repeats.
        batch_id: name of the batch.
        skipped: the batch was there already and nothing was written.
        model: ``NAME@VERSION``.
        digest: of the model's bundle.
        source: ``TABLE@VERSION``.
        device: that scored; empty where nothing was.
        files: data files that were written.
        bytes: of these.
        unseen: values that are categories which the model does not know, by column; they count as missing.
    """

    table: str
    version: int
    rows: int
    batch_id: str
    skipped: bool
    model: str
    digest: str
    source: str
    device: str = ""
    files: int = 0
    bytes: int = 0
    unseen: Mapping[str, int] = field(default_factory=dict)


def declared_key(uri: str, tracked: Sequence[TrackedTable]) -> tuple[str, ...]:
    """The key of a table: what the repository was told of it, else the primary key of the contract beside it.

    Args:
        uri: the table, or a branch's copy of it.
        tracked: the tables of the repository.

    Raises:
        ConfigError: the contract cannot be read.
    """
    main = main_of(uri)
    told = next((table.key for table in tracked if table.uri == main), ())
    if told:
        return told
    contract = contract_beside(main)
    return () if contract is None else contract.table.key


def check_source(request: ScoreRequest, key: Sequence[str]) -> tuple[Kept, ...]:
    """Look whether the model can score the rows, and what is kept of them; nothing is read but the table's log.

    Args:
        request: what is asked for.
        key: of the table, where somebody has declared one.

    Returns:
        the columns to keep.

    Raises:
        SchemaMismatchError: a column that the model needs, or that is to be kept, is not there or of another kind.
        ConfigError: a column cannot be kept.
        InputError: nobody says by what scores are to be told apart.
    """
    if request.actors is not None and request.actors < 1:
        raise ConfigError(f"--actors is {request.actors}; it is at least 1")
    if request.device not in DEVICES:
        raise ConfigError(f"--device is {request.device!r}; it is one of {', '.join(DEVICES)}")
    if request.batch_id is not None and not request.batch_id.strip():
        raise ConfigError("--batch-id is empty", hint="leave it out to have the batch named by its content")
    schema, table = tables.schema(request.source.uri, request.source.version), request.source.uri
    refuse_other_features(schema, FeatureSchema.from_dict(request.bundle.schema), table=table)
    if not request.keep and not key:
        raise InputError(
            f"nobody has declared a key of {table}: its scores could not be told apart",
            hint="name the columns to keep beside each score with --keep, or the key with `sluiceway data add --key`",
        )
    return kept_columns(request.keep or key, schema, table=table)


def plan_scores(request: ScoreRequest, kept: tuple[Kept, ...], uri: str, *, clock: Clock) -> ScorePlan:
    """Look whether the scores fit the table that they are to go to; its log is read, nothing is written.

    Args:
        request: what is asked for.
        kept: from :func:`check_source`.
        uri: of the table for the scores.
        clock: gives the batch its time.

    Raises:
        DataError: it is the table that is scored, lies in another one, or has rules that are not followed here.
        SchemaMismatchError: it has other columns.
    """
    uri, source = tables.absolute(uri), request.source
    if main_of(uri) == main_of(tables.absolute(source.uri)):
        raise DataError(f"{uri} is the table that is scored", hint="let the scores go to a table of their own")
    schema, decision = tables.schema(source.uri, source.version), request.bundle.decision
    columns = ScoreColumns(
        kept=kept,
        types=tuple(schema.field(one.column).type for one in kept),
        classes=tuple(decision["classes"]) if decision["kind"] == "multiclass" else (),
        decides=decision["kind"] == "binary" and decision.get("threshold") is not None,
        origin=Origin(
            model=request.model.name,
            version=request.model.version,
            digest=request.bundle.digest,
            source=source.uri,
            source_version=source.version,
            batch_id=request.batch_id or content_id(request, kept, uri),
            time=clock.now(),
        ),
    )
    return ScorePlan(request, _target(uri, columns), columns)


def content_id(request: ScoreRequest, kept: Sequence[Kept], uri: str) -> str:
    """The name of a batch by what it is: rows, model, kept columns and target.

    Args:
        request: what is asked for.
        kept: columns that are kept; their order counts, since it is that of a new table.
        uri: of the table for the scores, absolute.
    """
    source = request.source
    rows = [tables.absolute(source.uri), source.version, source.digest]
    parts = [rows, request.bundle.digest, [[one.column, one.name] for one in kept], uri]
    return "score-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def earlier_report(plan: ScorePlan) -> ScoreReport | None:
    """The report of a batch that is in the table already, or None; reads the log only.

    Raises:
        InputError: the batch of that name is one of another model or table.
    """
    done = commit_files.delivered(plan.target.uri, plan.batch_id)
    return None if done is None else report_of_commit(plan, done)


def report_of_commit(plan: ScorePlan, done: CommitResult) -> ScoreReport:
    """The report of a commit that has a plan's name, as the log tells it: of what model, and of which rows.

    Args:
        plan: what was asked for; its batch is there, and nothing was written.
        done: the commit.

    Raises:
        InputError: it is a batch of another model, or of another table; another version of either is none.
    """
    report = replace(report_of(plan, version=done.version, rows=done.rows), skipped=True)
    table = tables.open_table(plan.target.uri)
    entries = history.log_of(table, limit=table.version() - done.version + 1)
    told = next((entry for entry in entries if entry.version == done.version), None)
    if told is None:  # the log does not reach back so far
        return report
    model, digest, source = str(told.metadata.get(MODEL, "")), told.metadata.get(DIGEST, ""), told.source
    name, scored = plan.request.model.name, tables.absolute(plan.request.source.uri)
    same_model = model and (digest == report.digest or model.rpartition("@")[0] == name)
    if not same_model or tables.absolute(source.rpartition("@")[0]) != scored:
        raise InputError(
            f"batch {plan.batch_id} of {report.table} is there already (version {done.version}), and is none of "
            f"{name} and {scored}: {model or 'no model'}, rows of {source}",
            hint="give another --batch-id, or leave it out to have the batch named by its content",
        )
    return replace(report, model=model, digest=str(digest), source=source)


def report_of(plan: ScorePlan, *, version: int, rows: int) -> ScoreReport:
    """What there is to say of a plan's batch that was written."""
    origin = plan.columns.origin
    return ScoreReport(
        table=plan.target.uri,
        version=version,
        rows=rows,
        batch_id=plan.batch_id,
        skipped=False,
        model=str(plan.request.model),
        digest=origin.digest,
        source=f"{origin.source}@{origin.source_version}",
    )


def _target(uri: str, columns: ScoreColumns) -> WriteTarget:
    table = existing_target(uri)
    try:
        return planned_target(uri, table, [("a batch of scores", columns.schema)], IngestRequest())
    except SchemaMismatchError as error:
        raise SchemaMismatchError(
            error.message,
            hint="scores of another kind of model, or with other columns kept, go to a table of their own",
            **error.fields,
        ) from error
