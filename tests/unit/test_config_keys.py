"""Every key of the configuration that users already have arrives where the code looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluiceway.config.base import Section
from sluiceway.config.load import load_settings
from sluiceway.config.settings import Settings

TRAIN_CONFIG = Path(__file__).resolve().parents[3] / "shared" / "train_config.yaml"


@pytest.fixture
def settings() -> Settings:
    if not TRAIN_CONFIG.exists():
        pytest.skip(f"{TRAIN_CONFIG.name} is not beside this checkout")
    return load_settings(TRAIN_CONFIG)


def test_the_file_loads_byte_for_byte_and_every_key_has_its_meaning(settings: Settings) -> None:
    assert (settings.experiment.name, settings.experiment.seed, settings.experiment.framework) == (
        "fraud_detection_v3",
        42,
        "xgboost",
    )
    assert (settings.data.version, settings.data.path) == ("v2.1", "s3://ml-data/training/fraud_v2.1/")
    assert settings.data.features == (
        "transaction_amount",
        "time_since_last_transaction",
        "merchant_category",
        "user_transaction_count_24h",
    )
    assert settings.data.target == "is_fraud"
    split = settings.data.split
    assert (split.train, split.validation, split.test) == (0.7, 0.15, 0.15)
    assert settings.model.type == "XGBClassifier"
    assert settings.model.params == {
        "n_estimators": 500,
        "max_depth": 8,
        "learning_rate": 0.01,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "min_child_weight": 3,
        "gamma": 0.1,
        "reg_alpha": 0.1,
        "reg_lambda": 1.0,
    }
    training = settings.training
    assert (training.early_stopping_rounds, training.eval_metric, training.verbose) == (50, "auc", 100)
    assert settings.evaluation.metrics == ("auc_roc", "precision", "recall", "f1_score")
    assert settings.evaluation.thresholds == {"auc_roc": 0.95, "precision": 0.9, "recall": 0.85}
    fairness = settings.evaluation.fairness
    assert (fairness.protected_attributes, fairness.max_disparity) == (("age_group", "gender"), 0.1)
    assert (settings.deployment.strategy, settings.deployment.environments) == ("canary", ("staging", "production"))
    assert settings.deployment.rollback.enabled
    assert settings.deployment.rollback.accuracy_drop == pytest.approx(0.05)


def test_a_path_can_be_said_from_outside_without_touching_the_file() -> None:
    if not TRAIN_CONFIG.exists():
        pytest.skip(f"{TRAIN_CONFIG.name} is not beside this checkout")
    settings = load_settings(TRAIN_CONFIG, overrides=["data.path=/tables/fraud"])
    assert settings.data.path == "/tables/fraud"


def sections() -> list[type[Section]]:
    found: list[type[Section]] = []
    waiting = list(Section.__subclasses__())
    while waiting:
        section = waiting.pop()
        found.append(section)
        waiting += section.__subclasses__()
    # Contracts of tables are built of sections, too; their keys are a standard's and are described there.
    return [section for section in found if section.__module__.startswith("sluiceway.config.")]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_key_has_a_description_and_every_section_is_closed(section: type[Section]) -> None:
    undescribed = [name for name, field in section.model_fields.items() if not field.description]
    assert not undescribed
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"] is True
