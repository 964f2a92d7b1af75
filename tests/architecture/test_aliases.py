"""The registry's aliases say what serves: only what moves the traffic moves them."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "platform" / "sluiceway"
MOVES = {"set_alias", "remove_alias", "promote", "set_registered_model_alias", "delete_registered_model_alias"}
# A rollout's effects, also where it is aborted by hand; a switch or an undo by hand, which moves the same traffic;
# and the registry itself.
ALLOWED = {
    "lifecycle/rollout_aliases.py",
    "lifecycle/deployment.py",
    "cli/serve_traffic.py",
    "registry/mlflow_registry.py",
}


def movers() -> set[str]:
    """Modules in which a method of such a name is named."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in MOVES
    }


def test_aliases_move_with_the_traffic_and_by_nothing_else() -> None:
    assert movers() == ALLOWED
