"""The report of one evaluation: a single HTML page that needs nothing else, and its JSON twin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from numbers import Integral, Real
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sluiceway.core.verdict import GateResult
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.report.figures import chapters
from sluiceway.gates.report.strip import strip
from sluiceway.gates.report.wording import GateRow, gate_rows, headline

FORMAT = 1  # of the JSON twin
MOST_SENTENCES = 12  # of the headline; whoever has more reads the verdicts
FOLDED_FROM = 6  # so many verdicts that passed are shown; more fold into one line


def render(
    results: Sequence[GateResult],
    *,
    title: str,
    facts: Mapping[str, Any],
    lineage: Mapping[str, Any],
    data: ReportData | None = None,
    questions: Mapping[str, str] | None = None,
) -> str:
    """One self-contained HTML page: may it go on, the verdicts, the plots, and where the model came from.

    The page loads nothing, runs no script and forbids both to itself by its Content-Security-Policy.

    Args:
        results: of the gates, in the order of the page.
        title: of the page, e.g. ``flights_late 3``.
        facts: short numbers about the training, shown as a table.
        lineage: where everything came from, shown as a table; nested mappings are flattened with dots.
        data: what to draw; parts without data are left out.
        questions: the question that each gate answers, by its name.

    Returns:
        HTML that can be written as UTF-8. Every text is escaped.
    """
    gates = gate_rows(results, questions or {})
    page: str = _template().render(
        title=title,
        style=Markup(_source("page.css")),
        headline=headline(gates),
        most=MOST_SENTENCES,
        folded_from=FOLDED_FROM,
        gates=gates,
        strips=_strips(gates),
        facts=_flat(facts),
        lineage=_flat(lineage),
        chapters=chapters(data or ReportData()),
        drawn=Markup,  # the drawings are ours, and escape what they were given
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def to_dict(
    results: Sequence[GateResult],
    *,
    title: str,
    facts: Mapping[str, Any],
    lineage: Mapping[str, Any],
    data: ReportData | None = None,
    questions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What :func:`render` shows, and all that it leaves out for length; strict JSON, NaN is null."""
    rows = gate_rows(results, questions or {})
    said = headline(rows)
    ready: dict[str, Any] = _json_ready(
        {
            "format": FORMAT,
            "title": title,
            "blocked": not results or any(result.blocks for result in results),
            "headline": {
                "word": said.word,
                "sentence": said.sentence,
                "blocked_by": [{"verdict": one.anchor, "sentence": str(one)} for one in said.blocked_by],
                "beside": [{"verdict": one.anchor, "sentence": str(one)} for one in said.beside],
            },
            "gates": [
                result.to_dict() | {"question": row.question, "consequence": row.consequence}
                for result, row in zip(results, rows, strict=True)
            ],
            "facts": facts,
            "lineage": lineage,
            "data": asdict(data or ReportData()),
        }
    )
    return ready


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_source("page.html.j2"))


def _source(name: str) -> str:
    return resources.files("sluiceway.gates.report").joinpath(name).read_text(encoding="utf-8")


def _strips(gates: Sequence[GateRow]) -> dict[str, Markup]:
    return {row.anchor: Markup(strip(row.verdict)) for gate in gates for row in (*gate.open, *gate.passed)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _json_ready(value: Any) -> Any:
    """Numbers that JSON does not know become null, whatever else it does not know its text."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(inner) for inner in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value)
