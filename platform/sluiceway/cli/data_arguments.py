"""What the words of ``sluiceway data`` share: how a table is named, and how a result is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated

import typer
from rich.console import Console

from sluiceway.cli.output import print_json
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError
from sluiceway.core.references import TableReference, TableVersion
from sluiceway.data.hold import hold
from sluiceway.data.hooks import Hooks
from sluiceway.data.references import resolve
from sluiceway.data.repository import Repository
from sluiceway.data.tables import absolute, table_uri
from sluiceway.wiring.hooks import build_repository_hooks
from sluiceway.wiring.stores import build_stores, read_stores

# Of a commit's id, for people.
SHOWN_DIGITS = 12
Table = Annotated[str, typer.Argument(metavar="TABLE", help="Path or URI of a Delta table.")]
Reference = Annotated[
    str,
    typer.Argument(metavar="TABLE[@REF]", help="REF: version number, tag, branch, commit or ISO time; newest without."),
]


def resolve_reference(
    text: str, platform: PlatformSection, *, allow_empty: bool = False, readable: bool = True
) -> TableVersion:
    """Pin what ``TABLE@REF`` means now; raises what :func:`sluiceway.data.references.resolve` raises.

    Args:
        text: as it was typed.
        platform: where the catalog is.
        allow_empty: a version without rows will do.
        readable: one whose files a clean-up has deleted will not do.
    """
    reference = TableReference.parse(text)
    uri = table_uri(reference.table, platform.aliases)
    stores = read_stores(platform)
    return resolve(
        uri,
        reference.ref,
        tags=stores.tags,
        repository=stores.repository,
        lost=stores.lost_versions if readable else None,
        allow_empty=allow_empty,
    )


def reading(*versions: TableVersion, platform: PlatformSection, who: str) -> AbstractContextManager[None]:
    """While it is open, no vacuum deletes what these versions need; raises what ``data.hold.hold`` raises."""
    stores = read_stores(platform)
    return hold(*versions, leases=stores.leases, lost=stores.lost_versions, clock=SystemClock(), who=who)


def repository_of(platform: PlatformSection, *, write: bool) -> Repository:
    """The repository of the catalog; one that is only asked makes no catalog."""
    stores = build_stores(platform) if write else read_stores(platform)
    hooks = build_repository_hooks(platform, stores) if write else Hooks()
    return Repository(stores.repository, SystemClock(), hooks, stores.lost_versions)


def place_to_write(text: str, platform: PlatformSection) -> str:
    """Where rows for ``TABLE`` or ``TABLE@BRANCH`` go; a branch's copy is made at its first write.

    Raises:
        SluicewayError: what :meth:`sluiceway.data.repository.Repository.place_to_write` raises.
    """
    reference = TableReference.parse(text)
    uri = table_uri(reference.table, platform.aliases)
    if reference.ref is None:
        repository_of(platform, write=False).refuse_closed(absolute(uri))
        return uri
    return repository_of(platform, write=True).place_to_write(uri, reference.ref)


def metadata_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """What ``--meta KEY=VALUE`` gave.

    Raises:
        InputError: one is no pair.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"{pair!r} is not KEY=VALUE", hint="for example --meta ticket=42")
        found[name] = value
    return found


def say(document: dict[str, object], as_json: bool) -> None:
    """A result of a few values: a line each, or one JSON document."""
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        Console().print(f"{name + ':':<16}{shown}", highlight=False, soft_wrap=True)
