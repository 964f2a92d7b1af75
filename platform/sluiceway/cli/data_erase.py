"""``sluiceway data erase``: a person's rows, out of a table, its branches and its history."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console

from sluiceway.cli.data_arguments import Table, repository_of
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import load_platform, ray_address
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError
from sluiceway.data.tables import absolute, table_uri
from sluiceway.wiring.care import build_erase
from sluiceway.wiring.stores import build_stores, read_stores

if TYPE_CHECKING:
    from sluiceway.data.erase import Erasure

app = typer.Typer(add_completion=False)


@app.command("erase")
def erase_command(  # noqa: PLR0913 (an option each)
    table: Table,
    key: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Whose rows; repeat it for further values.")
    ] = None,
    keys_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV or Parquet: a row a key, all columns together name one."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Erase; without it nothing is changed.")] = False,
    break_names: Annotated[
        bool, typer.Option("--break-names", help="Also from versions that tags and models name: these are lost then.")
    ] = False,
    reason: Annotated[str, typer.Option("-m", "--reason", help="Why; goes into the commits.")] = "",
    author: Annotated[str, typer.Option("--author", help="Who.")] = "",
    history: Annotated[bool, typer.Option("--history", help="List the erasures of the table instead.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Show, and with --apply erase, the rows of some keys: from main, from every branch, and from earlier versions.

    The newest versions get a commit without the rows; files of earlier versions that have them are deleted, and those
    versions can be read no more. What tags, registered models, unfinished runs and readers name stays, and is told.
    Exit code 1 where rows are left.
    """
    platform = load_platform(config)
    uri = absolute(table_uri(table, platform.aliases))
    if history:
        _print_history(uri, read_stores(platform).erasures.list(uri), as_json=as_json)
        return 0
    keys = _keys(key or [], keys_from)
    repository = repository_of(platform, write=apply)
    stores = build_stores(platform) if apply else read_stores(platform)
    with progress_for(Console(stderr=True)) as progress:
        progress.stage("start Ray", ray_address(platform.ray) or "on this machine")
        with in_ray("sluiceway.data.ray_erase", platform, catalog=stores.url) as module:
            request = module.EraseRequest(keys, reason=reason, author=author, break_names=break_names, apply=apply)
            doors = build_erase(platform, stores, repository, clock=SystemClock())
            found: tuple[Erasure, ...] = module.erase(uri, request, doors, progress=progress)
    if as_json:
        print_json([one.document() for one in found])
    else:
        for one in found:
            _print(one)
    return 0 if all(one.complete for one in found) else 1


def _keys(given: list[str], file: Path | None) -> pa.Table:
    if bool(given) == (file is not None):
        raise InputError("give keys by --key or by --keys-from", hint="for example --key customer=42")
    if file is not None:
        return _keys_of(file)
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (name, equals, _) in zip(given, pairs, strict=True) if not equals or not name]
    if wrong:
        raise InputError(f"{wrong[0]!r} is not COLUMN=VALUE", hint="for example --key customer=42")
    names = sorted({name for name, _, _ in pairs})
    if len(names) > 1:
        raise InputError(
            f"--key names several columns: {', '.join(names)}",
            hint="write keys of several columns into a file, a row each, and give it by --keys-from",
        )
    return pa.table({names[0]: pa.array([value for _, _, value in pairs], pa.string())})


def _keys_of(file: Path) -> pa.Table:
    import pyarrow.csv as pacsv  # noqa: PLC0415 (only here)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.read_table(file) if file.suffix == ".parquet" else pacsv.read_csv(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"the keys in {file} cannot be read: {error}", hint="a CSV with a heading, or Parquet"
        ) from error


def _print(done: Erasure) -> None:
    say = Console().print
    word = "erased" if done.applied else "would be erased"
    say(f"{done.uri}: rows of {done.keys:,} keys", highlight=False, markup=False, soft_wrap=True)
    print_rows(
        [{"newest version of": place, f"rows {word}": rows} for place, rows in done.rows.items()],
        as_json=False,
        empty="no newest version has rows of them",
    )
    say(f"{done.files:,} files of earlier versions, {done.size:,} bytes: {'deleted' if done.applied else 'would go'}")
    for place, versions in done.lost.items():
        say(f"can be read no more: {place} {_ranges(versions)}", highlight=False, markup=False, soft_wrap=True)
    for name in done.broken:
        say(f"lost with it: {name}", highlight=False, markup=False, soft_wrap=True)
    if done.left:
        say("\nnot reached:")
        rows = [{"where": one.where, "rows": one.rows or "", "why": one.why} for one in done.left]
        print_rows(rows, as_json=False, empty="")
    say("\nnot looked at: " + "; ".join(done.not_looked_at), highlight=False, soft_wrap=True)
    if not done.applied:
        say("nothing was changed; --apply erases")


def _ranges(versions: tuple[int, ...]) -> str:
    parts: list[list[int]] = []
    for version in versions:
        if parts and parts[-1][1] == version - 1:
            parts[-1][1] = version
        else:
            parts.append([version, version])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)


def _print_history(uri: str, found: Any, *, as_json: bool) -> None:
    rows = [
        {
            "time": datetime.fromtimestamp(one.created, UTC).isoformat(timespec="seconds"),
            "keys": one.report["keys"],
            "rows": sum(one.report["rows"].values()),
            "files": one.report["files"],
            "left": len(one.report["left"]),
            "author": one.author,
            "reason": one.reason,
            "digest of the keys": one.keys_digest,
        }
        for one in found
    ]
    print_rows(rows, as_json=as_json, empty=f"nothing was erased from {uri}")
