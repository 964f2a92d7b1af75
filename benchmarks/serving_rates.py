"""How fast one row and a thousand rows are answered, and how late: ours beside the peers, turn and turn about."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench_line import Bench, Number
from serving_wrk import Load, Target, Times, in_turn

CANARY, PLAIN, TOGETHER = "ours", "ours without canary", "ours, isolation: replica"
NO_OP, QUIET_NO_OP = "no-op", "no-op, no access log"
STARLETTE = "Starlette"
ARROW = "ours in Arrow"
# What no peer has is off: requests go to the champion alone, and are in no log.
ALIKE, ALIKE_ARROW = "ours, no canary, no log", "ours in Arrow, no canary, no log"
CONNECTIONS = 16

RATE = Number("one_row_16_connections", "ratio>=2", unit="req/s")
BARE = Number("against_bare_starlette", "ratio>=1", unit="req/s")
TAIL = Number("p99_16_connections", "ratio<=1", unit="ms")
STALL = Number("p99_against_no_op", "ratio<=1.3", unit="ms")
ALONE = Number("median_1_connection", "ratio<=1", unit="ms")
ROWS = Number("rows_1000_a_request_json", "ratio>=1", unit="rows/s")
# The model itself takes so much of the time that no server is 20 times as fast (docs/decisions/0041).
ARROW_ROWS = Number("rows_1000_a_request_arrow", "ratio>=1", unit="rows/s")
FAILED = Number("failed_requests", "ours<=0", unit="")


Runs = Mapping[str, Sequence[Load]]


def one_row(bench: Bench, targets: Sequence[Target], peers: Sequence[str], times: Times, workers: str) -> int:
    """One row a request, 16 connections and 1; gives how many requests of ours failed."""
    many = in_turn(targets, connections=CONNECTIONS, times=times)
    best, rate = _best(peers, many, _rate, highest=True)
    note = f"canary 10 %, keys, validation, metrics, log; {CONNECTIONS} connections, {times.repeats} repeats; {workers}"
    bench.add(Number(RATE.name, RATE.goal, _rate(many[CANARY]), rate, RATE.unit, f"{note}; best peer: {best}"))
    bare = "one process each scores, isolation: replica; peer: Starlette, one process, one call a request"
    bench.add(Number(BARE.name, BARE.goal, _rate(many[TOGETHER]), _rate(many[STARLETTE]), BARE.unit, bare))
    best, late = _best(peers, many, _p99, highest=False)
    bench.add(Number(TAIL.name, TAIL.goal, _p99(many[CANARY]), late, TAIL.unit, f"best peer: {best}"))
    stalled = "isolation: replica; peer: a deployment that does nothing behind HAProxy, all as Serve has it"
    bench.add(Number(STALL.name, STALL.goal, _p99(many[TOGETHER]), _p99(many[NO_OP]), STALL.unit, stalled))
    single = in_turn(targets, connections=1, times=replace(times, seconds=max(1, times.seconds // 2)))
    best, median = _best(peers, single, _p50, highest=False)
    bench.add(Number(ALONE.name, ALONE.goal, _p50(single[CANARY]), median, ALONE.unit, f"best peer: {best}"))
    _tell(bench, f"{CONNECTIONS} connections, one row", many)
    _tell(bench, "1 connection, one row", single)
    ours = (CANARY, PLAIN, TOGETHER)
    return sum(run.failed for name in ours for taken in (many, single) for run in taken[name])


def many_rows(bench: Bench, targets: Sequence[Target], peers: Sequence[str], times: Times) -> int:
    """A thousand rows a request; gives how many requests of ours failed."""
    rows = {target.name: target.rows for target in targets}
    taken = in_turn(targets, connections=CONNECTIONS, times=times)

    def rate(name: str) -> float:
        return _rate(taken[name]) * rows[name]

    best = max(peers, key=rate)
    note = f"{CONNECTIONS} connections; keys, validation, metrics; no canary and no log, as no peer has them; best peer"
    bench.add(Number(ROWS.name, ROWS.goal, rate(ALIKE), rate(best), ROWS.unit, f"{note}: {best}"))
    arrow = rate(ALIKE_ARROW), rate(best)
    bench.add(Number(ARROW_ROWS.name, ARROW_ROWS.goal, *arrow, ARROW_ROWS.unit, f"{note} in JSON: {best}"))
    _tell(bench, f"{CONNECTIONS} connections, 1,000 rows", taken)
    return sum(run.failed for name in (CANARY, ARROW, ALIKE, ALIKE_ARROW) for run in taken[name])


def _best(
    peers: Sequence[str], taken: Runs, value: Callable[[Sequence[Load]], float], *, highest: bool
) -> tuple[str, float | None]:
    """The peer with the best value, and that; a peer that fails requests is not fast."""
    good = [name for name in peers if sum(run.failed for run in taken[name]) == 0]
    if not good:
        return "none answers without failures", None
    name = (max if highest else min)(good, key=lambda each: value(taken[each]))
    return name, value(taken[name])


def _rate(runs: Sequence[Load]) -> float:
    return statistics.median(run.rate for run in runs)


def _p99(runs: Sequence[Load]) -> float:
    return statistics.median(run.p99 for run in runs)


def _p50(runs: Sequence[Load]) -> float:
    return statistics.median(run.p50 for run in runs)


def _tell(bench: Bench, what: str, taken: Runs) -> None:
    for name, runs in taken.items():
        rates = ", ".join(f"{run.rate:,.0f}" for run in runs)
        failed = sum(run.failed for run in runs)
        parts = [
            f"{_rate(runs):,.0f} req/s ({rates})",
            f"p50 {_p50(runs):.2f}, p90 {statistics.median(run.p90 for run in runs):.2f}, p99 {_p99(runs):.2f} ms "
            f"({', '.join(f'{run.p99:.2f}' for run in runs)}), slowest {max(run.largest for run in runs):.0f} ms",
            f"CPU of a request {statistics.median(run.microseconds() for run in runs):.0f} us",
            *([f"{failed} failed"] if failed else []),
        ]
        bench.tell(f"{what}: {name}", "; ".join(parts))
