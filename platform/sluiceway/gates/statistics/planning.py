"""How many rows, pairs or requests a test needs before it can say something."""

from __future__ import annotations

import math

from scipy.stats import norm


def pairs_needed(margin: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Pairs for non-inferiority of accuracy when the two models are equally good.

    n = (z_alpha + z_power)^2 discordance / margin^2 (normal approximation; the difference of a pair is -1, 0 or 1 with
    variance = share of discordant pairs).

    Args:
        margin: absolute difference of accuracy that is still good.
        discordance: share of pairs on which exactly one of the models is right.
        alpha: one-sided error of the test.
        power: chance to pass.
    """
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    return max(1, math.ceil(z * z * max(discordance, margin * margin) / margin**2))


def rows_needed(margin: float, error: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Rows for non-inferiority of any metric when the two models are equally good.

    n ((z_alpha + z_power) error / margin)^2 (normal approximation; the error falls with the root of the rows), and a
    tenth more: the standard error is itself an estimate, and bounds that are made for few rows (Tango's) are wider than
    the normal ones.

    Args:
        margin: difference that is still good, in the unit of the metric.
        error: standard error of the difference of the two models on n rows.
        n: rows that the error was taken on.
        alpha: one-sided error of the test.
        power: chance to pass.

    Returns:
        at least 1; None where it cannot be told.
    """
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    rows = 1.1 * n * (z * error / margin) ** 2 if margin > 0 else math.nan
    return max(1, math.ceil(rows)) if math.isfinite(rows) else None


def requests_needed(
    margin: float, error_rate: float, weight: float, *, alpha: float = 0.05, power: float = 0.8
) -> tuple[int, int]:
    """Requests for non-inferiority of the error rate when both arms err equally often.

    Args:
        margin: absolute difference of the rates that is still good.
        error_rate: of both arms; never taken as lower than the rate at which nothing is seen in most samples.
        weight: share of the requests that goes to the challenger, 0 to 1 exclusive.
        alpha: one-sided error of the test.
        power: chance to pass.

    Returns:
        (champion, challenger) requests, in the ratio of the weights.
    """
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    challenger = z * z * _variance(error_rate, weight) / margin**2
    # With no error at all the score bound still is about z^2 / n: that many are needed whatever the rate.
    floor = float(norm.ppf(1 - alpha)) ** 2 / margin
    n = math.ceil(max(challenger, floor))
    return math.ceil(n * (1 - weight) / weight), n


def detectable_rise(error_rate: float, weight: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The margin that so many requests are enough for: the inverse of :func:`requests_needed`.

    Args:
        error_rate: of both arms.
        weight: share of the requests that goes to the challenger, 0 to 1 exclusive.
        n: requests of the challenger.
        alpha: one-sided error of the test.
        power: chance to find it.

    Returns:
        Absolute difference of the rates; infinite without requests.
    """
    found = detectable_difference(_variance(error_rate, weight), n, alpha=alpha, power=power)
    return max(found, float(norm.ppf(1 - alpha)) ** 2 / n) if n else math.inf


def _variance(error_rate: float, weight: float) -> float:
    """Of the difference of the arms' rates, times the challenger's requests."""
    return error_rate * (1 - error_rate) * (1 + weight / (1 - weight))


def detectable_difference(variance: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference of a mean that a one-sided test on n rows finds with the given power."""
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    return z * math.sqrt(variance / n) if n else math.inf
