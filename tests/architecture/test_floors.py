"""Who may import whom: the floors, the engines, and what a plain import costs."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "platform" / "sluiceway"

# Engine -> the modules that speak it. A pattern's * does not stop at a folder.
ENGINES = {
    "ray": (
        "data/ray_*.py",
        "training/ray_*.py",
        "training/trainer.py",
        "gates/ray_tasks.py",
        "lifecycle/ray_*.py",
        "serving/*.py",
        "wiring/cluster.py",
        "wiring/rollout_actor.py",
    ),
    "mlflow": ("registry/*.py",),
    "deltalake": ("data/*.py",),
    "xgboost": ("training/*.py", "serving/scorer.py", "serving/in_place.py"),
    "sqlalchemy": ("catalog/*.py",),
    "alembic": ("catalog/*.py",),
}

# Modules that decide and compute; whoever imports them must not pay for an engine.
PURE = (
    "__init__.py",
    "core/*.py",
    "config/*.py",
    "features/*.py",
    "gates/*.py",
    "data/membership.py",
    "rollout/accuracy.py",
    "rollout/business.py",
    "rollout/decide.py",
    "rollout/error_rate.py",
    "rollout/evidence.py",
    "rollout/judgement.py",
    "rollout/latency.py",
    "rollout/margin.py",
    "rollout/means_seen.py",
    "rollout/paired_means.py",
    "rollout/plan.py",
    "rollout/state.py",
)
NOT_PURE = ("gates/ray_*.py",)


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def imported_names(name: str) -> list[tuple[int, str]]:
    """Line and full name of every import in a module, those inside functions and TYPE_CHECKING included."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_imports_go_down_only() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "platform"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_spoken_in_named_modules_only(engine: str) -> None:
    strangers = [
        f"{name}:{line} imports {imported}"
        for name in modules()
        if not matches(name, ENGINES[engine])
        for line, imported in imported_names(name)
        if imported.split(".")[0] == engine
    ]
    assert strangers == []


def test_settings_are_handed_down_and_not_fetched() -> None:
    fetchers = [
        f"{name}:{line}"
        for name in modules()
        if name != "__init__.py" and not name.startswith(("cli/", "config/", "wiring/"))
        for line, imported in imported_names(name)
        if f"{imported}.".startswith(("sluiceway.config.load.", "sluiceway.config.settings."))
    ]
    assert fetchers == []


PROBE = """
import importlib, json, sys
engines, found = set(sys.argv[2].split(",")), {}
for name in sys.argv[1].split(","):
    importlib.import_module(name)
    for engine in sorted(engines & set(sys.modules)):
        found.setdefault(engine, name)
print(json.dumps(found))
"""


def first_importers(names: list[str]) -> dict[str, str]:
    """Engine -> the first of these modules whose import loaded it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(names), ",".join(ENGINES)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "platform")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def dotted(name: str) -> str:
    return f"sluiceway.{name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def test_pure_modules_load_no_engine() -> None:
    names = [dotted(name) for name in modules() if matches(name, PURE) and not matches(name, NOT_PURE)]
    assert {"sluiceway", "sluiceway.core.verdict", "sluiceway.config.load"} <= set(names)
    assert first_importers(names) == {}


# Words that ask the catalog or a table: nobody should wait seconds for engines that they do not need.
QUICK = {"cli/data.py": {"ray", "mlflow", "xgboost"}, "cli/rollout.py": {"ray", "mlflow", "xgboost", "deltalake"}}
QUICK |= {"cli/monitor.py": {"ray", "mlflow", "xgboost"}, "cli/models.py": {"ray", "xgboost"}}
QUICK |= {"cli/keys.py": {"ray", "mlflow", "xgboost", "deltalake"}}


@pytest.mark.parametrize("name", QUICK)
def test_words_that_only_ask_load_no_engine_in_vain(name: str) -> None:
    assert set(first_importers([dotted(name)])) & QUICK[name] == set()


def test_the_probe_sees_an_engine_that_is_loaded() -> None:
    assert first_importers(["sluiceway.core.verdict", "sluiceway.catalog.schema"]) == {
        "sqlalchemy": "sluiceway.catalog.schema"
    }
