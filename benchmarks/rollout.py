"""The area ``rollout``: what a canary's decisions are worth, by simulation. ``python benchmarks/rollout.py`` takes all.

Thousands of rollouts of each kind, through the real ``decide``, on an equal budget of 600 requests of the challenger,
beside fixed thresholds and Mann-Whitney on intervals. ``BENCH_SCALE=0.05`` takes a twentieth of the rollouts, to try
it; such numbers are not kept.
"""

from __future__ import annotations

import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from bench_line import Bench, Number, run_area
from rollout_rules import RULES
from rollout_simulated import BUDGET, Cell, Ended, share, simulate
from scipy.stats import binom

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
ROLLOUTS = max(40, round(4000 * SCALE))
FEW = max(40, round(600 * SCALE))  # of what is only drawn or told
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "rollout-guarantees.svg"
RATE = 0.005

GOOD = Cell(errors=(RATE, RATE), margin=0.02)
CLOSE = Cell(errors=(RATE, RATE), margin=0.01)
PAIRS = Cell(metric="accuracy", margin=0.02, wrong=(0.01, 0.01))
BURSTS = replace(GOOD, bursts=0.02)
NOISY = replace(PAIRS, noise=0.01)
SLOW = Cell(metric="latency_p99", budget=1200)

FALSE = "ours<=0.01"
WRONG = "ours<=0.05"
NUMBERS = {
    "back_healthy_2_points": (FALSE, "a healthy version goes back"),
    "promoted_healthy_2_points": ("ours>=0.95", "a healthy version is promoted"),
    "promoted_healthy_1_point": ("ratio>=0.7", "peer: the best 5 % test there is, of a champion whose rate is known"),
    "promoted_worse_2_points": (WRONG, "worse by exactly the margin, promoted: all steps and looks"),
    "promoted_worse_1_point": (WRONG, "the same at the smaller margin"),
    "requests_until_back_10_percent": ("ours<=60", "median, every tenth request fails"),
    "back_in_bursts": (FALSE, "every fiftieth look in an outage of both arms"),
    "promoted_worse_in_bursts": (WRONG, "worse by the margin all the time, and beside the outages"),
    "back_healthy_accuracy": (FALSE, "2 % of the pairs discordant"),
    "promoted_worse_accuracy": (WRONG, "worse by 2 points on pairs"),
    "promoted_worse_noisy_outcomes": (WRONG, "the same, 1 % of the outcomes wrong"),
    "back_noisy_outcomes": (FALSE, "healthy, 1 % of the outcomes wrong"),
    "promoted_slow": (WRONG, "1 % of the answers beyond the limit, which is what the limit is"),
}


def worse(cell: Cell, by: float | None = None) -> Cell:
    """The same with a challenger worse by the margin, or by so much."""
    by = cell.margin if by is None else by
    if cell.metric == "accuracy":
        return replace(cell, wrong=(cell.wrong[0] + by, cell.wrong[1]))
    return replace(cell, errors=(cell.errors[0], cell.errors[0] + by))


def best_power(rate: float, margin: float, n: int, alpha: float = 0.05) -> float:
    """Chance that the most powerful test on n requests passes a healthy version, the champion's rate being known.

    Of Neyman and Pearson: by the number of errors, and by lot at the last one that is still let pass.
    """
    ruled_out = rate + margin
    most = int(binom.ppf(alpha, n, ruled_out)) - 1
    left = (alpha - binom.cdf(most, n, ruled_out)) / binom.pmf(most + 1, n, ruled_out)
    return float(binom.cdf(most, n, rate) + left * binom.pmf(most + 1, n, rate))


def guarantees(bench: Bench) -> None:
    """Every number that has a goal."""
    bound = best_power(RATE, CLOSE.margin, BUDGET)
    good, close, bursts = (simulate(cell, ROLLOUTS) for cell in (GOOD, CLOSE, BURSTS))
    _add(bench, "back_healthy_2_points", share(good, "back"))
    _add(bench, "promoted_healthy_2_points", share(good, "promoted"))
    _add(bench, "promoted_healthy_1_point", share(close, "promoted"), bound)
    _add(bench, "promoted_worse_2_points", share(simulate(worse(GOOD), ROLLOUTS), "promoted"))
    _add(bench, "promoted_worse_1_point", share(simulate(worse(CLOSE), ROLLOUTS), "promoted"))
    caught = simulate(worse(GOOD, 0.1 - RATE), ROLLOUTS)
    _add(bench, "requests_until_back_10_percent", _median(caught), unit="requests")
    _add(bench, "back_in_bursts", share(bursts, "back"))
    _add(bench, "promoted_worse_in_bursts", share(simulate(worse(BURSTS), ROLLOUTS), "promoted"))
    pairs, noisy = simulate(PAIRS, ROLLOUTS), simulate(NOISY, ROLLOUTS)
    _add(bench, "back_healthy_accuracy", share(pairs, "back"))
    _add(bench, "promoted_worse_accuracy", share(simulate(worse(PAIRS), ROLLOUTS), "promoted"))
    _add(bench, "promoted_worse_noisy_outcomes", share(simulate(worse(NOISY), ROLLOUTS), "promoted"))
    _add(bench, "back_noisy_outcomes", share(noisy, "back"))
    _add(bench, "promoted_slow", share(simulate(replace(SLOW, late=0.01), FEW), "promoted"))
    for name, ended in (("2 points", good), ("1 point", close), ("2 points in bursts", bursts), ("accuracy", pairs)):
        told = f"promoted {share(ended, 'promoted'):.1%}, back {share(ended, 'back'):.2%}"
        requests = statistics.median(one.requests for one in ended)
        bench.tell(f"healthy, margin {name}", f"{told}, undecided {share(ended, 'undecided'):.1%}, median {requests}")
    bench.tell("best 5 % test at 600 requests", f"{best_power(RATE, 0.02, BUDGET):.1%} at 2 points, {bound:.1%} at 1")


def side_by_side(bench: Bench) -> None:
    """The same requests judged by what others judge by."""
    kinds = {
        "healthy": GOOD,
        "worse by 1 point": worse(GOOD, 0.01),
        "worse by 2 points": worse(GOOD),
        "10 % fail": worse(GOOD, 0.1 - RATE),
        "healthy, in bursts": BURSTS,
    }
    for kind, cell in kinds.items():
        told = []
        for name, rule in {"ours": None, **RULES}.items():
            ended = simulate(cell, FEW) if rule is None else simulate(cell, ROLLOUTS, rule=rule)
            back = share(ended, "back")
            after = f" after {_median(ended):.0f}" if back >= 0.5 else ""
            told.append(f"{name} back {back:.1%}{after}, promoted {share(ended, 'promoted'):.1%}")
        bench.tell(f"{kind}, margin 2 points", "; ".join(told))


def where_it_ends(bench: Bench) -> None:
    """What the guarantees do not cover, and the picture."""
    at_full = share(simulate(replace(GOOD, burst_at_full=True), FEW), "back")
    bench.tell("one outage of 30 % at the first ten requests of full weight", f"{at_full:.1%} go back")
    margins = (0.01, 0.015, 0.02, 0.03)
    clumps = (1, 2, 3, 5, 10)
    power = [share(simulate(replace(GOOD, margin=margin), FEW), "promoted") for margin in margins]
    passed = [share(simulate(worse(replace(GOOD, margin=margin)), FEW), "promoted") for margin in margins]
    back = [share(simulate(replace(GOOD, clump=clump), FEW), "back") for clump in clumps]
    let_go = [share(simulate(worse(replace(GOOD, clump=clump)), FEW), "promoted") for clump in clumps]
    for clump, false, wrong in zip(clumps, back, let_go, strict=True):
        bench.tell(
            f"errors in clumps of {clump}, each to one arm", f"healthy back {false:.1%}, worse promoted {wrong:.1%}"
        )
    path = PICTURE if SCALE == 1 else Path(os.devnull)
    _draw(margins, power, passed, clumps, back, let_go, path)
    bench.tell("picture", f"[docs/pictures/{PICTURE.name}](../docs/pictures/{PICTURE.name})")


def _add(bench: Bench, name: str, ours: float, peer: float | None = None, unit: str = "") -> None:
    goal, note = NUMBERS[name]
    bench.add(Number(name, goal, ours, peer, unit, note))


def _median(ended: list[Ended]) -> float:
    """Requests until it went back; more than the budget where it did not."""
    return statistics.median(one.requests if one.how == "back" else BUDGET + 1 for one in ended)


def _draw(
    margins: tuple[float, ...],
    power: list[float],
    passed: list[float],
    clumps: tuple[int, ...],
    back: list[float],
    let_go: list[float],
    path: Path,
) -> None:
    import matplotlib  # noqa: PLC0415 (only here, and it is slow to load)

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rollout"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    points = [100 * margin for margin in margins]
    left.plot(points, [best_power(RATE, m, BUDGET) for m in margins], ":", color="#999999", label="best test there is")
    left.plot(points, power, "o-", color="#4477aa", label="healthy, promoted")
    left.plot(points, passed, "s-", color="#cc6677", label="worse by the margin, promoted")
    left.axhline(0.05, color="#cc6677", linewidth=0.6)
    left.set_xlabel("margin in points; 600 requests, 0.5 % fail")
    left.set_ylabel("share of rollouts")
    right.plot(clumps, back, "o-", color="#4477aa", label="healthy, goes back")
    right.plot(clumps, let_go, "s-", color="#cc6677", label="worse by the margin, promoted")
    right.axhline(0.01, color="#4477aa", linewidth=0.6)
    right.axhline(0.05, color="#cc6677", linewidth=0.6)
    right.set_xlabel("errors that come together, all to one arm")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


MEASUREMENTS = [
    (guarantees, [Number(name, goal, note=note, unit="") for name, (goal, note) in NUMBERS.items()]),
    (side_by_side, []),
    (where_it_ends, []),
]

if __name__ == "__main__":
    sys.exit(run_area("rollout", MEASUREMENTS, keep=SCALE == 1))
