"""The chosen threshold is as good as the best of all, found by trying."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from sluiceway.config.evaluation import ThresholdChoiceSection
from sluiceway.core.errors import DataError
from sluiceway.training.threshold import choose


@pytest.mark.parametrize(("strategy", "metric"), [("best_f1", f1_score), ("best_accuracy", accuracy_score)])
@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_is_better(strategy, metric, seed):
    random = np.random.default_rng(seed)
    labels = (random.random(200) < random.choice([0.05, 0.5, 0.9])).astype(np.float32)
    labels[:2] = (0, 1)
    scores = np.clip(random.normal(labels * random.choice([0.0, 0.3]) + 0.3, 0.3), 0, 1).astype(np.float32)
    if seed % 2:
        scores = np.round(scores, 1)  # many equal scores
    threshold = choose(labels, scores, ThresholdChoiceSection(strategy=strategy))
    tried = [
        metric(labels, scores >= t, **({"zero_division": 0} if metric is f1_score else {}))
        for t in (*np.unique(scores), 2)
    ]
    assert metric(labels, scores >= threshold) == pytest.approx(max(tried))


def test_fixed_and_impossible():
    assert choose(np.zeros(0), np.zeros(0), ThresholdChoiceSection(strategy="fixed", value=0.3)) == 0.3
    for labels in (np.zeros(0), np.zeros(5), np.ones(5)):
        with pytest.raises(DataError, match="threshold cannot be chosen"):
            choose(labels, np.full(len(labels), 0.5), ThresholdChoiceSection())


def test_a_threshold_lies_between_scores_not_on_one():
    assert choose(np.array([0, 1]), np.array([0.2, 0.6]), ThresholdChoiceSection()) == pytest.approx(0.4)
