"""What ``sluiceway data log``, ``diff``, ``tag`` and ``untag`` mean where no table is named: all of the repository."""

from __future__ import annotations

from datetime import UTC, datetime

from sluiceway.cli.data_arguments import SHOWN_DIGITS, repository_of, say
from sluiceway.cli.output import print_rows
from sluiceway.config.platform import PlatformSection
from sluiceway.core.errors import InputError
from sluiceway.core.repository import MAIN, TAG
from sluiceway.data import repository_diff


def means_all_tables(reference: str | None) -> bool:
    """Whether a reference names no table: it is left out, begins with ``@``, or is ``A..B``."""
    return reference is None or reference.startswith("@") or (".." in reference and "/" not in reference)


def print_log(reference: str | None, *, platform: PlatformSection, as_json: bool) -> None:
    """The commits of a branch, tag or commit, newest first."""
    repository = repository_of(platform, write=False)
    names: dict[str, list[str]] = {}
    for ref in repository.store.refs():
        names.setdefault(ref.commit, []).append(ref.name)
    found = repository.log(reference.removeprefix("@") if reference else MAIN) if repository.store.refs() else []
    rows = [
        {
            "commit": made.id if as_json else made.id[:SHOWN_DIGITS],
            "names": ", ".join(names.get(made.id, [])),
            "time": datetime.fromtimestamp(made.created, UTC).isoformat(timespec="seconds"),
            "author": made.author,
            "message": made.message,
        }
        | ({"parents": made.parents, "metadata": made.metadata} if as_json else {})
        for made in found
    ]
    print_rows(rows, as_json=as_json, empty="no commits; `sluiceway data add TABLE` and `sluiceway data commit` begin")


def print_changes(one: str, other: str | None, *, platform: PlatformSection, as_json: bool) -> None:
    """Which tables differ between two names: ``@A @B`` and ``A..B`` compare both, ``A...B`` is what B did since."""
    first, second, since = _span(one, other)
    found = repository_diff.changes(repository_of(platform, write=False), first, second, since_parting=since)
    rows = [
        {
            "table": change.uri,
            "from": change.before.version if change.before else None,
            "to": change.after.version if change.after else None,
            "files": f"+{change.files_added} -{change.files_removed}",
            "rows": f"+{change.rows_added} -{change.rows_removed}",
        }
        for change in found
    ]
    print_rows(rows, as_json=as_json, empty="no table differs")


def set_tag(reference: str, name: str, *, platform: PlatformSection, as_json: bool) -> None:
    """Name a commit of all tables."""
    made = repository_of(platform, write=True).tag(name, reference.removeprefix("@"))
    say({"tag": made.name, "commit": made.commit[:SHOWN_DIGITS]}, as_json)


def remove_tag(name: str, *, platform: PlatformSection, as_json: bool) -> None:
    """Forget the name of a commit."""
    repository_of(platform, write=True).delete(name, TAG)
    say({"removed": name}, as_json)


def _span(one: str, other: str | None) -> tuple[str, str, bool]:
    if other is not None:
        return one.removeprefix("@"), other.removeprefix("@"), False
    dots = "..." if "..." in one else ".."
    first, found, second = one.removeprefix("@").partition(dots)
    if not found or not first or not second:
        raise InputError(f"{one!r} is not A..B, A...B or @A @B", hint="for example main...exp")
    return first, second, dots == "..."
