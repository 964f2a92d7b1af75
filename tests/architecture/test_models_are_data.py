"""What is served comes from UBJSON and JSON: nothing in its way can run what a file says."""

from __future__ import annotations

import ast
import pickle
import shutil
from pathlib import Path

import pytest

from serving_models import train_small
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import Arm
from sluiceway.registry import bundle
from sluiceway.serving.route import load_scorer

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "platform" / "sluiceway"
# What a model goes through from its file to an answer.
WAY_OF_A_MODEL = sorted(
    [*PACKAGE.glob("serving/**/*.py"), *PACKAGE.glob("features/**/*.py"), *PACKAGE.glob("registry/bundle.py")]
)
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def imported(path: Path) -> set[str]:
    """First names of everything that a module imports, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {part for name in found for part in name.split(".")}


def loaders(path: Path) -> list[str]:
    """Calls that could run what they read: ``eval``, ``exec``, and ``numpy.load`` with ``allow_pickle``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("eval", "exec") or any(keyword.arg == "allow_pickle" for keyword in node.keywords):
            found.append(f"line {node.lineno}")
    return found


@pytest.mark.parametrize("path", WAY_OF_A_MODEL, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_in_the_way_of_a_model_unpickles(path: Path) -> None:
    assert imported(path) & UNPICKLERS == set()
    assert loaders(path) == []


class Payload:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def attack(tmp_path: Path) -> tuple[bytes, Path]:
    trace = tmp_path / "was here"
    content = pickle.dumps(Payload(trace))
    pickle.loads(content)
    assert trace.exists(), "the pickle does what it is for"
    trace.unlink()
    return content, trace


def forged(folder: Path, content: bytes) -> Arm:
    """A bundle whose booster is something else and that is right otherwise, digest and all, as who registers it is."""
    small = train_small(folder, seed=1)
    (small.folder / "model.ubj").write_bytes(content)
    files = {name: (small.folder / name).read_bytes() for name in bundle.FILES}
    return Arm("9", 1.0, str(small.folder), bundle.files_digest(files))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_in_place_of_the_booster_is_refused(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "was here"
    arm = forged(tmp_path, pickle.dumps(Payload(trace), protocol=protocol))
    with pytest.raises(ModelError, match="the model is not UBJSON"):
        load_scorer(arm)
    with pytest.raises(ModelError, match="the model is not UBJSON"):
        bundle.read(arm.bundle)
    assert not trace.exists()


def test_a_pickle_that_begins_like_a_booster_is_refused(tmp_path: Path, attack) -> None:
    content, trace = attack
    booster = train_small(tmp_path / "other", seed=1).bundle.model
    for name, forgery in (("two bytes", b"{L" + content), ("more", booster[:200] + content)):
        with pytest.raises(ModelError, match="no booster"):
            load_scorer(forged(tmp_path / name, forgery))
    assert not trace.exists()


def test_a_pickle_that_was_put_over_the_booster_is_refused_by_its_digest(tmp_path: Path, attack) -> None:
    content, trace = attack
    small = train_small(tmp_path, seed=1)
    (small.folder / "model.ubj").write_bytes(content)
    with pytest.raises(ModelError, match="digest"):
        load_scorer(small.arm("1", 1.0))
    assert not trace.exists()


def test_a_pickle_beside_or_instead_of_the_booster_is_no_bundle(tmp_path: Path, attack) -> None:
    content, trace = attack
    small = train_small(tmp_path, seed=1)
    for name in ("model.pkl", "model.joblib"):
        folder = tmp_path / name
        shutil.copytree(small.folder, folder)
        (folder / "model.ubj").unlink()
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.ubj is missing"):
            bundle.read(folder)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["schema.json", "decision.json", "lineage.json"])
def test_a_pickle_in_place_of_a_document_is_refused(tmp_path: Path, attack, name: str) -> None:
    content, trace = attack
    small = train_small(tmp_path, seed=1)
    (small.folder / name).write_bytes(content)
    with pytest.raises(ModelError):
        bundle.read(small.folder)
    assert not trace.exists()
