"""The peers of serving: each in an environment of its own, started as its documentation says for production."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from serving_model import (
    MANY_BODIES,
    MANY_ROWS,
    Format,
    Model,
    array,
    invocations,
    native,
    open_inference,
    write_bodies,
)
from serving_wrk import Target, wait_until

from sluiceway.serving.environment import free_port

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".bench"
HOST = "127.0.0.1"
START_SECONDS = 90.0
STOP_SECONDS = 10.0
XGBOOST = "xgboost==3.2.0"


@dataclass(frozen=True)
class Peer:
    """Another model server.

    Attributes:
        name: as people know it.
        packages: pinned; () takes the environment of this project.
        command: of the environment; ``{port}``, ``{workers}``, ``{folder}`` and the like are filled in.
        path: that rows are posted to.
        form: of a request's body.
        scores: the scores of an answer.
        environment: variables.
        files: content by name, written into the peer's folder; the same words are filled in.
    """

    name: str
    packages: tuple[str, ...]
    command: str
    path: str
    form: Format
    scores: Callable[[Any], Sequence[float]]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


MLFLOW = Peer(
    "MLflow",
    ("mlflow==3.17.2", XGBOOST),
    "mlflow models serve -m {mlflow} --env-manager local -h {host} -p {port} --workers {workers}",
    "/invocations",
    invocations,
    lambda answer: answer["predictions"],
)
MLSERVER = Peer(
    "MLServer",
    # Its workers ask for an event loop that newer releases of uvloop do not make by themselves.
    ("mlserver==1.7.1", "mlserver-xgboost==1.7.1", "uvloop==0.21.0", XGBOOST),
    "mlserver start {folder}",
    "/v2/models/late/infer",
    open_inference,
    lambda answer: answer["outputs"][0]["data"],
    files={
        "settings.json": {
            "host": HOST,
            "http_port": "{port}",
            "grpc_port": "{port2}",
            "metrics_port": "{port3}",
            "parallel_workers": "{workers}",
            "debug": False,
        },
        "model-settings.json": {
            "name": "late",
            "implementation": "mlserver_xgboost.XGBoostModel",
            "parameters": {"uri": "{ubj}"},
        },
    },
)
BENTOML = Peer(
    "BentoML",
    ("bentoml==1.4.40", XGBOOST),
    "bentoml serve serving_bento:Late --working-dir {here} --host {host} --port {port}",
    "/predict",
    array,
    lambda answer: answer,
    {"WORKERS": "{workers}", "MODEL": "{ubj}", "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": "{folder}"},
)
STARLETTE = Peer(
    "Starlette",
    (),
    "uvicorn serving_starlette:app --app-dir {here} --host {host} --port {port} --workers {workers} "
    "--loop uvloop --http httptools --no-access-log --log-level warning",
    "/predict",
    native,
    lambda answer: answer["scores"],
    {"MODEL": "{ubj}"},
)
PLATFORMS = (MLFLOW, MLSERVER, BENTOML)


@dataclass
class Running:
    """A peer that answers.

    Attributes:
        peer: who.
        url: of its host and port.
        process: its first one.
        one: one row a request.
        many: ``MANY_ROWS`` rows a request.
    """

    peer: Peer
    url: str
    process: subprocess.Popen[bytes]
    one: Target
    many: Target


def installed(peer: Peer) -> Path:
    """The ``bin`` folder of a peer's environment, which is made the first time.

    Raises:
        RuntimeError: its packages cannot be installed.
    """
    if not peer.packages:
        return Path(sys.executable).parent
    folder = ENVIRONMENTS / peer.name.lower()
    marker = folder / "made"
    if not marker.exists() or marker.read_text() != "\n".join(peer.packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        command = [str(folder / "bin" / "pip"), "install", "-q", "-q", "--disable-pip-version-check", *peer.packages]
        # What pip says names the place that packages come from, which is nobody's business here.
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{peer.name} cannot be installed here: pip ended with {done.returncode}")
        marker.write_text("\n".join(peer.packages))
    return folder / "bin"


@contextlib.contextmanager
def running(peer: Peer, model: Model, folder: Path, *, workers: int) -> Iterator[Running]:
    """Start a peer, check that it gives the model's scores, and end it afterwards.

    Args:
        peer: who.
        model: what it serves.
        folder: for its files, its log and the bodies of its requests; made here.
        workers: processes that score.

    Raises:
        RuntimeError: it cannot be installed, or gives other scores.
        TimeoutError: it does not answer.
    """
    binaries = installed(peer)
    folder.mkdir(parents=True, exist_ok=True)
    ports = [str(free_port(HOST)) for _ in range(3)]
    words = {"port": ports[0], "port2": ports[1], "port3": ports[2], "workers": str(workers), "folder": str(folder)}
    words |= {"ubj": str(model.ubj), "mlflow": str(model.mlflow), "here": str(HERE), "host": HOST}
    for name, document in peer.files.items():
        (folder / name).write_text(_filled(json.dumps(document), words))
    # A thread team of each process would fight the others for the cores; it makes every peer slower.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | {k: _filled(v, words) for k, v in peer.environment.items()}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"
    environment.pop("PYTHONPATH", None)
    program, *arguments = (_filled(word, words) for word in peer.command.split())
    url = f"http://{HOST}:{ports[0]}{peer.path}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(binaries / program), *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_right(peer, model, url, process, folder)
        one, many = (_target(peer, url, process, folder, rows) for rows in (1, MANY_ROWS))
        yield Running(peer, url, process, one, many)
    finally:
        _end(process)


def _target(peer: Peer, url: str, process: subprocess.Popen[bytes], folder: Path, rows: int) -> Target:
    bodies = folder / f"bodies-{rows}"
    if rows == 1:
        write_bodies(bodies, peer.form)
    else:
        write_bodies(bodies, peer.form, rows=rows, count=MANY_BODIES)
    return Target(peer.name, url, bodies, rows=rows, processes=lambda: [process.pid])


def check_scores(name: str, given: Sequence[float], expected: np.ndarray) -> None:
    """Refuse to compare servers that do not do the same work.

    Raises:
        RuntimeError: the scores are others than the model's.
    """
    apart = np.abs(np.asarray(given, dtype=np.float64).reshape(-1) - expected)
    if len(apart) != len(expected) or not (apart <= 1e-6).all():
        raise RuntimeError(f"{name} gives other scores than the model: {given[:3]} for {expected[:3]}")


def _wait_right(peer: Peer, model: Model, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    rows = np.array([[0.5, -1.25, 0.0, 2.0, 0.1, -0.3, 1.5, -2.0, 0.75, 0.01], [0.1] * 10], dtype=np.float32)
    answers: list[Any] = []

    def answered() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{peer.name} has ended: {(folder / 'log').read_text()[-2000:]}")
        try:
            response = httpx.post(
                url, content=peer.form(rows), headers={"Content-Type": "application/json"}, timeout=10
            )
        except httpx.HTTPError:
            return False
        if response.status_code == 200:
            answers.append(response.json())
        return bool(answers)

    wait_until(answered, seconds=START_SECONDS, what=f"{peer.name} does not answer, see {folder / 'log'},")
    check_scores(peer.name, peer.scores(answers[0]), model.scores(rows))


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    # Workers that outlive the first process are in its group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
