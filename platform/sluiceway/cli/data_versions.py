"""``sluiceway data``: the versions of a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sluiceway.catalog.stores import Stores
from sluiceway.cli.data_all_tables import means_all_tables, print_log, remove_tag, set_tag
from sluiceway.cli.data_arguments import Reference, reading, repository_of, resolve_reference, say
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.cli.values import cell, plain
from sluiceway.config.load import load_platform
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError
from sluiceway.core.references import TableVersion
from sluiceway.data import history
from sluiceway.data.column_statistics import column_statistics
from sluiceway.data.commit import restore as restore_table
from sluiceway.data.known_by import make_known
from sluiceway.data.places import is_clone
from sluiceway.data.tables import absolute, arrow_schema, files, open_table, table_uri
from sluiceway.wiring.stores import build_stores, read_stores

if TYPE_CHECKING:
    from sluiceway.core.row_digest import RowDigest

app = typer.Typer(add_completion=False)


@app.command("log")
def log(
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE|@REF]", help="A table; or a branch of all tables, main if left out.")
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Every commit of a table, or of all tables, newest first: version, time, rows, author, source, message, tags.

    A version that is lost can be read no more: a vacuum or an erasure deleted files of it.
    """
    platform = load_platform(config)
    if table is None or means_all_tables(table):
        print_log(table, platform=platform, as_json=as_json)
        return
    uri = table_uri(table, platform.aliases)
    names: dict[int, list[str]] = {}
    stores = read_stores(platform)
    for tag in stores.tags.list(uri):
        names.setdefault(tag.version, []).append(tag.name)
    newest = open_table(uri)
    lost = stores.lost_versions.of(absolute(uri), newest.metadata().id)
    rows = [
        {
            "version": commit.version,
            "tags": ", ".join(sorted(names.get(commit.version, []))),
            "lost": "yes" if commit.version in lost else "",
            **_commit(commit),
        }
        for commit in history.log_of(newest)
    ]
    if not as_json:
        more = [{"more": _pairs(row.pop("metadata"))} for row in rows]
        rows = [row | further for row, further in zip(rows, more, strict=True)]
        # Columns that no commit has anything for would only push the others off the screen.
        optional = [name for name in ("lost", "batch_id", "author", "more") if not any(row[name] for row in rows)]
        rows = [{name: value for name, value in row.items() if name not in optional} for row in rows]
    print_rows(rows, as_json=as_json, empty="no commits")


@app.command("show")
def show(reference: Reference, config: ConfigOption = None, as_json: Json = False) -> None:
    """One version: rows, files, digest, tags, its commit, and its columns as the log knows them; reads no data."""
    platform = load_platform(config)
    version = resolve_reference(reference, platform, allow_empty=True, readable=False)
    table = open_table(version.uri, version=version.version)
    live = files(table)
    stores = read_stores(platform)
    lost = stores.lost_versions.find(version.uri, version.version)
    columns = column_statistics(live, arrow_schema(table))
    commit = next((one for one in history.log(version.uri) if one.version == version.version), None)
    document = {
        **asdict(version),
        "files": live.num_rows,
        "bytes": sum(live["size_bytes"].to_pylist()),
        "partition_columns": table.metadata().partition_columns,
        "tags": _tags(version, stores),
        "lost": None if lost is None or lost.table_id != table.metadata().id else lost.why,
        "commit": None if commit is None else _commit(commit),
    }
    if as_json:
        statistics = {c.column: {"nulls": c.nulls, "min": plain(c.low), "max": plain(c.high)} for c in columns}
        print_json(document | {"columns": {c.column: c.type for c in columns}, "statistics": statistics})
        return
    _print_lines(document)
    print_rows(
        [
            {"column": c.column, "type": c.type, "nulls": c.nulls, "min": cell(c.low), "max": cell(c.high)}
            for c in columns
        ],
        as_json=False,
        empty="no columns",
    )


def _commit(commit: history.CommitInfo) -> dict[str, Any]:
    return {
        "time": commit.time.isoformat(timespec="seconds") if commit.time else None,
        "operation": commit.operation,
        "rows": commit.rows,
        "author": commit.author,
        "batch_id": commit.batch_id,
        "source": commit.source,
        "message": commit.message,
        "metadata": dict(commit.metadata),
    }


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={cell(value)}" for name, value in values.items())


def _tags(version: TableVersion, stores: Stores) -> list[str]:
    """Tags of just this version, and not of one with its number in a table that was at this place before."""
    tags = stores.tags.list(version.uri)
    return [tag.name for tag in tags if (tag.version, tag.digest) == (version.version, version.digest)]


def _print_lines(document: dict[str, Any]) -> None:
    lines = {name: document[name] for name in ("uri", "version", "digest")}
    lines |= {name: f"{document[name]:,}" for name in ("rows", "files", "bytes")}
    lines |= {"partitions": ", ".join(document["partition_columns"]), "tags": ", ".join(document["tags"])}
    commit = document["commit"] or {}
    lines |= {name: commit.get(name) for name in ("time", "operation", "author", "batch_id", "source", "message")}
    if document["lost"]:
        lines |= {"deleted": f"files of it, by `sluiceway data {document['lost']}`: it can be read no more"}
    lines |= {"more": _pairs(commit.get("metadata", {}))}
    console = Console()
    for name, value in lines.items():
        if value not in (None, ""):
            console.print(f"{name + ':':<13}{value}", highlight=False, markup=False, soft_wrap=True)
    console.print()


@app.command("digest")
def digest(reference: Reference, config: ConfigOption = None, as_json: Json = False) -> None:
    """Both digests of a version: of its files, which reads no data, and of its rows, which outlives a compaction."""
    platform = load_platform(config)
    version = resolve_reference(reference, platform)
    rows = _row_digest(version, build_stores(platform), platform)
    say({"table": version.uri, "version": version.version, "files": version.digest, "rows": str(rows)}, as_json)


@app.command("tag")
def tag(
    reference: Reference,
    name: Annotated[str, typer.Argument(help="The tag.")],
    message: Annotated[str, typer.Option("-m", help="Why.")] = "",
    move: Annotated[bool, typer.Option("--move", help="Let an existing tag go over to this version.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Name a version of a table; or, with @REF alone, a commit of all tables, for good."""
    platform = load_platform(config)
    if means_all_tables(reference):
        set_tag(reference, name, platform=platform, as_json=as_json)
        return
    version = _of_the_table(resolve_reference(reference, platform), word="tag @REF NAME")
    stores, clock = build_stores(platform), SystemClock()
    make_known(version.uri, stores.identity)
    with reading(version, platform=platform, who="data tag"):
        stores.tags.set(version.uri, name, version.version, version.digest, message, clock.now().timestamp(), move=move)
    say({"table": version.uri, "tag": name, "version": version.version}, as_json)


@app.command("untag")
def untag(
    table: Annotated[str, typer.Argument(metavar="TABLE|@", help="The table, or @ for all tables.")],
    name: str,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Remove a tag; the version stays."""
    platform = load_platform(config)
    if table == "@":
        remove_tag(name, platform=platform, as_json=as_json)
        return
    uri = table_uri(table, platform.aliases)
    read_stores(platform).tags.delete(uri, name)
    say({"table": uri, "removed": name}, as_json)


@app.command("restore")
def restore(reference: Reference, config: ConfigOption = None, as_json: Json = False) -> None:
    """Make the newest version equal an earlier one, as a new commit; nothing is deleted."""
    platform = load_platform(config)
    version = _of_the_table(resolve_reference(reference, platform, allow_empty=True), word="merge BRANCH")
    repository_of(platform, write=False).refuse_closed(version.uri)
    with reading(version, platform=platform, who="data restore"):
        result = restore_table(version.uri, version.version, message=f"back to {version.ref}")
    say({"table": version.uri, "version": result.version, "equals": version.version}, as_json)


def _of_the_table(version: TableVersion, *, word: str) -> TableVersion:
    if is_clone(version.uri):
        raise InputError(
            f"{version.ref!r} is a branch's own version of the table", hint=f"`sluiceway data {word}` is for branches"
        )
    return version


def _row_digest(version: TableVersion, stores: Stores, platform: PlatformSection) -> RowDigest:
    ray = in_ray("sluiceway.data.ray_row_digest", platform, catalog=stores.url)
    with reading(version, platform=platform, who="data digest"), ray as reader:
        found: RowDigest = reader.version_row_digest(version, kept=stores.file_digests)
    return found
