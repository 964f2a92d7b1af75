"""The numbers of an evaluation with everything in it, made up: what tests of the report draw and read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sluiceway.core.verdict import Direction, GateResult, Measurement, Severity, Status, Threshold, Verdict
from sluiceway.gates.drawn import Disturbance, DriftScore, GroupScore, ReportData, SliceScore
from sluiceway.gates.report.curves import class_data, curves, curves_of_champion
from sluiceway.gates.statistics.auc import auc_interval

EVIL = "<script>alert('x')</script>&amp;\x00\x1b[31m"
FEATURES = ("dep_delay", "distance", "carrier", "origin", "dest", "temp", "wind_gust", "visib", "hour", "month")
AT_LEAST, AT_MOST = Direction.AT_LEAST, Direction.AT_MOST
NAN = math.nan
LONG = "carrier is EV and 5.5 <= hour < 7 and distance >= 1,400 and origin is one of EWR, JFK"


def a_verdict(gate: str, name: str, status: Status = Status.PASS, **given: Any) -> Verdict:
    """A verdict from the fields of its measurement and its own, by name."""
    limit = given.pop("limit", None)
    own = {key: given.pop(key) for key in ("reason", "enough", "severity", "waiver") if key in given}
    use_interval = given.pop("use_interval", False)
    threshold = Threshold(*limit, use_interval=use_interval) if limit else None
    value, n = given.pop("value", 0.5), given.pop("n", 20_000)
    return Verdict(gate, status, Measurement(name, value, n, **given), threshold, **own)


def results() -> list[GateResult]:
    """Nine gates: passed, failed, too few rows, waived, a warning, an error, from the cache."""
    fail, unsure = Status.FAIL, Status.INCONCLUSIVE
    shown = {"reason": "reported, not judged"}
    return [
        GateResult(
            "performance",
            (
                a_verdict("performance", "auc_roc", value=0.9134, low=0.9071, high=0.9196, limit=(0.85, AT_LEAST)),
                a_verdict("performance", "log_loss", value=0.3121, low=0.303, high=0.322, limit=(0.4, AT_MOST)),
                a_verdict("performance", "precision", value=0.772, low=0.755, high=0.788, **shown),
                a_verdict("performance", "recall", value=0.6811, low=0.662, high=0.699, **shown),
            ),
            2.31,
        ),
        GateResult(
            "champion",
            (
                a_verdict(
                    "champion",
                    "auc_roc against version 12",
                    value=0.0042,
                    low=0.0011,
                    high=0.0073,
                    limit=(-0.01, AT_LEAST),
                    use_interval=True,
                    detail="paired, DeLong",
                ),
                a_verdict("champion", "gain of auc_roc", value=0.0042, limit=(0.1, AT_MOST)),
            ),
            1.02,
            cached=True,
        ),
        GateResult(
            "fairness",
            (
                a_verdict(
                    "fairness",
                    "AUC gap by carrier",
                    fail,
                    value=0.1312,
                    low=0.1055,
                    high=0.1569,
                    limit=(0.1, AT_MOST),
                    detail="smallest HA (AUC 0.79), largest DL (AUC 0.92), n=14 groups, smallest 112",
                ),
                a_verdict(
                    "fairness",
                    "equal opportunity by origin",
                    unsure,
                    value=0.071,
                    low=0.022,
                    high=0.12,
                    limit=(0.05, AT_MOST),
                    n=3_100,
                    reason="beyond the limit, but it may be chance",
                    enough=12_384,
                ),
                a_verdict("fairness", "AUC gap by origin", value=0.0143, low=0.001, high=0.03, limit=(0.1, AT_MOST)),
            ),
            3.4,
        ),
        GateResult(
            "robustness",
            (
                a_verdict(
                    "robustness",
                    "loss under noise of 0.1 std on all features",
                    fail,
                    value=0.0612,
                    low=0.0551,
                    high=0.0673,
                    limit=(0.05, AT_MOST),
                    waiver="Ada Lovelace: sensors are replaced in spring, see the plan (until 2027-03-31)",
                ),
                *(
                    a_verdict(
                        "robustness",
                        f"loss under noise of 0.1 std on {name}",
                        value=0.001 * i,
                        low=0.001 * i - 0.0007,
                        high=0.001 * i + 0.0007,
                        limit=(0.05, AT_MOST),
                    )
                    for i, name in enumerate(FEATURES)
                ),
                a_verdict("robustness", "decisions that change under noise of 0.1 std", value=0.042, **shown),
            ),
            14.8,
        ),
        GateResult(
            "data_quality",
            (
                a_verdict(
                    "data_quality",
                    "age of the newest row",
                    fail,
                    value=41.0,
                    unit="days",
                    limit=(30, AT_MOST),
                    severity=Severity.WARN,
                ),
                a_verdict("data_quality", "null share of wind_gust", value=0.0, limit=(0.05, AT_MOST), n=981_222),
            ),
            4.0,
        ),
        GateResult(
            "leakage", (a_verdict("leakage", "AUC of dep_delay alone", value=0.71, limit=(0.98, AT_MOST)),), 3.2
        ),
        GateResult(
            "calibration",
            (
                a_verdict(
                    "calibration",
                    "expected calibration error",
                    unsure,
                    value=0.012,
                    low=0.008,
                    high=0.017,
                    limit=(0.01, AT_MOST),
                    severity=Severity.INFO,
                    reason="the interval spans the limit; dry run",
                    enough=81_000,
                ),
            ),
            0.8,
        ),
        GateResult("slices", (a_verdict("slices", "AUC of night flights", value=0.88, limit=(0.76, AT_LEAST)),), 5.5),
        GateResult(
            "serving",
            (a_verdict("serving", "serving", Status.ERROR, value=None, n=0, reason="not done after 120 s"),),
            120.0,
        ),
    ]


def data(rows: int = 20_000) -> ReportData:
    """Everything that the report of a binary classifier draws."""
    random = np.random.default_rng(1)
    labels = (random.random(rows) < 0.24).astype(float)
    odds = -1.9 + 2.2 * labels + random.standard_normal(rows) * 1.1
    weaker = odds - 0.5 * labels + random.standard_normal(rows) * 0.5
    return (
        curves(labels, 1 / (1 + np.exp(-odds)))
        .merged(curves_of_champion(labels, 1 / (1 + np.exp(-weaker))))
        .merged(
            ReportData(
                groups=(*_groups(random, labels, odds), *_ages()),
                disturbances=tuple(_disturbances(random)),
                slices=tuple(_slices()),
                drift=tuple(_drift(random)),
                folds=tuple((f"fold {i + 1}", 0.912 + 0.004 * float(random.standard_normal())) for i in range(5)),
                fold_metric="auc",
            )
        )
    )


def classes() -> ReportData:
    """What the report of a model of several classes draws."""
    random = np.random.default_rng(2)
    names = ("a class with quite a long name", EVIL, "good", "very good", "premium", "ideal")
    labels = random.integers(0, len(names), 3000)
    scores = random.random((3000, len(names))) + 0.9 * np.eye(len(names))[labels]
    return class_data(labels, scores / scores.sum(axis=1, keepdims=True), names)


def arguments(**given: Any) -> dict[str, Any]:
    """What the page wants beside the results."""
    return {
        "title": "flights_late on data version 7 (main)",
        "facts": {"rounds": 312, "metric": "auc", "rows train": "268,311", "judged at": "2026-11-26T04:56:00+00:00"},
        "lineage": {
            "data": {"table": "file:///lake/flights", "version": 7, "digest": "9f2c" * 16},
            "code": {"commit": "cab6a8e" * 5, "dirty": False},
            "bundle": "sha256:" + "0123456789abcdef" * 4,
        },
        "questions": {"fairness": "Are groups served alike?", "performance": "Is the model good enough?"},
        "data": data(),
        **given,
    }


def _groups(random: np.random.Generator, labels: np.ndarray, odds: np.ndarray) -> list[GroupScore]:
    names = ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", EVIL, "OO"]
    of = random.choice(len(names), len(labels), p=np.r_[np.full(12, 0.082), 0.0145, 0.0015])
    found = []
    for i, name in enumerate(names):
        rows = of == i
        value, low, high = auc_interval(labels[rows], odds[rows] - 0.8 * (i == 12) * labels[rows])
        positives = int(labels[rows].sum())
        judged = positives >= 30
        rates = (0.2 + 0.01 * i, 0.66, 0.08, 0.77)
        found.append(GroupScore("carrier", name, int(rows.sum()), positives, value, low, high, 1e-4, judged, *rates))
    return found


def _ages() -> list[GroupScore]:
    return [
        GroupScore("age_group", "under 30", 5200, 1200, 0.9, 0.89, 0.91, 1e-5, True),
        GroupScore("age_group", "30 to 60", 9100, 2100, 0.91, 0.9, 0.92, 1e-5, True),
        GroupScore("age_group", "nobody", 3, 0, NAN, NAN, NAN, NAN, False),
    ]


def _disturbances(random: np.random.Generator) -> list[Disturbance]:
    found = [
        Disturbance("noise", "", size, loss, loss * 0.85, loss * 1.15, loss * 1.2, loss * 1.3, 0.05)
        for size, loss in ((0.001, 0.0002), (0.01, 0.006), (0.1, 0.0612))
    ]
    for name in FEATURES:
        weight = float(random.random()) ** 3
        for size in (0.001, 0.01, 0.1):
            loss = 0.5 * size * weight
            found.append(Disturbance("noise", name, size, loss, NAN, NAN, loss, NAN, 0.05))
        loss = 0.02 * weight
        found.append(Disturbance("missing", name, 0.01, loss, loss * 0.9, loss * 1.1, loss, loss * 1.1, 0.05))
        found.append(Disturbance("unit", name, 0, 0.4 * weight, NAN, NAN, 0.2 * weight, 0.3 * weight, NAN))
        for way in (-1, 1):
            loss = (0.1 + 0.02 * way) * weight - 0.01
            found.append(Disturbance("range", name, way, loss, NAN, NAN, 0.2 * weight, NAN, NAN))
    found += [Disturbance("unseen", name, 0, 0.03, 0.02, 0.04, 0.05, NAN, NAN) for name in ("carrier", "origin")]
    return found


def _slices() -> list[SliceScore]:
    return [
        SliceScore("night flights", "declared", 2100, 0.881, 0.862, 0.9, 0.9134, True, 0.0324, 0.011),
        SliceScore(LONG, "discovered", 900, 0.83, 0.8, 0.86, 0.911, True, 0.081, 0.052, confirmed=True),
        SliceScore(EVIL, "declared", 40, 0.7, 0.55, 0.85, 0.9134, False),
        SliceScore("nobody", "declared", 0, NAN, NAN, NAN, 0.9134, False),
    ]


def _drift(random: np.random.Generator) -> list[DriftScore]:
    values = sorted((float(v) for v in random.exponential(0.05, len(FEATURES) - 1)), reverse=True)
    found = [DriftScore(name, "champion", v, 0.25) for name, v in zip(FEATURES, (0.31, *values), strict=True)]
    return [*found, *(DriftScore(name, "production", 0.01 * i, NAN) for i, name in enumerate(FEATURES[:4]))]
