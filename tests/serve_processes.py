"""The processes of the Serve that this process has joined, for tests that stop or kill them."""

from __future__ import annotations

import time
from collections.abc import Callable

DEPLOYMENTS = ("Endpoint", "Challenger")


def replica_pids(application: str) -> list[int]:
    """Those of an endpoint's or a challenger's replicas that run."""
    from sluiceway.serving.doors import JoinedServe  # noqa: PLC0415 (Ray has to be up)

    deployments = JoinedServe().read()["applications"][application]["deployments"]
    (told,) = [deployments[name]["replicas"] for name in DEPLOYMENTS if name in deployments]
    return [one["pid"] for one in told if one["state"] == "RUNNING"]


def controller_pid() -> int | None:
    """That of Serve's controller; None as long as there is none."""
    import ray  # noqa: PLC0415 (collected without Ray, too)
    from ray.serve.context import _get_global_client  # noqa: PLC0415

    try:
        found: int = ray.get(_get_global_client()._controller.get_pid.remote(), timeout=5)
    except ray.exceptions.RayError:
        return None
    return found


def until(check: Callable[[], object], seconds: float = 180.0) -> None:
    """Wait for what Serve does in its own time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)
