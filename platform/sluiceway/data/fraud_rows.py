"""Invented card transactions whose chance of being fraud is known exactly.

The chance depends on the four features alone, so nothing outside them could help a model, and the best that any
model can reach follows from the chances (:func:`sluiceway.data.generate_fraud.attainable`). Behaviour has a season:
how many transactions, in which shops and of what size goes by hour, weekday and month.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

# Rows of one block; each block has its own stream of random numbers, so this is part of what a seed means.
BLOCK_ROWS = 50_000

# Share of ordinary transactions and their mean amount by shop; the order is part of what a seed means, too.
SHOPS: dict[str, tuple[float, float]] = {
    "grocery": (0.20, 45.0),
    "restaurant": (0.14, 32.0),
    "fuel": (0.10, 50.0),
    "online_retail": (0.12, 60.0),
    "clothing": (0.08, 65.0),
    "pharmacy": (0.06, 28.0),
    "entertainment": (0.06, 35.0),
    "transport": (0.06, 18.0),
    "utilities": (0.04, 90.0),
    "travel": (0.03, 140.0),
    "electronics": (0.03, 110.0),
    "gift_cards": (0.02, 40.0),
    "jewellery": (0.02, 120.0),
    "money_transfer": (0.02, 100.0),
    "gambling": (0.02, 45.0),
}
CATEGORIES = tuple(SHOPS)
AGE_GROUPS = ("18-25", "26-35", "36-50", "51-65", "66+")
AGE_SHARES = (0.14, 0.24, 0.30, 0.20, 0.12)
GENDERS = ("female", "male", "undisclosed")
GENDER_SHARES = (0.48, 0.46, 0.06)

HOUR_WEIGHTS = np.array([2, 1, 1, 1, 1, 2, 4, 7, 9, 9, 10, 11, 13, 12, 11, 11, 12, 14, 15, 14, 11, 8, 5, 3], float)
WEEKDAY_WEIGHTS = np.array([0.92, 0.92, 0.95, 1.0, 1.15, 1.2, 0.86])
MONTH_WEIGHTS = np.array([0.9, 0.88, 0.95, 0.97, 1.0, 1.02, 1.05, 1.0, 0.96, 1.0, 1.12, 1.35])

SCHEMA = pa.schema(
    [
        pa.field("transaction_id", pa.int64(), nullable=False),
        pa.field("event_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("transaction_amount", pa.float64()),
        pa.field("time_since_last_transaction", pa.int64()),
        pa.field("merchant_category", pa.string()),
        pa.field("user_transaction_count_24h", pa.int32()),
        pa.field("age_group", pa.string()),
        pa.field("gender", pa.string()),
        pa.field("is_fraud", pa.int8(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Behaviour:
    """What fraudsters do in one world; drift is another world.

    Attributes:
        attack_share: share of transactions that look like an attack.
        certainty: chance of fraud well inside a pattern.
        stray_share: chance of fraud of an ordinary transaction, before the shop and the amount change it.
        cash_out_shops: shops where goods are bought to be sold on.
        takeover_shops: shops through which a taken-over account is emptied.
        year: calendar year of the transactions.
    """

    attack_share: float = 0.0188
    certainty: float = 0.923
    stray_share: float = 0.00145
    cash_out_shops: tuple[str, ...] = ("electronics", "jewellery", "gift_cards")
    takeover_shops: tuple[str, ...] = ("money_transfer", "travel")
    year: int = 2024


ORDINARY = Behaviour()
# Other shops, and attacks that hide among honest purchases of the same kind.
DRIFTED = Behaviour(
    certainty=0.72,
    stray_share=0.0030,
    cash_out_shops=("online_retail", "travel", "electronics"),
    takeover_shops=("money_transfer", "gambling"),
    year=2025,
)


def blocks(*, rows: int, seed: int, behaviour: Behaviour) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Transactions in the order of their time, block by block.

    Args:
        rows: how many in all.
        seed: the same seed and number of rows give the same rows, byte for byte.
        behaviour: the world.

    Yields:
        a record batch of ``SCHEMA`` with at most ``BLOCK_ROWS`` rows, and the chance of fraud of each row,
        shape (n,), float64. Amounts are in currency units with two decimals, times since the last transaction in
        seconds, null for a card's first one.
    """
    clock = _Clock(behaviour.year)
    first_id = (seed * 2 + (behaviour.year - ORDINARY.year)) << 32
    for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
        n = min(BLOCK_ROWS, rows - start)
        rng = np.random.default_rng([seed, behaviour.year, number])
        quantiles = (start + np.sort(rng.random(n)) * n) / rows
        seconds, hour, month = clock.at(quantiles)
        yield _block(rng, np.arange(n) + start + first_id, (seconds, hour, month), behaviour)


class _Clock:
    """Turns a quantile of the year's transactions into a time, by how busy each hour of the year is."""

    def __init__(self, year: int) -> None:
        begin = np.datetime64(f"{year}-01-01T00", "h")
        hours = np.arange(begin, np.datetime64(f"{year + 1}-01-01T00", "h"))
        self._hour = hours.astype("int64") % 24
        self._month = hours.astype("datetime64[M]").astype("int64") % 12
        weekday = (hours.astype("datetime64[D]").astype("int64") + 3) % 7
        weight = HOUR_WEIGHTS[self._hour] * WEEKDAY_WEIGHTS[weekday] * MONTH_WEIGHTS[self._month]
        self._edges = np.concatenate([[0.0], np.cumsum(weight) / weight.sum()])
        self._begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())

    def at(self, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Epoch seconds, hour of the day and month (0 to 11) for quantiles in [0, 1)."""
        place = np.clip(np.searchsorted(self._edges, quantiles, side="right") - 1, 0, len(self._hour) - 1)
        inside = (quantiles - self._edges[place]) / (self._edges[place + 1] - self._edges[place])
        seconds = self._begin + place * 3600 + np.floor(inside * 3600).astype("int64")
        return seconds, self._hour[place], self._month[place]


def _block(
    rng: np.random.Generator, ids: np.ndarray, when: tuple[np.ndarray, np.ndarray, np.ndarray], behaviour: Behaviour
) -> tuple[pa.RecordBatch, np.ndarray]:
    seconds, hour, month = when
    n = len(ids)
    age = rng.choice(len(AGE_GROUPS), n, p=AGE_SHARES)
    gender = rng.choice(len(GENDERS), n, p=GENDER_SHARES)
    shop, amount, since, count = _ordinary(rng, hour, month, age)
    _attacks(rng, (shop, amount, since, count), behaviour)
    amount = np.round(amount, 2)
    since = np.floor(since).astype("int64")
    first = rng.random(n) < 0.005
    chance = chance_of_fraud(
        shop=shop, amount=amount, since=np.where(first, np.nan, since), count=count, world=behaviour
    )
    fraud = (rng.random(n) < chance).astype("int8")
    columns = [
        pa.array(ids),
        pa.array(seconds * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
        pa.array(amount),
        pa.array(since, mask=first),
        pa.array(CATEGORIES).take(pa.array(shop)),
        pa.array(count.astype("int32")),
        pa.array(AGE_GROUPS).take(pa.array(age)),
        pa.array(GENDERS).take(pa.array(gender)),
        pa.array(fraud),
    ]
    return pa.record_batch(columns, schema=SCHEMA), chance


def _ordinary(
    rng: np.random.Generator, hour: np.ndarray, month: np.ndarray, age: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(hour)
    share = np.array([s for s, _ in SHOPS.values()])
    mean = np.array([m for _, m in SHOPS.values()])
    shop = rng.choice(len(share), n, p=share / share.sum())
    # In December some of the groceries are presents, in summer some of the fuel is a journey, at night it is a bar.
    swap = rng.random(n)
    shop = np.where((month == 11) & (swap < 0.10), CATEGORIES.index("gift_cards"), shop)
    shop = np.where(np.isin(month, (5, 6, 7)) & (swap < 0.05), CATEGORIES.index("travel"), shop)
    shop = np.where((hour < 5) & (swap < 0.25), CATEGORIES.index("entertainment"), shop)
    season = 1 + 0.15 * (month == 11) + 0.05 * np.sin(2 * np.pi * month / 12)
    age_factor = np.array([0.8, 1.0, 1.1, 1.05, 0.9])[age]
    amount = np.minimum(rng.gamma(2.0, mean[shop] * season * age_factor / 2), 600.0) + 0.5
    activity = rng.gamma(2.0, 1.1, n)
    count = rng.poisson(activity)
    since = np.minimum(rng.exponential(1.0, n) * 86_400 / (0.3 + activity), 6 * 86_400)
    return shop, amount, since, count


def _attacks(
    rng: np.random.Generator, rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], behaviour: Behaviour
) -> None:
    """Turn a share of the rows into attacks, in place: a third each of bursts, cash-outs and takeovers."""
    shop, amount, since, count = rows
    kind = np.where(rng.random(len(shop)) < behaviour.attack_share, rng.integers(0, 3, len(shop)), -1)
    burst, cash_out, takeover = (np.flatnonzero(kind == k) for k in range(3))
    count[burst] = 17 + rng.poisson(7, len(burst))
    since[burst] = rng.exponential(1_500, len(burst))
    shop[cash_out] = rng.choice([CATEGORIES.index(s) for s in behaviour.cash_out_shops], len(cash_out))
    amount[cash_out] = 850 + rng.gamma(2.0, 250, len(cash_out))
    shop[takeover] = rng.choice([CATEGORIES.index(s) for s in behaviour.takeover_shops], len(takeover))
    amount[takeover] = 800 + rng.gamma(2.0, 300, len(takeover))
    since[takeover] = (9 + rng.gamma(2.0, 3.0, len(takeover))) * 86_400


def chance_of_fraud(
    *, shop: np.ndarray, amount: np.ndarray, since: np.ndarray, count: np.ndarray, world: Behaviour
) -> np.ndarray:
    """The chance that a transaction is fraud.

    Args:
        shop: index into ``CATEGORIES``, shape (n,).
        amount: currency units, shape (n,).
        since: seconds, NaN for a card's first transaction, shape (n,).
        count: transactions of the user in 24 hours, shape (n,).
        world: how fraudsters behave.

    Returns:
        shape (n,), float64, in (0, 1).
    """
    days = np.nan_to_num(since, nan=1.0) / 86_400
    cash_out = np.isin(shop, [CATEGORIES.index(s) for s in world.cash_out_shops])
    takeover = np.isin(shop, [CATEGORIES.index(s) for s in world.takeover_shops])
    patterns = [
        _step(count, 13.5, 0.4) * _step(-days, -0.5, 0.04),
        cash_out * _step(amount, 720, 12),
        takeover * _step(amount, 600, 12) * _step(days, 7.5, 0.1),
    ]
    inside = np.max(patterns, axis=0)
    risky = np.where(cash_out | takeover, 4.0, 1.0)
    stray = np.minimum(world.stray_share * risky * (0.4 + amount / 100), 0.2)
    return np.asarray(stray + (world.certainty - stray) * inside)


def _step(value: np.ndarray, edge: float, width: float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(np.clip((edge - value) / width, -50, 50))))
