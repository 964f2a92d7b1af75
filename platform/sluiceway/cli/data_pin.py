"""``sluiceway data pin``: tables by name in a file that DVC, and people who read a diff, take as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sluiceway.cli.data_arguments import SHOWN_DIGITS, resolve_reference
from sluiceway.cli.output import ConfigOption, Json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.config.platform import PlatformSection
from sluiceway.core.errors import DataError, InputError
from sluiceway.core.references import TableVersion
from sluiceway.data.pins import FILE_NAME, check_pin_name, load_pins, verified, write_pins
from sluiceway.data.places import main_of
from sluiceway.data.references import NEWEST

app = typer.Typer(add_completion=False)


@app.command("pin")
def pin(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=TABLE[@REF]]...",
            help="What a name is to mean; all names of the file, by what they were pinned by, if left out.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file; names in it that are not given stay as they are.")] = Path(
        FILE_NAME
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where a name would mean something else now.")
    ] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Write versions and digests of tables into a YAML file, whose values DVC takes as parameters."""
    platform = load_platform(config)
    wanted = _parsed(given or ())
    kept = load_pins(out) if out.exists() or not wanted else {}
    wanted = wanted or {name: _asked(pinned) for name, pinned in kept.items()}
    if check:
        rows = [_checked(name, text, kept, platform) for name, text in wanted.items()]
        print_rows(rows, as_json=as_json, empty="nothing is pinned")
        return 1 if any(row["finding"] for row in rows) else 0
    found = {name: resolve_reference(text, platform) for name, text in wanted.items()}
    write_pins(out, kept | found)
    print_rows(
        [_row(name, pinned, was=kept.get(name), as_json=as_json) for name, pinned in found.items()],
        as_json=as_json,
        empty="nothing is pinned",
    )
    return 0


def _parsed(given: Sequence[str]) -> dict[str, str]:
    """The text of a reference by name."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, reference = text.partition("=")
        if not equals or not reference:
            raise InputError(f"{text!r} is not NAME=TABLE or NAME=TABLE@REF", hint="for example sales=data/sales@h1")
        check_pin_name(name)
        if name in found:
            raise InputError(f"the name {name!r} was given twice")
        found[name] = reference
    return found


def _asked(pinned: TableVersion) -> str:
    """What a pin was made by: a branch and its like are names of the table, not of the branch's own copy."""
    if pinned.ref == NEWEST:
        return pinned.uri
    return f"{pinned.uri if pinned.ref.isdigit() else main_of(pinned.uri)}@{pinned.ref}"


def _row(name: str, pinned: TableVersion, *, was: TableVersion | None, as_json: bool) -> dict[str, Any]:
    changed = was is None or (was.uri, was.version, was.digest) != (pinned.uri, pinned.version, pinned.digest)
    digest = pinned.digest if as_json else pinned.digest[:SHOWN_DIGITS]
    row: dict[str, Any] = {"name": name, "table": pinned.uri, "version": pinned.version, "digest": digest}
    row |= {"rows": pinned.rows, "ref": pinned.ref}
    return row | {"changed": changed if as_json else "changed" if changed else ""}


def _checked(name: str, text: str, kept: Mapping[str, TableVersion], platform: PlatformSection) -> dict[str, Any]:
    pinned = kept.get(name)
    row: dict[str, Any] = {"name": name, "pinned": pinned.version if pinned else None, "now": None, "finding": ""}
    if pinned is None:
        return row | {"finding": "not pinned"}
    try:
        verified(pinned, name=name)
        now = resolve_reference(text, platform)
    except DataError as error:
        return row | {"finding": error.message}
    row["now"] = now.version
    if now.uri != pinned.uri:
        return row | {"finding": f"{now.ref} is at {now.uri} now"}
    if now.version != pinned.version:
        return row | {"finding": f"{now.ref} means version {now.version} now"}
    return row
