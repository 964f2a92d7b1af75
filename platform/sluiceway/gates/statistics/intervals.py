"""Intervals: of a share, of any metric, of a quantile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm
from scipy.stats import t as student_t

Array = npt.NDArray[Any]
MOST_ROWS = 50_000  # that a resample is drawn of, where there is no faster way than drawing rows


def wilson(successes: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's score interval of a share, two-sided (E. B. Wilson, JASA 22, 1927).

    Returns:
        (low, high); (0, 1) for n = 0.
    """
    if n == 0:
        return 0.0, 1.0
    z2 = float(norm.ppf(1 - alpha / 2)) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == n else centre + half


def rule_of_three(n: int, *, alpha: float = 0.05) -> float:
    """Largest share that may hide behind not one of n, at the two-sided error alpha: about 3.7 / n at 5 %.

    For estimates whose own standard error is 0, which means that nothing was seen and not that nothing is there.
    """
    return min(1.0, -math.log(alpha / 2) / n) if n else 1.0


def student(error: float, freedom: int, *, alpha: float = 0.05) -> float:
    """Half the width of a two-sided 1 - alpha interval of an estimate with this standard error.

    Args:
        error: the standard error, itself estimated.
        freedom: degrees of freedom of that estimate; without any the half width is endless.
        alpha: two-sided error.
    """
    return float(student_t.ppf(1 - alpha / 2, freedom)) * error if freedom > 0 else math.inf


def bootstrap(
    metric: Callable[[Array, Array], float],
    labels: Array,
    scores: Array,
    *,
    alpha: float = 0.05,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of a metric: rows drawn with replacement, the same draws for the same seed.

    Args:
        metric: called with (labels, scores) of each resample.
        labels: shape (n,).
        scores: shape (n,), or (n, k).
        alpha: two-sided error.
        resamples: how many; 200 settle a 95 % bound to about a tenth of its width.
        seed: of the draws.

    Returns:
        (low, high); NaN when the metric could be taken in no resample.
    """
    drawn = deviations(lambda rows: metric(labels[rows], scores[rows]), len(labels), resamples=resamples, seed=seed)
    return percentiles(metric(labels, scores) + drawn, alpha=alpha)


def deviations(statistic: Callable[[Array], float], n: int, *, resamples: int, seed: int = 0) -> Array:
    """How far a statistic of resamples is from that of the rows.

    Of more than ``MOST_ROWS`` rows so many are drawn once, without replacement, and resampled; what comes out is
    multiplied by the root of m / n, because that is how the error of anything regular falls with the rows (the m out of
    n bootstrap: P. Bickel, F. Goetze and W. van Zwet, Statistica Sinica 7, 1997).

    Args:
        statistic: called with the places of the rows of a resample; NaN where it cannot be taken.
        n: rows.
        resamples: how many.
        seed: of the draws.

    Returns:
        shape (resamples,); NaN where the statistic was.
    """
    random = np.random.default_rng(seed)
    m = min(n, MOST_ROWS)
    sample = np.arange(n) if m == n else np.sort(random.choice(n, m, replace=False))
    observed = statistic(sample)
    drawn = np.array([statistic(sample[random.integers(0, m, m)]) for _ in range(resamples)])
    scaled: Array = (drawn - observed) * math.sqrt(m / n)
    return scaled


def percentiles(values: Array, *, alpha: float) -> tuple[float, float]:
    """What holds the middle 1 - alpha of drawn values; NaN where fewer than half of them could be taken."""
    known = values[~np.isnan(values)]
    if len(known) == 0 or 2 * len(known) < len(values):
        return math.nan, math.nan
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def bootstrap_counts(
    metric: Callable[[Array], Array],
    counts: Sequence[int],
    *,
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of a metric that depends on counts of cells only, e.g. a confusion matrix.

    Drawing n rows with replacement is drawing the counts from a multinomial, so the cost does not grow with n.

    Args:
        metric: maps counts of shape (resamples, cells) to values of shape (resamples,).
        counts: observed count of each cell.
        alpha: two-sided error.
        resamples: how many.
        seed: of the draws.
    """
    cells = np.asarray(counts, dtype=np.float64)
    n = int(cells.sum())
    if n == 0:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).multinomial(n, cells / n, size=resamples)
    return percentiles(metric(drawn), alpha=alpha)


def quantile(samples: Array, q: float, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """A quantile with bounds from order statistics: exact for any continuous distribution.

    Args:
        samples: shape (n,).
        q: 0 to 1, e.g. 0.99.
        alpha: error of each bound (the interval between them holds 1 - 2 alpha).

    Returns:
        (value, low, high); a bound that so few samples cannot give is -inf or inf; NaN for n = 0.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        return math.nan, math.nan, math.nan
    at, below, above = _ranks(n, q, alpha)
    low = float(ordered[below - 1]) if below >= 1 else -math.inf
    high = float(ordered[above - 1]) if above <= n else math.inf
    return float(ordered[at - 1]), low, high


def quantile_from_counts(
    counts: Sequence[int], bounds: Sequence[float], q: float, alpha: float = 0.05
) -> tuple[float, float, float]:
    """A quantile with bounds, from a histogram: as :func:`quantile`, widened by the width of the buckets.

    Args:
        counts: of each bucket; one more than bounds (the last bucket is open), or as many (none was above the last).
        bounds: rising upper bounds of the buckets, the first bucket begins at 0.
        q: 0 to 1.
        alpha: error of each bound.

    Returns:
        (value, low, high): value is interpolated inside its bucket; low is the lower end of the bucket of the lower
        order statistic and high the upper end of the upper one's (inf when that is the open bucket or n is too
        small); NaN when all counts are 0.
    """
    if len(counts) not in (len(bounds), len(bounds) + 1):
        raise ValueError(f"{len(counts)} counts do not fit {len(bounds)} bounds")
    cumulative = np.cumsum(np.asarray(counts, dtype=np.int64))
    n = int(cumulative[-1]) if len(cumulative) else 0
    if n == 0:
        return math.nan, math.nan, math.nan
    edges = np.concatenate([[0.0], np.asarray(bounds, dtype=np.float64), [math.inf]])
    at, below, above = _ranks(n, q, alpha)

    def bucket(rank: int) -> int:
        return int(np.searchsorted(cumulative, rank))

    inside = bucket(at)
    before = int(cumulative[inside - 1]) if inside else 0
    lower, upper = float(edges[inside]), float(edges[inside + 1])
    value = lower if math.isinf(upper) else lower + (upper - lower) * (at - before) / int(counts[inside])
    low = float(edges[bucket(below)]) if below >= 1 else 0.0
    high = float(edges[bucket(above) + 1]) if above <= n else math.inf
    return value, low, high


def quantile_n_needed(q: float, alpha: float = 0.05) -> int:
    """Fewest samples whose maximum is an upper bound of a quantile: q**n <= alpha (299 for 0.99 and 0.05)."""
    return math.ceil(math.log(alpha) / math.log(q))


def _ranks(n: int, q: float, alpha: float) -> tuple[int, int, int]:
    # The number of samples below the true quantile is binomial(n, q); the k-th smallest sample is at or above it when
    # at most k - 1 are below, and at or below it when at least k are.
    at = min(n, max(1, math.ceil(q * n - 1e-9)))
    above = int(binom.ppf(1 - alpha, n, q)) + 1
    below = int(binom.ppf(alpha, n, q))
    return at, below, above
