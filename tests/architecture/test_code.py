"""Size, docstrings and the places where the outside world is read, over every module of the package and the jobs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "platform" / "sluiceway"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(REPOSITORY / "jobs").glob("*.py")])

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


def lines_without_docstring(function: Function) -> int:
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function, clean=False) is not None else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Public functions, classes and their public methods; what is inside a function is nobody else's business."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{owner}{node.name}.")


@each_module
def test_a_module_is_short_and_its_functions_are(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: n for f in functions if (n := lines_without_docstring(f)) > MAX_FUNCTION_LINES}
    assert long == {}


@each_module
def test_everything_public_has_a_docstring(path: Path) -> None:
    module_text = ast.get_docstring(tree(path))
    is_empty_marker = path.name == "__init__.py" and not tree(path).body
    assert module_text or is_empty_marker, "the module has none"
    assert [name for name, node in public(tree(path).body) if not ast.get_docstring(node)] == []


@each_module
def test_the_environment_is_read_in_few_places_only(path: Path) -> None:
    if name_of(path) in ("config/load.py", "wiring/context.py", "wiring/cluster.py"):
        return
    reads = [
        f"line {node.lineno}"
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"environ", "getenv"}
        )
    ]
    assert reads == []


@each_module
def test_errors_are_declared_in_one_tree(path: Path) -> None:
    if name_of(path) == "core/errors.py":
        return
    bases = {
        node.name: ast.unparse(base)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")  # private: caught where it is raised
        for base in node.bases
        if ast.unparse(base).endswith(("Error", "Exception"))
    }
    assert bases == {}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=name_of)
def test_a_package_says_what_belongs_in_it_and_nothing_else(path: Path) -> None:
    body = tree(path).body
    if path.parent == PACKAGE:
        return
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
    if path.parent.parent == PACKAGE:
        text = ast.get_docstring(tree(path)) or ""
        assert 3 <= len(text.splitlines()) <= 10
