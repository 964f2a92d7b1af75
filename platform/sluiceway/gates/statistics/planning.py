"""How many rows a test needs before it can say something; of requests, see ``noninferiority``."""

from __future__ import annotations

import math

from scipy.stats import norm


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
