"""Our side of the comparison: all gates as Ray tasks, and the same functions one after the other in one process."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from gates_rows import CANDIDATE, CHAMPION, TEST, THRESHOLD, TRAIN, context_of, cpu_seconds, read_job, read_rows

from sluiceway.config.platform import RaySection
from sluiceway.core.verdict import Verdict
from sluiceway.gates.catalogue import gates_of
from sluiceway.gates.context import Champion, Gate, GateContext, GateOutput
from sluiceway.gates.ray_tasks import ChampionModel, GateInputs, judge, labels_of
from sluiceway.lifecycle.gate_rows import own_view
from sluiceway.registry import bundle
from sluiceway.serving.scorer import BundleScorer
from sluiceway.wiring.cluster import connect_ray, disconnect

DEFAULT_ROWS = 50_000


def ours(folder: Path) -> None:
    """All gates of the job on a Ray of two CPUs: as it starts up, then once more."""
    job = read_job(folder)
    began = time.perf_counter()
    connect_ray(RaySection(num_cpus=job.threads, object_store_mb=job.store_mb))
    connected = time.perf_counter()
    inputs = _inputs(folder, context_of(folder))
    put = time.perf_counter()
    first = _judged(inputs)
    second = _judged(inputs)
    disconnect()
    print(json.dumps({"connect": connected - began, "put": put - connected, "again": second["whole"], **first}))


def ours_by_default(folder: Path) -> None:
    """The same with as many disturbed rows as the configuration has by default."""
    job = read_job(folder)
    connect_ray(RaySection(num_cpus=job.threads, object_store_mb=job.store_mb))
    plain = context_of(folder)
    robustness = plain.evaluation.robustness.model_copy(update={"rows": DEFAULT_ROWS})
    evaluation = plain.evaluation.model_copy(update={"robustness": robustness})
    told = _judged(_inputs(folder, replace(plain, evaluation=evaluation)))
    disconnect()
    print(json.dumps(told))


def direct(folder: Path) -> None:
    """The gates' functions one after the other in one process, without Ray; each loaded table and model is shared."""
    threads = read_job(folder).threads
    test, train = read_rows(folder, TEST), read_rows(folder, TRAIN)
    models = [_Counted(BundleScorer(bundle.read(folder / name), threads=threads)) for name in (CANDIDATE, CHAMPION)]
    plain = context_of(folder)
    began, used = time.perf_counter(), cpu_seconds()
    scores, before = (np.asarray(model.score(test), dtype=np.float64) for model in models)
    seconds = {"scoring": time.perf_counter() - began}
    verdicts: list[Verdict] = []
    parts: dict[str, float] = {}
    for gate in judged_gates(plain):
        started = time.perf_counter()
        context = replace(
            own_view(plain, gate),
            test=test,
            train=train,
            labels=labels_of(test, plain),
            scores=scores,
            scorer=models[0],
            champion=Champion("1", before, THRESHOLD, models[1]),
        )
        for part in list(gate.parts(context)) or [""]:
            begun = time.perf_counter()
            output = gate.function(replace(context, part=part))
            verdicts += output.verdicts if isinstance(output, GateOutput) else output
            if part:
                parts[f"{gate.name}: {part}"] = time.perf_counter() - begun
        seconds[gate.name] = time.perf_counter() - started
    told = {"whole": time.perf_counter() - began, "cpu": cpu_seconds() - used, "seconds": seconds, "parts": parts}
    scorings = [{"times": model.times, "rows": model.rows} for model in models]
    print(json.dumps({**told, "scorings": scorings, **_told(verdicts)}))


class _Counted:
    """A model that counts what it scores."""

    def __init__(self, model: BundleScorer) -> None:
        self.model, self.times, self.rows = model, 0, 0

    def score(self, rows: pa.Table) -> np.ndarray:
        """See :meth:`BundleScorer.score`."""
        self.times, self.rows = self.times + 1, self.rows + rows.num_rows
        return self.model.score(rows)


def judged_gates(plain: GateContext) -> Sequence[Gate]:
    """All but ``serving``, which asks a replica and not the rows."""
    return [gate for gate in gates_of(plain.evaluation) if gate.name != "serving"]


def _inputs(folder: Path, plain: GateContext) -> GateInputs:
    models = [BundleScorer(bundle.read(folder / name)) for name in (CANDIDATE, CHAMPION)]
    return GateInputs(
        contexts={gate.name: own_view(plain, gate) for gate in judged_gates(plain)},
        test=ray.put(read_rows(folder, TEST)),
        train=ray.put(read_rows(folder, TRAIN)),
        scorer=models[0],
        champion=ChampionModel("1", models[1], THRESHOLD),
        replica=None,
        timeout_seconds=plain.evaluation.timeout_seconds,
    )


def _judged(inputs: GateInputs) -> dict[str, Any]:
    plain = next(iter(inputs.contexts.values()))
    began, used = time.perf_counter(), cpu_seconds()
    judged = judge(judged_gates(plain), inputs)
    whole, used = time.perf_counter() - began, cpu_seconds() - used
    verdicts = [verdict for one in judged for verdict in one.result.verdicts]
    done = {one.result.gate: one.result.seconds for one in judged}
    return {"whole": whole, "cpu": used, "seconds": done, **_told(verdicts)}


def _told(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """What a comparison needs: how the verdicts are, and the numbers that others take, too."""
    listed = list(verdicts)
    values = {f"{v.check} {v.measurement.name}": v.measurement.value for v in listed}
    return {
        "statuses": Counter(str(v.status) for v in listed),
        "not_passed": [v.line() for v in listed if v.status != "PASS"],
        "values": {name: value for name, value in values.items() if value is not None and math.isfinite(value)},
    }
