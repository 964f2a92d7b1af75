"""Our entries in the Serve config of a cluster that is not ours alone.

The config is one document for the whole cluster, and what is written replaces all of it: an application that stood in
it and does not any more is removed. There is no compare-and-swap. So ours are merged into what is there, entry by entry
and without a look into those of others; written; and read again. Applications that a program deployed (``serve.run``, a
rollout's challengers) do not stand in it and are never touched by it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sluiceway.catalog.leases import LeaseStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, ConfigError, ConflictError
from sluiceway.serving.doors import ServeDoor
from sluiceway.serving.grpc_options import grpc_options
from sluiceway.serving.specs import ENDPOINT_IMPORT_PATH, EndpointSpec
from sluiceway.serving.state import DELETING, DEPLOY_FAILED, RUNNING, ApplicationState, applications

ATTEMPTS = 5
LEASE = "serve-config"
LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.25
SETTLE_SECONDS = 10.0
DEFAULT_PORT = 8000
# What a config says beside its applications; Serve forgets what is left out of it.
KEPT = ("proxy_location", "http_options", "grpc_options", "target_capacity")
REDACTED = "<redacted>"

Entry = dict[str, Any]


def entry_of(spec: EndpointSpec) -> Entry:
    """An endpoint's entry in a Serve config; without code, which comes with the cluster's image."""
    serving = spec.serving.model_dump(mode="json", exclude_defaults=True, exclude={"port"})
    if spec.log_table is not None:
        serving["log"] = {**serving.get("log", {}), "table": spec.log_table}
    arguments = {"endpoint": spec.name, "catalog": spec.catalog_url, "serving": serving}
    return {
        "name": spec.name,
        "route_prefix": spec.route_prefix,
        "import_path": ENDPOINT_IMPORT_PATH,
        "args": arguments,
    }


def declare(door: ServeDoor, specs: Sequence[EndpointSpec], *, leases: LeaseStore, seconds: float) -> None:
    """Put endpoints into the Serve config and wait until they run.

    Args:
        door: the cluster's Serve.
        specs: the endpoints.
        leases: of the catalog; two processes of ours change a config one after the other.
        seconds: how long they may take to run.

    Raises:
        ConfigError: the name or the route of one is somebody else's.
        ConflictError: somebody else's change was lost, or undoes ours again and again.
        BackendError: Serve does not answer, or one does not come up.
    """
    entries = [entry_of(spec) for spec in specs]
    started = _first_options(specs[0].serving) if specs else {}
    deadline = time.monotonic() + seconds
    for _ in range(ATTEMPTS):
        with _one_after_the_other(leases):
            _put(door, entries, gone=(), started=started)
        if _all_run(door, entries, deadline):
            return
    raise _restless()


def withdraw(door: ServeDoor, names: Collection[str], *, leases: LeaseStore) -> None:
    """Take entries out of the Serve config, and with them their applications; nothing happens where there are none.

    Args:
        door: the cluster's Serve.
        names: of applications of ours.
        leases: as for :func:`declare`.

    Raises:
        ConflictError: as for :func:`declare`.
        BackendError: Serve does not answer.
    """
    with _one_after_the_other(leases):
        _put(door, (), gone=frozenset(names), started={})


def merged(
    details: Mapping[str, Any], entries: Sequence[Entry], *, gone: Collection[str], started: Mapping[str, Any]
) -> dict[str, Any]:
    """The config that has our entries and leaves all others as they are.

    Args:
        details: what Serve says of itself now.
        entries: ours; of one that is there already, keys that we do not set stay.
        gone: names of ours that go.
        started: options of a Serve that does not run yet.

    Raises:
        ConfigError: the name or the route of an entry is somebody else's.
        BackendError: an entry of somebody else cannot be given back as it is.
    """
    found = applications(details)
    kept = {app.name: _given(app) for app in found.values() if _stands(app) and app.name not in gone}
    for entry in entries:
        _refuse_taken(entry, found)
        kept[entry["name"]] = {**kept.get(entry["name"], {}), **entry}
    options = {key: details[key] for key in KEPT if details.get(key)}
    return {**(options or started), "applications": list(kept.values())}


def _put(door: ServeDoor, entries: Sequence[Entry], *, gone: Collection[str], started: Mapping[str, Any]) -> None:
    ours, lost = {entry["name"] for entry in entries} | set(gone), set[str]()
    for _ in range(ATTEMPTS):
        details = _settled(door)
        before = applications(details)
        config = merged(details, entries, gone=gone, started=started)
        if _in_place(before, entries, gone):
            break
        door.write(config)
        after = applications(door.read())
        # What goes now and was not there when we looked came in between, and was not in what we wrote.
        lost |= {name for name, app in after.items() if app.declared and not _stands(app)} - before.keys() - ours
        if _in_place(after, entries, gone):
            break
    else:
        raise _restless()
    if lost:
        names = ", ".join(sorted(lost))
        raise ConflictError(
            f"somebody else deployed {names} in the same moment, and Serve took it for removed",
            hint=f"deploy {names} again; what this command was to do is done",
        )


def _all_run(door: ServeDoor, entries: Sequence[Entry], deadline: float) -> bool:
    """True when all run; False when somebody else's write has taken ours away.

    Raises:
        BackendError: one failed, or the time is over.
    """
    while True:
        found = applications(door.read())
        if not _in_place(found, entries, ()):
            return False
        ours = [found[entry["name"]] for entry in entries]
        if all(app.status == RUNNING for app in ours):
            return True
        failed = [app for app in ours if app.status == DEPLOY_FAILED]
        if failed or time.monotonic() > deadline:
            late = failed or [app for app in ours if app.status != RUNNING]
            raise BackendError(
                f"{late[0].name} does not come up: {late[0].failure or late[0].status}",
                hint="see `sluiceway serve status` and the cluster's logs of Serve",
                application=late[0].name,
            )
        time.sleep(POLL_SECONDS)


def _in_place(found: Mapping[str, ApplicationState], entries: Sequence[Entry], gone: Collection[str]) -> bool:
    if any(name in found and _stands(found[name]) for name in gone):
        return False
    return all(
        (app := found.get(entry["name"])) is not None and _stands(app) and entry.items() <= (app.config or {}).items()
        for entry in entries
    )


def _stands(app: ApplicationState) -> bool:
    # One that was left out of the config has lost its entry at once, and is said to go only a moment later.
    return app.declared and app.status != DELETING and app.config is not None


def _settled(door: ServeDoor) -> dict[str, Any]:
    """What Serve says, when each declared application has its entry, or is said to go.

    Raises:
        BackendError: one has neither for long: written back without it, it might be removed.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        details = door.read()
        limbo = [
            app.name
            for app in applications(details).values()
            if app.declared and app.config is None and app.status != DELETING
        ]
        if not limbo:
            return details
        if time.monotonic() > deadline:
            raise BackendError(
                f"Serve does not tell the config of {', '.join(limbo)}, which might be removed by writing without it",
                hint="see `serve status` of Ray, and repeat the command",
            )
        time.sleep(POLL_SECONDS)


def _given(app: ApplicationState) -> Entry:
    if REDACTED in str(app.config):
        raise BackendError(
            f"Serve hides values of the config of {app.name}, which would be lost by writing it back",
            hint="ask the dashboard itself and not through a browser's proxy, or edit the config by hand",
        )
    return dict(app.config or {})


def _refuse_taken(entry: Entry, found: Mapping[str, ApplicationState]) -> None:
    for app in found.values():
        if app.status == DELETING:
            continue
        if app.name == entry["name"] and not app.is_endpoint:
            raise ConfigError(
                f"an application {app.name} is there that is no endpoint of ours",
                hint="rename the experiment or its environment, or remove that application",
            )
        if app.name != entry["name"] and app.route == entry["route_prefix"]:
            raise ConfigError(
                f"the application {app.name} answers at {app.route} already",
                hint="rename the experiment or its environment, or move that application",
            )


def _first_options(serving: ServingSection) -> dict[str, Any]:
    options = {"host": serving.host, "port": serving.port or DEFAULT_PORT}
    grpc = grpc_options(serving)
    with_grpc = {} if grpc is None else {"grpc_options": grpc}
    return {"proxy_location": "EveryNode", "http_options": options, **with_grpc}


@contextmanager
def _one_after_the_other(leases: LeaseStore) -> Iterator[None]:
    owner, deadline = uuid4().hex, time.monotonic() + PATIENCE_SECONDS
    while not leases.acquire(LEASE, owner=owner, ttl=LEASE_SECONDS, now=datetime.now(UTC)):
        if time.monotonic() > deadline:
            raise ConflictError("another process changes the Serve config", hint="repeat the command")
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        leases.release(LEASE, owner=owner)


def _restless() -> ConflictError:
    return ConflictError(
        f"somebody else has undone what was written to the Serve config {ATTEMPTS} times",
        hint="where KubeRay or a pipeline owns the config, put the endpoint's entry there",
    )
