"""A configuration file that is wrong gives one error that lists everything, in the words of the file."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path

import pytest

from sluiceway.config.load import load_settings
from sluiceway.core.errors import ConfigError

SMALLEST = """
experiment: {name: flights}
data: {path: /tables/flights, features: [distance, carrier], target: late}
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415 (only to clear what a developer may have set)

    for name in [n for n in os.environ if n.startswith("SLUICEWAY_")]:
        monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def problems(folder: Path, text: str, *overrides: str) -> tuple[str, ...]:
    """The problems of a file, without the file's name in front."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides=overrides)
    assert caught.value.exit_code == 2
    assert all(problem.startswith((f"{path}: ", "--set ", "SLUICEWAY_")) for problem in caught.value.problems)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return tuple(problem.removeprefix(f"{path}: ") for problem in caught.value.problems)


def test_the_smallest_file_loads_with_documented_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, SMALLEST))
    assert settings.training.folds == 5
    assert settings.data.split.train == 0.7
    assert [step.weight for step in settings.deployment.steps] == [0.05, 0.25, 0.5, 1.0]
    assert settings.lifecycle == ()


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("trainig: {folds: 3}", "trainig: unknown key; did you mean 'training'?"),
        ("training: {fold: 3}", "training.fold: unknown key; did you mean 'folds'?"),
        (
            "deployment: {replay: {conections: 3}}",
            "deployment.replay.conections: unknown key; did you mean 'connections'?",
        ),
        (
            "deployment: {steps: [{weight: 0.5, max_second: 3}, {weight: 1}]}",
            "deployment.steps[0].max_second: unknown key; did you mean 'max_seconds'?",
        ),
        (
            "lifecycle: [{step: ingest, source: nycflights13, months: [1], tagg: x}]",
            "lifecycle[0].tagg: unknown key; did you mean 'tag'?",
        ),
        (
            "lifecycle: [{step: restore, ref: h1}, {step: release, name: a, expct: blocked}]",
            "lifecycle[1].expct: unknown key; did you mean 'expect'?",
        ),
        (
            "lifecycle: [{step: release, name: a, replay: {max_request: 3}}]",
            "lifecycle[0].replay.max_request: unknown key; did you mean 'max_requests'?",
        ),
        (
            "lifecycle: [{step: release, name: a, waivers: "
            "[{gates: [fairness], owner: o, reason: r, expires: 2030-01-01, expire: 1}]}]",
            "lifecycle[0].waivers[0].expire: unknown key; did you mean 'expires'?",
        ),
        (
            "evaluation: {waivers: [{gates: [fairness], ownr: o, owner: o, reason: r, expires: 2030-01-01}]}",
            "evaluation.waivers[0].ownr: unknown key; did you mean 'owner'?",
        ),
        ("platform: {serving: {prt: 1}}", "platform.serving.prt: unknown key; did you mean 'port'?"),
    ],
)
def test_a_misspelt_key_is_named_where_it_stands(tmp_path: Path, addition: str, expected: str) -> None:
    assert problems(tmp_path, SMALLEST + addition) == (expected,)


def test_a_key_like_no_other_gets_the_list_of_its_siblings(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + "deployment: {rollback: {zzz: 1}}")
    assert problem == "deployment.rollback.zzz: unknown key; known here: enabled, trigger"


@pytest.mark.parametrize(
    ("addition", "location", "part"),
    [
        ("training: {folds: many}", "training.folds", "(given: 'many')"),
        ("training: {workers: some}", "training.workers", "(given: 'some')"),
        ("training: {workers: 0}", "training.workers", "at least 1, or auto (given: 0)"),
        ("deployment: {steps: [{weight: heavy}]}", "deployment.steps[0].weight", "(given: 'heavy')"),
        ("deployment: {steps: [{weight: 0.5}]}", "deployment.steps", "rise and end with 1"),
        ("deployment: {steps: [{weight: 1}]}", "deployment.steps", "leaves the champion no requests to compare with"),
        ("deployment: {replay: {where: {month: [1]}}}", "deployment.replay.where.month", "valid"),
        ("deployment: {rollback: {trigger: often}}", "deployment.rollback.trigger", "accuracy_drop > 5%"),
        ("deployment: {rollback: {trigger: accuracy_drop > 1.2.3%}}", "deployment.rollback.trigger", "of the form"),
        ("deployment: {rollback: {trigger: accuracy_drop > .%}}", "deployment.rollback.trigger", "of the form"),
        ("deployment: {rollback: {trigger: accuracy_drop > 0.0%}}", "deployment.rollback.trigger", "less than 100%"),
        ("deployment: {rollback: {trigger: accuracy_drop > 500%}}", "deployment.rollback.trigger", "less than 100%"),
        ("evaluation: {thresholds: {auc_roc: high}}", "evaluation.thresholds.auc_roc", "(given: 'high')"),
        ("evaluation: {fairness: {severity: stop}}", "evaluation.fairness.severity", "(given: 'stop')"),
        ("platform: {aliases: {a: 3}}", "platform.aliases.a", "(given: 3)"),
        ("lifecycle: [{step: ingest, source: nycflights13, months: [x]}]", "lifecycle[0].months[0]", "(given: 'x')"),
        ("lifecycle: [{step: ingst}]", "lifecycle[0]", "'ingst'"),
        ("lifecycle: [{step: release, name: a, because: fairness}]", "lifecycle[0]", "because needs expect"),
        ("deployment: {environments: production}", "deployment.environments", "has to be a list (given: 'production')"),
        ("deployment: {environments: []}", "deployment.environments", "needs at least one entry"),
        ("platform: {aliases: {a: 3}}", "platform.aliases.a", "has to be text"),
        ("model: 3", "model", "mapping"),
        ("training:", "training", "mapping"),
        ("evaluation: {thresholds: {auc_roc: .nan}}", "evaluation.thresholds.auc_roc", "finite"),
        ("evaluation: {champion: {margins: {auc_roc: .inf}}}", "evaluation.champion.margins.auc_roc", "finite"),
        ("evaluation: {data_quality: {max_drift: .inf}}", "evaluation.data_quality.max_drift", "finite"),
        ("evaluation: {robustness: {noise_stds: [-1]}}", "evaluation.robustness.noise_stds", "above 0"),
    ],
)
def test_a_wrong_value_is_named_where_it_stands(tmp_path: Path, addition: str, location: str, part: str) -> None:
    listed = problems(tmp_path, SMALLEST + addition)
    mine = [problem for problem in listed if problem.startswith(f"{location}: ")]
    assert len(mine) == 1, listed
    assert part in mine[0]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    listed = problems(
        tmp_path,
        """
        experiment: {name: "no spaces please"}
        data: {features: [a, a], target: a, split: {train: 0.5}}
        training: {folds: 1, eval_metrc: auc}
        """,
    )
    assert {problem.split(": ", 1)[0] for problem in listed} == {
        "experiment.name",
        "data.path",
        "data.features",
        "data.split",
        "training.folds",
        "training.eval_metrc",
    }


def test_a_target_among_the_features_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "experiment: {name: a}\ndata: {path: p, features: [a, b], target: a}")
    assert problem == "data: the target 'a' is among the features"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("training: {folds: 3, folds: 4}", "the key 'folds' stands twice"),
        ("training: {folds: 3}\ntraining: {max_bin: 4}", "the key 'training' stands twice"),
        ("training: [", "line 1, column 12"),
        ("? [a, b]\n: c", "a key has to be a word"),
        ("just text", "holds no mapping"),
        ("", "holds no mapping"),
        ("evaluation: {waivers: [{expires: 2026-13-01}]}", "2026-13-01 is no date"),
        ("experiment: {seed: 0b_}", "0b_ is no number"),
    ],
)
def test_text_that_is_no_configuration(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError, match="config") as caught:
        load_settings(write(tmp_path, text))
    assert part in str(caught.value)


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_settings(tmp_path / "missing.yaml")
    assert "sluiceway init" in (caught.value.hint or "")


def test_a_folder_and_bytes_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load_settings(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(tmp_path / "bytes.yaml")


def test_an_override_wins_over_the_environment_which_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, SMALLEST + "training: {folds: 3, max_bin: 16, early_stopping_rounds: 5}")
    monkeypatch.setenv("SLUICEWAY_TRAINING__MAX_BIN", "32")
    monkeypatch.setenv("SLUICEWAY_TRAINING__FOLDS", "7")
    settings = load_settings(path, overrides=["training.folds=9", "training.early_stopping_rounds=null"])
    assert (settings.training.folds, settings.training.max_bin) == (9, 32)
    assert settings.training.early_stopping_rounds is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.folds", "--set training.folds: not KEY=VALUE; for example --set data.path=data/fraud"),
        ("training.fods=3", "--set training.fods=3: training.fods: unknown key; did you mean 'folds'?"),
        ("data.path.deeper=3", "--set data.path.deeper=3: data.path.deeper is not below a section"),
        (
            "experiment.seed=-1",
            "--set experiment.seed=-1: experiment.seed: Input should be greater than or equal to 0 (given: -1)",
        ),
    ],
)
def test_a_wrong_override_is_named_as_such(tmp_path: Path, override: str, expected: str) -> None:
    assert problems(tmp_path, SMALLEST, override) == (expected,)


def test_a_value_that_is_no_yaml_is_named_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICEWAY_TRAINING__FOLDS", "[1")
    listed = problems(tmp_path, SMALLEST, "training.max_bin={")
    assert [problem.split(": ")[0] for problem in listed] == [
        "SLUICEWAY_TRAINING__FOLDS",
        "--set training.max_bin={",
    ]
    assert all("not YAML" in problem for problem in listed)
    (no_date,) = problems(tmp_path, SMALLEST, "experiment.name=2026-13-01")[1:]
    assert no_date.startswith("--set experiment.name=2026-13-01: the value is not YAML")


def test_a_key_that_yaml_takes_for_a_truth_is_the_word_that_it_is(tmp_path: Path) -> None:
    text = """
        experiment: {name: flights}
        data: {path: t, features: [a], target: b}
        deployment:
          hooks: [{on: [promoted], command: "true"}]
        platform:
          hooks: [{on: [pre-merge], branch: main, gate: data_quality}]
    """
    settings = load_settings(write(tmp_path, text))
    assert [hook.on for hook in settings.deployment.hooks] == [("promoted",)]
    assert [hook.on for hook in settings.platform.hooks] == [("pre-merge",)]


def test_anchors_and_merges_of_yaml_work(tmp_path: Path) -> None:
    text = """
    experiment: {name: flights}
    data: {path: p, features: [a], target: b}
    deployment:
      steps:
        - &step {weight: 0.5, max_seconds: 30}
        - {<<: *step, weight: 1}
    """
    assert load_settings(write(tmp_path, text)).deployment.steps[1].max_seconds == 30


def test_the_error_survives_pickling_with_its_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, SMALLEST + "traning: {}"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems
    assert str(again) == str(caught.value)


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        settings.training.folds = 3  # type: ignore[misc]
