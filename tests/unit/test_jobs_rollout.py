"""The job takes what the command takes, and hands it over."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import typer.main

from sluiceway.cli.rollout import app

JOB = Path(__file__).resolve().parents[2] / "jobs" / "rollout.py"


@pytest.fixture
def job():
    spec = importlib.util.spec_from_file_location("rollout_job", JOB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_job_has_every_option_of_the_command(job, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rollout.py", "--help"])
    with pytest.raises(SystemExit):
        job.main()
    told = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    start = typer.main.get_command(app).commands["start"]
    options = {name for one in start.params for name in one.opts if name.startswith("--")}
    assert options <= told


def test_flags_are_handed_over(job, monkeypatch):
    heard = []
    main = importlib.import_module("sluiceway.cli.main")
    monkeypatch.setattr(main, "run_command", lambda words: heard.append(words) or 0)
    monkeypatch.setattr(main, "end_orderly_when_terminated", lambda: None)
    monkeypatch.setattr(sys, "argv", ["rollout.py", "m@3", "--config", "c.yaml", "--ungated", "--detach"])
    assert job.main() == 0
    assert heard == [["rollout", "start", "m@3", "--config", "c.yaml", "--ungated", "--detach"]]
