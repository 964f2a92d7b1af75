"""``sluiceway monitor``: what became of the predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.core.errors import BackendError, InputError
from sluiceway.lifecycle.archiving import Archived, archive_endpoint
from sluiceway.monitoring.accuracy import observed_accuracy
from sluiceway.monitoring.discovery import DiscoveryServer, live_groups, target_groups
from sluiceway.monitoring.regressions import Regressions
from sluiceway.wiring.stores import build_stores, read_stores, state_folder

app = typer.Typer(
    help="What became of the predictions, and where metrics are shown: status, archive, targets, discovery.",
    no_args_is_help=True,
    add_completion=False,
)
# Prometheus has none for it.
DISCOVERY_PORT = 9095


@app.callback()
def _monitor() -> None:
    """What became of the predictions."""


@app.command("status")
def status(config: ConfigOption = None, as_json: Json = False) -> None:
    """Accuracy per endpoint and version, from predictions whose outcome is known, with its 95 % interval.

    A regression has none: none of its values is right or wrong.
    """
    platform = load_platform(config)
    stores = read_stores(platform)
    found = observed_accuracy(
        stores.outcomes, state_folder(platform) / "records", regression=Regressions(stores.traffic)
    )
    rows = [
        {
            "endpoint": row.endpoint,
            "version": row.version,
            "arm": row.arm,
            "predictions": row.predictions,
            "with_outcome": row.with_outcome,
            "accuracy": row.accuracy if as_json or row.accuracy is None else f"{row.accuracy:.4f}",
            "interval": _interval(row.low, row.high, as_json=as_json),
        }
        for row in found
    ]
    _print(rows, as_json=as_json, empty="no predictions are recorded yet")


@app.command("archive")
def archive_records(
    endpoint: Annotated[
        str | None, typer.Argument(metavar="[ENDPOINT]", help="As `serve status` names it; all where it is left out.")
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Move records whose outcome is known, or has not come in its time, out of the catalog; may run at any time.

    That time is `platform.serving.wait_for_outcome_days` of the configuration: give the endpoint's own with -c, else it
    is 7 days.
    """
    platform = load_platform(config)
    stores, folder = read_stores(platform), state_folder(platform) / "records"
    known = stores.traffic.endpoints()
    if endpoint is not None and endpoint not in known:
        there = f"there are {', '.join(known)}" if known else None
        raise InputError(f"no endpoint {endpoint} has had a model yet", hint=there)
    rows = []
    for name in known if endpoint is None else [endpoint]:
        done = archive_endpoint(
            stores.outcomes,
            stores.rollouts,
            folder,
            endpoint=name,
            wait_days=platform.serving.wait_for_outcome_days,
            now=datetime.now(UTC).timestamp(),
        )
        rows.append({"endpoint": name, **_told(done), "table": str(folder / name)})
    _print(rows, as_json=as_json, empty="no endpoints yet")


def _interval(low: float | None, high: float | None, *, as_json: bool) -> list[float] | str | None:
    if low is None or high is None:
        return None
    return [low, high] if as_json else f"[{low:.4f}, {high:.4f}]"


def _print(rows: list[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    if not as_json:
        rows = [{name.replace("_", " "): value for name, value in row.items()} for row in rows]
    print_rows(rows, as_json=as_json, empty=empty)


def _told(done: Archived) -> dict[str, int | str]:
    return {
        "rows": done.rows,
        "late_outcomes": done.late_outcomes,
        "unmatched_outcomes": done.unmatched_outcomes,
        "kept_for_rollout": done.kept_for,
    }


@app.command("targets")
def targets(config: ConfigOption = None) -> None:
    """Where metrics are shown now, as a file of Prometheus' file_sd_configs; always JSON."""
    print_json(target_groups(read_stores(load_platform(config)).leases, now=datetime.now(UTC)))


@app.command("discovery")
def discovery(
    config: ConfigOption = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = DISCOVERY_PORT,
) -> None:
    """Tell Prometheus where metrics are shown, by its http_sd_configs, until ctrl-C."""
    leases = build_stores(load_platform(config)).leases
    try:
        server = DiscoveryServer(live_groups(leases), host=host, port=port)
    except OSError as error:
        raise BackendError(
            f"nothing can listen on {host}:{port}: {error.strerror or error}", hint="choose another --port"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{server.port}/ tells the targets; ctrl-C ends it")
    try:
        server.serve()
    finally:
        server.close()
