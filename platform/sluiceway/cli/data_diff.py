"""``sluiceway data diff``: what differs between two versions of a table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sluiceway.cli.data_all_tables import means_all_tables, print_changes
from sluiceway.cli.data_arguments import Reference, reading, resolve_reference
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.cli.values import cell, plain
from sluiceway.config.load import load_platform
from sluiceway.config.platform import PlatformSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.references import TableReference, TableVersion
from sluiceway.data.diff import FileSet, VersionDiff, diff_versions
from sluiceway.data.places import main_of
from sluiceway.wiring.stores import catalog_url

if TYPE_CHECKING:
    from sluiceway.data.row_diff import RowDiff

app = typer.Typer(add_completion=False)
ROW_DIFF = "sluiceway.data.ray_row_diff"

Other = Annotated[
    str | None,
    typer.Argument(metavar="TABLE@REF|@REF", help="The other version, of the same table; newest if left out."),
]
Rows = Annotated[bool, typer.Option("--rows", help="Compare rows, too: reads the files that are not in both versions.")]
Key = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="COLUMN",
        help="With --rows: what identifies a row; more than once for several columns. Rows of one key are changed, not "
        "removed and added. Null is a value like any other; a key that is there more often is paired in a fixed order.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=0, max=10_000, help="With --rows: examples of each kind.")]


@app.command("diff")
def diff(
    old: Reference,
    new: Other = None,
    rows: Rows = False,
    key: Key = None,
    limit: Limit = 20,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """What differs between two versions of a table: columns, files, and with --rows the rows.

    Without a table, which tables differ: A..B (or @A @B) compares two branches, tags or commits of the repository,
    A...B shows what B did since it left A.
    """
    if key and not rows:
        raise ConfigError("--key is about rows", hint="add --rows, which reads the files that are not in both versions")
    platform = load_platform(config)
    if means_all_tables(old):
        print_changes(old, new, platform=platform, as_json=as_json)
        return
    found = diff_versions(
        resolve_reference(old, platform, allow_empty=True, readable=rows),
        resolve_reference(_other(old, new), platform, allow_empty=True, readable=rows),
    )
    compared = _compare_rows(found, key=key or (), limit=limit, platform=platform) if rows else None
    if as_json:
        print_json(_document(found) | ({} if compared is None else {"row_changes": _rows_document(compared)}))
        return
    _print_versions(found)
    if compared is not None:
        _print_row_changes(compared)


def _other(old: str, new: str | None) -> str:
    table = TableReference.parse(old).table
    if new is None:
        return table
    return f"{table}{new}" if new.startswith("@") else new


def _compare_rows(found: VersionDiff, *, key: Sequence[str], limit: int, platform: PlatformSection) -> RowDiff:
    compared: RowDiff
    if not (found.added.paths or found.removed.paths):
        compared = importlib.import_module(ROW_DIFF).diff_rows(found, key=key, limit=limit)
        return compared
    ray = in_ray(ROW_DIFF, platform, catalog=catalog_url(platform))
    with reading(found.old, found.new, platform=platform, who="data diff"), ray as reader:
        compared = reader.diff_rows(found, key=key, limit=limit)
    return compared


def _document(found: VersionDiff) -> dict[str, Any]:
    return {
        "table": main_of(found.old.uri),
        "empty": found.empty,
        "old": _version(found.old),
        "new": _version(found.new),
        "columns": [vars(change) for change in found.columns],
        "columns_reordered": found.reordered,
        "partition_columns": {"old": found.old_partitions, "new": found.new_partitions},
        "files": {kind: _files(files) | {"paths": files.paths} for kind, files in _sets(found).items()},
    }


def _version(version: TableVersion) -> dict[str, Any]:
    return {
        "uri": version.uri,
        "version": version.version,
        "ref": version.ref,
        "rows": version.rows,
        "digest": version.digest,
    }


def _sets(found: VersionDiff) -> dict[str, FileSet]:
    return {"added": found.added, "removed": found.removed, "kept": found.kept}


def _files(files: FileSet) -> dict[str, Any]:
    return {"files": len(files.paths), "bytes": files.bytes, "rows": files.rows}


def _rows_document(rows: RowDiff) -> dict[str, Any]:
    changed = [
        {
            "key": plain(row.key),
            "changes": {name: {"old": plain(a), "new": plain(b)} for name, (a, b) in row.changes.items()},
        }
        for row in rows.changed_rows
    ]
    return {
        "key": rows.key,
        "added": {"count": rows.added, "examples": [plain(row) for row in rows.added_rows]},
        "removed": {"count": rows.removed, "examples": [plain(row) for row in rows.removed_rows]},
        "changed": {"count": rows.changed, "examples": changed},
    }


def _print_versions(found: VersionDiff) -> None:
    console = Console()
    console.print(f"{'table:':<9}{main_of(found.old.uri)}", highlight=False, markup=False, soft_wrap=True)
    for name, version in (("old:", found.old), ("new:", found.new)):
        asked = "" if version.ref == str(version.version) else f" ({version.ref})"
        place = "" if version.uri == main_of(version.uri) else f" at {version.uri}"
        said = f"{name:<9}version {version.version}{asked}{place}, {version.rows:,} rows"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if found.empty:
        console.print("no difference: the same columns and the same files")
        return
    console.print()
    print_rows(
        [
            {"files": kind} | {name: "?" if n is None else f"{n:,}" for name, n in _counts(files).items()}
            for kind, files in _sets(found).items()
        ],
        as_json=False,
        empty="",
    )
    if found.columns:
        console.print()
        print_rows([vars(change) for change in found.columns], as_json=False, empty="")
    if found.reordered:
        console.print("the columns are in another order")
    if found.old_partitions != found.new_partitions:
        old, new = (", ".join(names) or "nothing" for names in (found.old_partitions, found.new_partitions))
        console.print(f"partitioned by {new}, before by {old}", markup=False, highlight=False, soft_wrap=True)


def _counts(files: FileSet) -> dict[str, int | None]:
    return {"number": len(files.paths), "bytes": files.bytes, "rows": files.rows}


def _print_row_changes(rows: RowDiff) -> None:
    console = Console()
    by = f"by {', '.join(rows.key)}" if rows.key else "as wholes"
    changed = f", {rows.changed:,} changed" if rows.key else ""
    console.print(
        f"\nrows {by}: {rows.added:,} added, {rows.removed:,} removed{changed}", highlight=False, markup=False
    )
    shown = [
        # No column is called "".
        *({"": "added"} | _texts(row) for row in rows.added_rows),
        *({"": "removed"} | _texts(row) for row in rows.removed_rows),
    ]
    if not (rows.added or rows.removed or rows.changed):
        console.print("no row differs")
    if shown:
        console.print()
        headings = list(dict.fromkeys(name for row in shown for name in row))
        print_rows([{name: row.get(name) for name in headings} for row in shown], as_json=False, empty="")
    if rows.changed_rows:
        console.print()
        print_rows(
            [
                {"changed": _key(row.key), "column": name, "old": _text(old), "new": _text(new)}
                for row in rows.changed_rows
                for name, (old, new) in row.changes.items()
            ],
            as_json=False,
            empty="",
        )
    left = {
        "added": rows.added - len(rows.added_rows),
        "removed": rows.removed - len(rows.removed_rows),
        "changed": rows.changed - len(rows.changed_rows),
    }
    more = [f"{number:,} {kind}" for kind, number in left.items() if number]
    if more:
        console.print(f"not shown: {', '.join(more)}; --limit shows more", highlight=False, markup=False)


def _key(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in _texts(key).items())


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    return "null" if value is None else cell(value)
