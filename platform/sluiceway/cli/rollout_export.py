"""``sluiceway rollout export``: what rollouts decided, as a Delta table."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.output import print_json, print_rows
from sluiceway.config.platform import PlatformSection
from sluiceway.data.tables import absolute, table_uri
from sluiceway.rollout.export import export, missing
from sluiceway.wiring.stores import history_table, read_stores


def export_all(platform: PlatformSection, to: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Export, or tell what is missing.

    Args:
        platform: where the catalog and the table are.
        to: another table, or None.
        dry_run: only tell.
        as_json: print one JSON document.

    Raises:
        DataError: the table cannot be used, or is one of something else.
    """
    rollouts = read_stores(platform).rollouts
    uri = absolute(table_uri(to or history_table(platform), platform.aliases))
    if dry_run:
        rows = [{"rollout": name, "missing": n} for name, n in missing(uri, rollouts).items()]
        print_rows(rows, as_json=as_json, empty=f"nothing is missing in {uri}")
        return
    done = export(uri, rollouts)
    if as_json:
        print_json({"table": uri, "rollouts": done.rollouts, "decisions": done.decisions, "rows": done.rows})
        return
    told = f"{uri}: {done.decisions:,} decisions of {done.rollouts:,} rollouts, {done.rows:,} rows"
    Console().print(escape(told), soft_wrap=True, highlight=False)
