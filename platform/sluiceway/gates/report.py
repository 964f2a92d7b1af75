"""The report of one model: a single HTML page that needs nothing else, and its JSON twin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sluiceway.core.verdict import GateResult, Status, Verdict
from sluiceway.gates import plots
from sluiceway.gates.fairness import GroupScore
from sluiceway.gates.report_data import ClassScore, ReportData


def render(
    results: Sequence[GateResult],
    *,
    title: str,
    facts: Mapping[str, Any],
    lineage: Mapping[str, Any],
    data: ReportData | None = None,
) -> str:
    """One self-contained HTML page: verdicts first, then plots, then where the model came from.

    Args:
        results: of the gates, in the order of the page.
        title: of the page, e.g. ``flights_late 3``.
        facts: short numbers about the training, shown as a table.
        lineage: where everything came from, shown as a table; nested mappings are flattened with dots.
        data: what to draw; parts without data are left out.

    Returns:
        HTML. Every text is escaped.
    """
    source = resources.files("sluiceway.gates").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
    return template.render(
        title=title,
        blocked=any(result.blocks for result in results),
        gates=[_gate(result) for result in results],
        facts=_flat(facts),
        lineage=_flat(lineage),
        classes=[_class_row(found) for found in (data or ReportData()).classes],
        plots=_drawn(data or ReportData()),
    )


def to_dict(
    results: Sequence[GateResult],
    *,
    title: str,
    facts: Mapping[str, Any],
    lineage: Mapping[str, Any],
    data: ReportData | None = None,
) -> dict[str, Any]:
    """What :func:`render` shows, JSON-ready."""
    return {
        "title": title,
        "blocked": any(result.blocks for result in results),
        "gates": [result.to_dict() for result in results],
        "facts": dict(facts),
        "lineage": dict(lineage),
        "data": _without_nan(asdict(data or ReportData())),
    }


def _gate(result: GateResult) -> dict[str, Any]:
    return {
        "name": result.gate.replace("_", " "),
        "status": str(result.status),
        "waiver": result.waiver,
        "seconds": f"{result.seconds:.1f} s",
        "rows": [_row(verdict) for verdict in sorted(result.verdicts, key=_severity)],
    }


def _class_row(found: ClassScore) -> dict[str, str]:
    numbers = {name: getattr(found, name) for name in ("precision", "recall", "f1", "auc")}
    return {
        "name": found.name,
        "n": f"{found.n:,}",
        "decided": f"{found.decided:,}",
        **{name: "no value" if math.isnan(value) else f"{value:.4g}" for name, value in numbers.items()},
        "taken_for": found.taken_for,
    }


def _severity(verdict: Verdict) -> int:
    return [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS].index(verdict.status)


def _row(verdict: Verdict) -> dict[str, str]:
    m, t = verdict.measurement, verdict.threshold
    known = m.value is not None and not math.isnan(m.value)
    interval = f" [{m.low:.4g}, {m.high:.4g}]" if m.low is not None and m.high is not None else ""
    return {
        "name": m.name,
        "value": f"{m.value:.4g}{m.unit}{interval}" if known else "no value",
        "limit": f"{t.direction} {t.limit:.4g}{m.unit}" if t else "",
        "n": f"{m.n:,}",
        "status": str(verdict.status) if t or verdict.status is not Status.PASS else "",
        "why": "; ".join(part for part in (m.detail, verdict.reason) if part),
    }


def _drawn(data: ReportData) -> list[tuple[str, Markup]]:
    """Title and SVG of each plot; the SVG is ours and escapes what it was given."""
    drawn = []
    if data.roc:
        drawn.append(("ROC curve", plots.roc(data.roc)))
    if data.calibration:
        of = " of the decided class" if data.classes else ""
        drawn.append((f"Calibration{of}, with 95 % intervals", plots.calibration(data.calibration)))
    if data.confusion:
        drawn.append(
            ("Confusion: true classes down, decided ones across", plots.confusion(data.confusion, data.classes))
        )
    attributes: dict[str, list[GroupScore]] = {}
    for group in data.groups:
        attributes.setdefault(group.attribute, []).append(group)
    drawn += [(f"Groups of {name}, with 95 % intervals", plots.forest(found)) for name, found in attributes.items()]
    if data.folds:
        drawn.append((f"{data.fold_metric or 'Metric'} of the folds", plots.spread(data.folds, data.fold_metric)))
    return [(name, Markup(svg)) for name, svg in drawn if svg]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
