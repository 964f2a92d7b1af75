"""The chosen threshold is as good as the best of all, found by trying."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, fbeta_score, precision_score, recall_score

from sluiceway.config.evaluation import ThresholdChoiceSection
from sluiceway.core.errors import DataError
from sluiceway.training.threshold import choose


def drawn(seed):
    random = np.random.default_rng(seed)
    labels = (random.random(200) < random.choice([0.05, 0.5, 0.9])).astype(np.float32)
    labels[:2] = (0, 1)
    scores = np.clip(random.normal(labels * random.choice([0.0, 0.3]) + 0.3, 0.3), 0, 1).astype(np.float32)
    return labels, np.round(scores, 1) if seed % 2 else scores  # many equal scores


def cost(false_positive, false_negative):
    def total(labels, decided):
        (_, alarms), (missed, _) = confusion_matrix(labels, decided, labels=[0, 1])
        return -(false_positive * alarms + false_negative * missed)

    return total


@pytest.mark.parametrize(
    ("choice", "metric"),
    [
        ({"strategy": "best_f1"}, lambda y, d: f1_score(y, d, zero_division=0)),
        ({"strategy": "best_fbeta", "beta": 0.3}, lambda y, d: fbeta_score(y, d, beta=0.3, zero_division=0)),
        ({"strategy": "best_fbeta", "beta": 3}, lambda y, d: fbeta_score(y, d, beta=3, zero_division=0)),
        ({"strategy": "best_accuracy"}, accuracy_score),
        ({"strategy": "lowest_cost", "false_positive_cost": 1, "false_negative_cost": 12.5}, cost(1, 12.5)),
        ({"strategy": "lowest_cost", "false_positive_cost": 7, "false_negative_cost": 1}, cost(7, 1)),
        ({"strategy": "lowest_cost", "false_positive_cost": 0, "false_negative_cost": 1}, cost(0, 1)),
        ({"strategy": "lowest_cost", "false_positive_cost": 1, "false_negative_cost": 0}, cost(1, 0)),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_no_other_threshold_is_better(choice, metric, seed):
    labels, scores = drawn(seed)
    threshold = choose(labels, scores, ThresholdChoiceSection(**choice))
    tried = [metric(labels, scores >= t) for t in (*np.unique(scores), 2)]
    assert metric(labels, scores >= threshold) == pytest.approx(max(tried))


@pytest.mark.parametrize("recall", [0.01, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_threshold_of_that_recall_is_more_precise(recall, seed):
    labels, scores = drawn(seed)
    threshold = choose(labels, scores, ThresholdChoiceSection(strategy="precision_at_recall", recall=recall))
    decided = scores >= threshold
    assert recall_score(labels, decided) >= recall
    tried = [
        precision_score(labels, scores >= t) for t in np.unique(scores) if recall_score(labels, scores >= t) >= recall
    ]
    assert precision_score(labels, decided) == pytest.approx(max(tried))


def test_every_recall_can_be_reached():
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.1, 0.3, 0.5, 0.7])
    choice = ThresholdChoiceSection(strategy="precision_at_recall", recall=1.0)
    assert choose(labels, scores, choice) == pytest.approx(0.05)
    equal = np.full(4, 0.25)
    assert 0 < choose(labels, equal, choice) <= 0.25
    # 0.7 * 10 is a little above 7 in floating point; 7 of 10 are a recall of 0.7 all the same.
    ten, falling = np.repeat([1, 0], [10, 5]), np.concatenate([np.linspace(0.9, 0.6, 7), [0.1, 0.1, 0.1], [0.2] * 5])
    assert 0.2 < choose(ten, falling, ThresholdChoiceSection(strategy="precision_at_recall", recall=0.7)) <= 0.6


def test_a_dear_miss_lowers_the_threshold_and_a_dear_alarm_raises_it():
    random = np.random.default_rng(1)
    scores = random.random(500)
    labels = random.random(500) < scores
    chosen = [
        choose(
            labels,
            scores,
            ThresholdChoiceSection(strategy="lowest_cost", false_positive_cost=alarm, false_negative_cost=missed),
        )
        for alarm, missed in ((1, 20), (1, 1), (20, 1))
    ]
    assert chosen[0] < chosen[1] < chosen[2]
    equal = choose(labels, scores, ThresholdChoiceSection(strategy="best_accuracy"))
    assert chosen[1] == equal
    with pytest.raises(ValueError, match="a false_positive_cost or a false_negative_cost"):
        ThresholdChoiceSection(strategy="lowest_cost", false_positive_cost=0, false_negative_cost=0)


def test_fixed_and_impossible():
    assert choose(np.zeros(0), np.zeros(0), ThresholdChoiceSection(strategy="fixed", value=0.3)) == 0.3
    for labels in (np.zeros(0), np.zeros(5), np.ones(5)):
        for strategy in ("best_f1", "precision_at_recall", "lowest_cost"):
            with pytest.raises(DataError, match="threshold cannot be chosen"):
                choose(labels, np.full(len(labels), 0.5), ThresholdChoiceSection(strategy=strategy))


def test_a_threshold_lies_between_scores_not_on_one():
    assert choose(np.array([0, 1]), np.array([0.2, 0.6]), ThresholdChoiceSection()) == pytest.approx(0.4)
