"""The loop as a Ray job, on a cluster that has the dependencies but has never heard of this package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable
from ray._private.runtime_env.packaging import create_package  # what `ray job submit` packs with

from ray_head import Head, free_ports, running_head
from sluiceway.data.commit import append

pytestmark = pytest.mark.integration

UPLOAD_LIMIT = 5_000_000
ROWS = 6_000


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that sees what is installed here, but not the editable install of this package."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    found = Path(sysconfig.get_path("purelib"))
    # A folder that a .pth file adds is searched; the .pth files inside it, an editable install's too, are not read.
    inside = folder / found.relative_to(Path(sys.prefix))
    (inside / "dependencies.pth").write_text(f"{found}\n")
    interpreter = folder / "bin" / "python"
    seen = [_finds(interpreter, name) for name in ("ray", "sluiceway")]
    assert seen == [True, False]
    return interpreter


def _finds(interpreter: Path, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([interpreter, "-I", "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def working_copy(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout that git knows, beside what a used checkout holds and no cluster needs."""
    folder = tmp_path_factory.mktemp("copy") / "sluiceway"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    for name in (".venv/lib/big.so", ".sluiceway/bundles/model.ubj", "data/fraud/part-0.parquet", ".bench/peer/x.so"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(np.random.default_rng(0).bytes(UPLOAD_LIMIT))
    return folder


@pytest.fixture(scope="module")
def head(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    more = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin"}
    with running_head(tmp_path_factory.mktemp("head"), python=python, dashboard=True, more=more) as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What outlives the job: a table, the state, and a configuration that names both."""
    folder = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(0)
    income, debt = rng.normal(50, 15, ROWS), rng.gamma(2.0, 8.0, ROWS)
    defaulted = (debt - 0.3 * income + rng.normal(0, 4, ROWS) > 4).astype("int8")
    branch = rng.choice(["n", "s"], ROWS)
    rows = pa.table({"income": income, "debt": debt, "branch": branch, "defaulted": defaulted})
    append(str(folder / "loans"), rows, message="first quarter", source="bank")
    return folder


def job_config(place: Path, workers: int | str) -> dict[str, object]:
    return {
        "experiment": {"name": f"loans-{workers}"},
        "data": {"path": str(place / "loans"), "features": ["income", "debt", "branch"], "target": "defaulted"},
        "model": {"params": {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3}},
        "training": {"folds": 2, "early_stopping_rounds": 5, "workers": workers},
        "evaluation": {"thresholds": {"auc_roc": 0.8}},
        "platform": {"serving": {"port": free_ports(1)[0]}},
    }


# Two workers: through Ray Train, whose controller and workers are processes of their own.
@pytest.fixture(scope="module", params=["auto", 2])
def submitted(
    request: pytest.FixtureRequest, head: Head, python: Path, working_copy: Path, place: Path
) -> subprocess.CompletedProcess[str]:
    (working_copy / "jobs/configs/loans.yaml").write_text(yaml.safe_dump(job_config(place, request.param)))
    job = f"python jobs/lifecycle.py --config jobs/configs/loans.yaml --set platform.state={place / 'state'}"
    return submit(job, head, python, working_copy)


def submit(job: str, head: Head, python: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"job submit --address {head.dashboard} --working-dir . --"
    return subprocess.run(
        [python, "-m", "ray.scripts.scripts", *command.split(), *job.split()],
        cwd=folder,
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.soak  # `test_readme_session.py` does the same on a cluster without submitting
@pytest.mark.timeout(500)
def test_a_submitted_job_trains_judges_registers_and_serves(submitted, place):
    told = submitted.stdout + submitted.stderr
    assert submitted.returncode == 0, told[-6000:]
    assert "every step ended as expected" in told, told[-6000:]
    assert re.search(r"loans-\w+ version 1", told)
    assert (place / "state/catalog.db").is_file()


@pytest.mark.soak
def test_the_endpoint_outlives_the_job(submitted, place):
    assert submitted.returncode == 0
    body = json.dumps({"rows": [{"income": 20.0, "debt": 60.0, "branch": "n"}]}).encode()
    request = urllib.request.Request(f"{_endpoint(submitted)}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.load(response)
    assert answer["version"] == "1"
    assert answer["predictions"][0]["decision"] == 1


@pytest.mark.soak
@pytest.mark.timeout(500)
def test_a_submitted_job_scores_the_table_beside_the_endpoint(submitted, head, python, working_copy, place):
    model = re.search(r"(loans-\w+) version 1", submitted.stdout + submitted.stderr)[1]
    config = {**job_config(place, "auto"), "platform": {"state": str(place / "state")}}
    (working_copy / "jobs/configs/scores.yaml").write_text(yaml.safe_dump(config))
    scores = place / f"{model}-scores"
    words = f"{place / 'loans'} --model {model}@champion --to {scores} --keep income --config jobs/configs/scores.yaml"
    done = submit(f"python jobs/batch_score.py {words}", head, python, working_copy)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found = DeltaTable(str(scores)).to_pyarrow_table()
    assert found.num_rows == ROWS
    assert found["model_version"].unique().to_pylist() == ["1"]


def _endpoint(submitted: subprocess.CompletedProcess[str]) -> str:
    return re.findall(r"endpoint: (http://\S+)", submitted.stdout)[-1]


def test_what_is_uploaded_is_small_and_holds_no_tests(working_copy, tmp_path):
    package = tmp_path / "package.zip"
    create_package(str(working_copy), package, include_gitignore=True)
    assert package.stat().st_size < UPLOAD_LIMIT
    names = ZipFile(package).namelist()
    assert {"jobs/lifecycle.py", "jobs/batch_score.py"} <= set(names)
    assert "platform/sluiceway/__init__.py" in names
    unwanted = ("tests/", ".venv/", "data/", ".sluiceway/", ".bench/")
    assert [name for name in names if name.startswith(unwanted) and not name.endswith("/")] == []
