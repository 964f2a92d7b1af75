"""Sluiceway: a model's whole way on Ray, reproducible and reversible.

    from sluiceway import build_context, connect_ray, load_settings, run_lifecycle

Importing the package imports no engine: the names below are looked up when they are first used, and Serve's
environment is set before the first of them brings in Ray, which reads it once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sluiceway.core.errors import SluicewayError
from sluiceway.core.references import ModelReference, TableReference, TableVersion
from sluiceway.core.verdict import GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.core.version import VERSION

if TYPE_CHECKING:
    from sluiceway.config.load import load_settings
    from sluiceway.data.commit import append, overwrite, restore
    from sluiceway.data.pins import read_pins
    from sluiceway.data.references import resolve
    from sluiceway.lifecycle.candidate import build_candidate
    from sluiceway.lifecycle.evaluation import evaluate
    from sluiceway.lifecycle.run import run_lifecycle
    from sluiceway.wiring.cluster import connect_ray, disconnect
    from sluiceway.wiring.context import build_context
    from sluiceway.wiring.stores import build_stores

__version__ = VERSION

_WHERE = {
    "load_settings": "sluiceway.config.load",
    "append": "sluiceway.data.commit",
    "overwrite": "sluiceway.data.commit",
    "restore": "sluiceway.data.commit",
    "read_pins": "sluiceway.data.pins",
    "resolve": "sluiceway.data.references",
    "build_candidate": "sluiceway.lifecycle.candidate",
    "evaluate": "sluiceway.lifecycle.evaluation",
    "run_lifecycle": "sluiceway.lifecycle.run",
    "build_context": "sluiceway.wiring.context",
    "build_stores": "sluiceway.wiring.stores",
    "connect_ray": "sluiceway.wiring.cluster",
    "disconnect": "sluiceway.wiring.cluster",
}

__all__ = [
    "GateResult",
    "Measurement",
    "ModelReference",
    "SluicewayError",
    "Status",
    "TableReference",
    "TableVersion",
    "Threshold",
    "Verdict",
    "append",
    "build_candidate",
    "build_context",
    "build_stores",
    "connect_ray",
    "disconnect",
    "evaluate",
    "load_settings",
    "overwrite",
    "read_pins",
    "resolve",
    "restore",
    "run_lifecycle",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sluiceway' has no attribute {name!r}")
    load = importlib.import_module("sluiceway.config.load")
    load.set_environment_defaults(importlib.import_module("sluiceway.serving.environment").serve_environment())
    return getattr(importlib.import_module(_WHERE[name]), name)
