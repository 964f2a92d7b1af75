"""Writes the report of an evaluation: one page that needs nothing else, and its JSON twin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluiceway.core.verdict import GateResult
from sluiceway.gates.catalogue import gates_of
from sluiceway.gates.report import page
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.evaluation import Evaluation
from sluiceway.lifecycle.subject import Subject

SHOWN = ("rounds", "metric", "engine", "why")


def write_report(
    context: Context,
    subject: Subject,
    evaluation: Evaluation,
    results: Sequence[GateResult],
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page with today's waivers.

    Args:
        context: says where reports go.
        subject: what was judged.
        evaluation: has what is drawn.
        results: settled.
        training: report of the training, where it is known.

    Returns:
        The page; the JSON lies beside it under the same name.
    """
    training = training or {}
    folds = tuple((f"fold {fold['fold'] + 1}", fold["metric"]) for fold in training.get("folds", ()))
    version = subject.version
    facts = {
        **{key: training[key] for key in SHOWN if key in training},
        **{f"rows {part}": f"{rows:,}" for part, rows in training.get("rows", {}).items()},
        "compared with": f"version {evaluation.champion}" if evaluation.champion else "nothing serves yet",
        "judged at": context.clock.now().isoformat(timespec="seconds"),
    }
    arguments: dict[str, Any] = {
        "title": f"{subject.name} on data version {version.version} ({version.ref})",
        "facts": facts,
        "lineage": subject.bundle.lineage | {"bundle": subject.bundle.digest},
        "data": replace(evaluation.data, folds=folds, fold_metric=training.get("metric", "")),
        "questions": {gate.name: gate.title for gate in gates_of(context.evaluation)},
    }
    folder = context.folders.reports
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{subject.name}-{subject.bundle.digest[:12]}-{version.digest[:8]}.html"
    file.write_text(page.render(results, **arguments), encoding="utf-8")
    document = json.dumps(page.to_dict(results, **arguments), default=str)
    file.with_suffix(".json").write_text(document, encoding="utf-8")
    return file
