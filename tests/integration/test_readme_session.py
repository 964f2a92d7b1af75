"""The README's session is this one, and it runs."""

import textwrap
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from sluiceway.data.row_digest import digest_rows

pytestmark = pytest.mark.integration

SESSION = """
from sluiceway import append, build_context, connect_ray, disconnect, load_settings, run_lifecycle

append("data/loans", table, message="first quarter", source="bank", batch_id="2026-q1")  # one commit, once

settings = load_settings("loans.yaml", overrides=["training.folds=3"])
context = build_context(settings)
connect_ray(settings.platform.ray)
summary = run_lifecycle(context)  # train, judge, register, roll out
for step in summary.steps:
    print(step.status, step.name, step.headline)
version, bundle = context.registry.bundle("loans", "champion")
disconnect()
"""


@pytest.fixture
def session(tmp_path, monkeypatch, ray_cluster):
    import numpy as np  # noqa: PLC0415

    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    n = 6_000
    income, debt = rng.normal(50, 15, n), rng.gamma(2.0, 8.0, n)
    defaulted = (debt - 0.3 * income + rng.normal(0, 4, n) > 4).astype("int8")
    rows = pa.table({"income": income, "debt": debt, "branch": rng.choice(["n", "s"], n), "defaulted": defaulted})
    config = {
        "experiment": {"name": "loans"},
        "data": {"path": "data/loans", "features": ["income", "debt", "branch"], "target": "defaulted"},
        "model": {"params": {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3}},
        "training": {"early_stopping_rounds": 5},
        "evaluation": {"thresholds": {"auc_roc": 0.8}},
        "platform": {"serving": {"port": 0}},
    }
    Path("loans.yaml").write_text(yaml.safe_dump(config))
    yield rows
    stop_serve()  # the rest of what `disconnect` ends is the whole test session's


def test_the_session_trains_judges_and_serves(session, capsys, monkeypatch):
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)  # the cluster is the whole test session's
    names = {"table": session}
    exec(compile(SESSION, "README", "exec"), names)
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["PASS"] * 4, printed
    assert "production" in printed
    assert names["version"] == "1"
    assert names["bundle"].decision["target"] == "defaulted"
    assert names["bundle"].lineage["data"]["row_digest"] == str(digest_rows(session))


def test_the_readme_shows_this_session(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- session -->")[1].split("<!-- /session -->")[0]
    assert textwrap.dedent(shown.replace("```python", "").replace("```", "")).strip() == SESSION.strip()
