"""Our side of the comparison in a process of its own, and the rows that it trains on, for those who need the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from training_table import SEED, pinned, read_job, table_uri

from sluiceway.config.platform import RaySection
from sluiceway.core.doors import SilentProgress
from sluiceway.data import membership
from sluiceway.data.profile import check_trainable
from sluiceway.data.ray_profile import profile
from sluiceway.data.tables import arrow_schema, open_table
from sluiceway.features.schema import derive
from sluiceway.training.recipe import Recipe
from sluiceway.training.trainer import train
from sluiceway.wiring.cluster import connect_ray, disconnect


def ours(folder: Path) -> None:
    """Start a Ray of two CPUs, train, print the seconds; cold, as from a command line."""
    job = read_job(folder)
    data, model, training = job.sections(folder)
    began = time.perf_counter()
    connect_ray(RaySection(num_cpus=job.threads, object_store_mb=job.store_mb))
    seconds = {"connect": time.perf_counter() - began}
    version = pinned(folder)
    columns = profile(version, (*data.features, data.target))
    schema = derive(arrow_schema(open_table(data.path)), categories=columns.categories, features=data.features)
    recipe = Recipe(data, model, training, SEED, schema, check_trainable(columns, data))
    seconds["profile"] = time.perf_counter() - began - seconds["connect"]
    report = train(version, recipe, oof_uri=str(folder / "oof"), progress=SilentProgress())
    disconnect()
    told = {"metric": report.metric, "rows": report.rows["train"], "engine": report.engine, "why": report.why}
    print(json.dumps(told | {"seconds": seconds | dict(report.seconds)}))


def arranged(folder: Path) -> None:
    """Write the training rows in our worker's order, by membership alone: ``x.npy``, ``y.npy``, ``fold.npy``."""
    job = read_job(folder)
    data, _, training = job.sections(folder)
    table = open_table(table_uri(folder)).to_pyarrow_table()
    hashes = membership.row_hashes(table, data.key)
    chosen = np.flatnonzero(membership.parts(hashes, SEED, data.split) == 0)
    order = chosen[np.argsort(hashes[chosen], kind="stable")]
    x = np.empty((len(order), job.features), np.float32)
    for number, name in enumerate(job.names):
        x[:, number] = table[name].to_numpy()[order]
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", table["target"].to_numpy()[order].astype(np.float32))
    np.save(folder / "fold.npy", membership.folds(hashes[order], SEED, training.folds))
    print(json.dumps({"rows": len(order)}))
