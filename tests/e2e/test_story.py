"""The whole story with smaller months: from commits to a canaried model and back, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from command_line import sluiceway
from ray_head import clean_environment

pytestmark = pytest.mark.e2e

PROGRAM = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]


def small_story(repository: Path, folder: Path) -> Path:
    """The demo's configuration with three small parts of its months, few trees, and short steps."""
    document = yaml.safe_load((repository / "jobs/configs/flights.yaml").read_text())
    table, requests = str(folder / "tables/flights"), str(folder / "tables/requests")
    document["data"]["path"] = table
    document["platform"] = {"state": str(folder / "state"), "serving": {"port": 0}, "ray": {"num_cpus": 2}}
    document["model"]["params"] |= {"n_estimators": 25, "max_depth": 4, "learning_rate": 0.4}
    document["training"] |= {"folds": 3, "early_stopping_rounds": 5}
    document["evaluation"]["fairness"]["protected_attributes"] = ["origin"]
    document["evaluation"]["thresholds"] = {"auc_roc": 0.85}
    document["evaluation"]["data_quality"]["max_drift"] = 20.0  # a third month against two: the month itself
    document["deployment"]["steps"] = [{"weight": 0.3, "max_seconds": 90}, {"weight": 1.0, "max_seconds": 60}]
    document["deployment"]["margins"] |= {"error_rate": 0.05, "accuracy": 0.04}
    half = (1, 2, 3, 4, 5, 6)
    months = {half: [1, 2], (7, 8, 9): [3], (10, 11): [4], (*half, 7, 8, 9): [1, 2, 3]}
    for step in document["lifecycle"]:
        if "months" in step:
            step["months"] = months[tuple(step["months"])]
        if "table" in step:
            step["table"] = requests
        if "replay" in step:
            step["replay"] = {"path": requests, "where": {"month": 4}, "connections": 4}
    path = folder / "story.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def program(folder: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments, "--json"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def story(repository, tmp_path_factory):
    """The story, run to its end after it was killed once in the middle of a canary."""
    folder = tmp_path_factory.mktemp("story")
    config = small_story(repository, folder)
    _kill_in_the_first_canary(config, folder)
    done = program(folder, "run", str(config), timeout=900)
    assert done.stdout, done.stderr[-3000:]
    return folder, config, done.returncode, json.loads(done.stdout), done.stderr


def _kill_in_the_first_canary(config: Path, folder: Path) -> None:
    with (folder / "killed.log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, "run", str(config)],
            cwd=folder,
            env=clean_environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + 420
        while "rollout: version 2" not in (folder / "killed.log").read_text():
            assert process.poll() is None, (folder / "killed.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (folder / "killed.log").read_text()[-3000:]
            time.sleep(0.5)
        time.sleep(3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def step(story, name):
    return next(s for s in story[3]["steps"] if s["name"].endswith(name))


def test_every_step_ended_as_expected(story):
    _, _, code, summary, log = story
    assert code == 0, json.dumps(summary, indent=1)[-6000:] + log[-2000:]
    assert {s["status"] for s in summary["steps"]} == {"PASS"}


def test_the_killed_run_was_gone_on_with(story):
    reused = [s["name"] for s in story[3]["steps"] if s["reused"]]
    assert "01 ingest" in reused
    assert "02 first half year: train" in reused
    assert "02 first half year: production" in reused


def test_the_canary_promoted_on_evidence(story):
    headline = step(story, "three quarters: production")
    assert headline["headline"].startswith("promoted")
    lines = "\n".join(headline["details"])
    assert "accuracy PASS" in lines
    assert " 0 failed" in lines


def test_the_gates_named_the_broken_column(story):
    lines = "\n".join(step(story, "broken feed: gates")["details"])
    assert "dep_delay" in lines
    assert "data_quality" in lines


def test_the_waiver_is_printed_and_the_rollback_came_by_accuracy(story):
    assert any("WAIVED" in line and "demo" in line for line in step(story, "broken feed, waived: gates")["details"])
    assert step(story, "broken feed, waived: production")["headline"].startswith("rolled back on accuracy")


def test_the_faulty_deployment_went_back_on_errors_and_no_client_saw_one(story):
    found = step(story, "faulty deployment: production")
    assert found["headline"].startswith("rolled back on error_rate")
    assert " 0 failed, " in "\n".join(found["details"])


def test_the_report_says_it_in_a_page_that_needs_nothing_else(story):
    pages = list((story[0] / "state/reports").glob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        assert "<svg" in text
        assert "http://" not in text.replace("http://www.w3.org/", "")


def test_the_registry_tells_the_same(story):
    folder, config, *_ = story
    versions = {row["version"]: row for row in sluiceway(folder, "models", "list", "-c", str(config))}
    assert versions["2"]["aliases"] == ["champion"]
    assert versions["1"]["aliases"] == ["previous"]
    assert all("gates" in row for row in versions.values())


def test_predictions_and_outcomes_are_in_delta(story):
    folder, config, *_ = story
    rows = sluiceway(folder, "monitor", "status", "-c", str(config))
    assert sum(row["with_outcome"] for row in rows) > 500
    assert (folder / "state/records/flights_late-production/_delta_log").is_dir()


def test_a_second_run_tells_the_same_and_does_nothing(story):
    folder, config, *_ = story
    done = program(folder, "run", str(config))
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert all(s["reused"] for s in summary["steps"])
    assert "start Ray" not in done.stderr


def test_nothing_is_left_running(story):
    folder = story[0]
    found = subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
