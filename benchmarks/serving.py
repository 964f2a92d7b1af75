"""The area ``serving``: the endpoint against other model servers. ``python benchmarks/serving.py`` takes it.

``BENCH_SCALE=0.1`` takes one run of a second of each, to try it; such numbers are not kept. The load is ``wrk``, closed
loop, one thread; all servers run on this machine, and those that are not loaded have nothing to do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import serving_costs
import serving_scaling
import xgboost
from bench_line import Bench, Number, run_area
from serving_model import MANY_BODIES, MANY_ROWS, Model, arrow, make_rows, native_columns, train
from serving_ours import Cluster, Endpoint, cluster, nothing
from serving_peers import PLATFORMS, STARLETTE, Running, running
from serving_rates import (
    ALIKE,
    ALIKE_ARROW,
    ALONE,
    ARROW,
    ARROW_ROWS,
    BARE,
    CANARY,
    FAILED,
    NO_OP,
    PLAIN,
    QUIET_NO_OP,
    RATE,
    ROWS,
    STALL,
    TAIL,
    TOGETHER,
    many_rows,
    one_row,
)
from serving_wrk import Target, Times, require_wrk
from side_process import HERE, run_side

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
TIMES = Times() if SCALE == 1 else Times(1, 1, 1)
PICTURE = HERE.parent / "docs" / "pictures" / "serving-scaling.svg"
# Processes that score: the endpoint's replicas and the challenger's. Every peer has as many.
REPLICAS, CHALLENGERS = 1, 1
WORKERS = REPLICAS + CHALLENGERS
ERRORS_IN_ROW = 5

WEIGHTS = Number("weight_change_p99", "ours<=0.5")
BREAKER = Number("asked_after_the_breaker_opened", "ours<=0", unit="requests")


def speed(bench: Bench) -> None:
    """Ours and the peers, side by side."""
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        models = [train(folder / "champion"), train(folder / "challenger", seed=8)]
        peers = list(_peers(bench, stack, models[0], folder))
        # One process as the one that scores ours in process; and, told beside it, as many as ours has in all.
        more = replace(STARLETTE, name=f"Starlette, {WORKERS} processes")
        bare = [
            stack.enter_context(running(peer, models[0], folder / f"starlette{count}", workers=count))
            for peer, count in ((STARLETTE, 1), (more, WORKERS))
        ]
        ours = stack.enter_context(cluster(folder / "ours", cpus=4))
        endpoint, application = _endpoint(ours, models)
        targets = _one_row_targets(endpoint, application, models)
        # What stalls it is seen by what it is without: 1,000 lines of access log, written in one go.
        targets += [nothing(ours, NO_OP), nothing(ours, QUIET_NO_OP, logging_config={"enable_access_log": False})]
        targets += [peer.one for peer in (*bare, *peers)]
        names = [peer.peer.name for peer in peers]
        counted = (
            f"{WORKERS} scoring processes each: {REPLICAS} of the endpoint and {CHALLENGERS} of the challenger, "
            f"or {WORKERS} workers of a peer; HAProxy and the recorder stand beside ours"
        )
        failed = one_row(bench, targets, names, TIMES, counted)
        endpoint.canary("2", models[1], application)
        given = {"rows": MANY_ROWS, "count": MANY_BODIES}
        alike = Endpoint(ours, "alike", models[0], replicas=WORKERS, log={"enabled": False})
        alike.check()
        stream = {"kind": "Content-Type: application/vnd.apache.arrow.stream", **given}
        many = [endpoint.target(CANARY, native_columns, **given), endpoint.target(ARROW, arrow, **stream)]
        many += [alike.target(ALIKE, native_columns, **given), alike.target(ALIKE_ARROW, arrow, **stream)]
        failed += many_rows(bench, [*many, *(peer.many for peer in peers)], names, TIMES)
        bench.tell("the model alone", _ceiling(models[0]))
        bench.add(Number(FAILED.name, FAILED.goal, failed, None, "", "of ours, in all runs above"))
        for each in (*peers, *bare):
            each.process.terminate()
        _breaker(bench, ours, models)
        serving_costs.tell(bench, serving_costs.costs(ours, models[0], TIMES))


def _peers(bench: Bench, stack: contextlib.ExitStack, model: Model, folder: Path) -> Iterator[Running]:
    """Those that can be installed and come up; the others are told."""
    for peer in PLATFORMS:
        try:
            yield stack.enter_context(running(peer, model, folder / peer.name, workers=WORKERS))
        except (RuntimeError, TimeoutError) as error:
            traceback.print_exc(file=sys.stderr)
            bench.tell(f"not measured: {peer.name}", str(error).splitlines()[0])


def _endpoint(ours: Cluster, models: list[Model]) -> tuple[Endpoint, str]:
    endpoint = Endpoint(ours, "late", models[0], replicas=REPLICAS, challenger_replicas=CHALLENGERS)
    application = endpoint.challenger("2", models[1])
    endpoint.check()
    return endpoint, application


def _one_row_targets(endpoint: Endpoint, application: str, models: list[Model]) -> list[Target]:
    return [
        endpoint.target(CANARY, before=lambda: endpoint.canary("2", models[1], application)),
        endpoint.target(PLAIN, before=endpoint.alone),
        endpoint.target(TOGETHER, before=lambda: endpoint.canary("2", models[1], "")),
    ]


def _ceiling(model: Model, calls: int = 200) -> str:
    """What no server can pass: XGBoost's own rows a second, 1,000 rows a call, in a thread that does nothing else."""
    booster = xgboost.Booster({"nthread": 1}, model_file=str(model.ubj))
    booster.set_param({"nthread": 1})
    rows = make_rows(MANY_ROWS, seed=1)
    booster.inplace_predict(rows, validate_features=False)
    begun = time.perf_counter()
    for _ in range(calls):
        booster.inplace_predict(rows, validate_features=False)
    rate = calls * MANY_ROWS / (time.perf_counter() - begun)
    cores = len(os.sched_getaffinity(0))
    return f"{rate:,.0f} rows/s in one thread, so at most {cores * rate:,.0f} on {cores} cores, whatever the protocol"


def _breaker(bench: Bench, ours: Cluster, models: list[Model]) -> None:
    """A challenger that fails always gets everything; the breaker of the endpoint's one replica has to stop that."""
    endpoint = Endpoint(ours, "broken", models[0], breaker={"errors_in_row": ERRORS_IN_ROW})
    application = endpoint.challenger("2", models[1], raise_every=1)
    endpoint.move(models[0].arm("1", 0.0), models[1].arm("2", 1.0, application))
    target = endpoint.target("broken")
    body = target.bodies.read_bytes()
    first = body[4 : 4 + int.from_bytes(body[:4], "big")]
    answers = [endpoint.ask("/predict", first).json() for _ in range(10 * ERRORS_IN_ROW)]
    asked = [bool(answer.get("failover")) for answer in answers]
    note = f"opens after {ERRORS_IN_ROW} errors in a row; {sum(asked)} of {len(asked)} requests were sent to it"
    late = sum(asked[ERRORS_IN_ROW:]) if all(asked[:ERRORS_IN_ROW]) else None
    bench.add(Number(BREAKER.name, BREAKER.goal, late, None, BREAKER.unit, note))


def scaling(bench: Bench) -> None:
    """Throughput and memory against the number of replicas."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        model = train(Path(name) / "champion")
        with cluster(Path(name) / "ours") as ours:
            points = serving_scaling.scaling(ours, model, TIMES)
    serving_scaling.tell(bench, points, PICTURE)
    if SCALE == 1:
        serving_scaling.draw(points, PICTURE)


def weights(bench: Bench) -> None:
    """A change of weights on its way to two replicas, by broadcast and by ``user_config``."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        # Workers import the deployment that is compared with, and this package.
        path = os.pathsep.join([str(HERE), str(HERE.parent / "platform")])
        changes = "50" if SCALE == 1 else "5"
        told = run_side("serving_weights.weights", Path(name), PYTHONPATH=path, BENCH_CHANGES=changes).told
    broadcast, configured = told["broadcast"], told["user_config"]
    note = f"{changes} changes under load, 2 replicas, until both have confirmed; peer: Serve's user_config by REST"
    bench.add(Number(WEIGHTS.name, WEIGHTS.goal, broadcast["p99"], configured["p99"], WEIGHTS.unit, note))
    for name, each in told.items():
        bench.tell(f"weight change by {name}", _change(each))


def _change(each: dict[str, Any]) -> str:
    return (
        f"median {each['median']:.3f} s, p99 {each['p99']:.3f} s, slowest {each['seconds'][-1]:.3f} s; "
        f"{each['per_second']:.1f} changes/s; of {each['requests']:,} requests beside it {each['failed']} failed, "
        f"longest wait for an answer {each['gap']:.3f} s"
    )


MEASUREMENTS = [
    (speed, [RATE, BARE, TAIL, STALL, ALONE, ROWS, ARROW_ROWS, FAILED, BREAKER]),
    (weights, [WEIGHTS]),
    (scaling, []),
]

if __name__ == "__main__":
    sys.exit(run_area("serving", MEASUREMENTS, keep=SCALE == 1))
