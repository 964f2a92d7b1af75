"""What a model was trained with beside rows and configuration: libraries, the lock, the machine; and what differs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sluiceway.training.plan import Cluster

LOCK = "requirements.lock"
# Those whose release can change a model or what is kept of it; tags name them, the whole list is an artifact.
TOLD = ("xgboost", "ray", "numpy", "pyarrow", "deltalake", "mlflow", "sluiceway")
_ROOT = Path(__file__).resolve().parents[3]  # of a checkout: the folder above platform/sluiceway


@dataclass(frozen=True)
class Difference:
    """Something that was otherwise then.

    Attributes:
        what: e.g. ``library xgboost``.
        then: "" where there was none.
        now: "" where there is none.
    """

    what: str
    then: str
    now: str


def describe_environment(cluster: Cluster, *, root: Path = _ROOT) -> dict[str, Any]:
    """Look at this process and its machine.

    Args:
        cluster: that trains; the machine is the driver's.
        root: of the checkout, where its lock is.

    Returns:
        ``python``, ``system``, ``hardware`` (``machine``, ``cpu``, ``cpus``, ``memory_gb``), ``cluster`` (``nodes``,
        ``cpus``, ``cpus_of_a_node``, ``gpus``), ``libraries`` (version by name) and ``lock``: ``file``, the lock of the
        checkout, or "" where the package was installed without one, ``sha256``, its digest, then that of the names and
        versions, and ``installed``, the digest of the names and versions in both cases: a lock says what should be
        installed. JSON-ready.
    """
    libraries = dict(sorted(_libraries()))
    installed = hashlib.sha256("".join(f"{name}=={version}\n" for name, version in libraries.items()).encode())
    file = root / LOCK
    locked = file.is_file() and (root / "platform" / "sluiceway").is_dir()
    return {
        "python": platform.python_version(),
        "system": f"{platform.platform()} {'-'.join(platform.libc_ver())}",
        "hardware": {
            "machine": platform.machine(),
            "cpu": _processor(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": _memory_gb(),
        },
        "cluster": {
            "nodes": cluster.nodes,
            "cpus": cluster.cpus,
            "cpus_of_a_node": cluster.node_cpus,
            "gpus": cluster.gpus,
        },
        "libraries": libraries,
        "lock": {
            "file": LOCK if locked else "",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if locked else installed.hexdigest(),
            "installed": installed.hexdigest(),
        },
    }


def environment_tags(environment: Mapping[str, Any]) -> dict[str, str]:
    """The short facts of :func:`describe_environment`, as tags of a run."""
    hardware, cluster, lock = environment["hardware"], environment["cluster"], environment["lock"]
    libraries = {f"env_{name}": environment["libraries"].get(name, "") for name in TOLD}
    return {
        "env_python": environment["python"],
        "env_system": environment["system"],
        "env_cpu": f"{hardware['cpus']} x {hardware['cpu']}",
        "env_memory_gb": str(hardware["memory_gb"]),
        "env_cluster": f"{cluster['nodes']} nodes, {cluster['cpus']:g} CPUs, {cluster['gpus']:g} GPUs",
        "env_lock": f"{lock['file'] or 'installed'} sha256:{lock['sha256']}",
        **{tag: version for tag, version in libraries.items() if version},
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between two results of :func:`describe_environment`, or between any two nested documents.

    Returns:
        sorted by what it is, e.g. ``hardware cpu``.
    """
    before, after = dict(_flat(then)), dict(_flat(now))
    names = sorted({*before, *after})
    found = (Difference(name, before.get(name, ""), after.get(name, "")) for name in names)
    return tuple(one for one in found if one.then != one.now)


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name} ")
        else:
            yield f"{above}{name}", json.dumps(value, sort_keys=True) if isinstance(value, list) else str(value)


def _libraries() -> Iterator[tuple[str, str]]:
    for one in distributions():
        name = one.metadata["Name"]
        if name:  # a broken installation has none
            yield re.sub(r"[-_.]+", "-", name).lower(), one.version


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> int:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (ValueError, OSError, AttributeError):  # not on every system
        return 0
