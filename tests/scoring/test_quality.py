"""Measures of quality agree with scikit-learn, with a bootstrap, and with cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from personalization.stages.scoring.quality import auc_gain, calibration, measure, quality_table
from tests.scoring.shop import AS_OF


@pytest.fixture(scope="module")
def judged():
    """Outcomes with a good and a weaker prediction, both rounded so that there are ties."""
    rng = np.random.default_rng(3)
    signal = rng.normal(size=600)
    purchased = (rng.random(600) < 1 / (1 + np.exp(-2 * signal))).astype(np.int8)

    def prediction(noise: float) -> np.ndarray:
        return (1 / (1 + np.exp(-(signal + noise * rng.normal(size=600))))).round(2)

    return purchased, prediction(0.3), prediction(1.5)


def test_measures_equal_those_of_scikit_learn(judged):
    purchased, good, _ = judged
    row = measure("m", "outcome", AS_OF, purchased, good, chosen=True)
    assert row.roc_auc == pytest.approx(roc_auc_score(purchased, good), abs=1e-12)
    assert row.brier == pytest.approx(brier_score_loss(purchased, good), abs=1e-12)
    assert row.log_loss == pytest.approx(log_loss(purchased, good), abs=1e-9)
    assert (row.n, row.base_rate) == (600, purchased.mean())


def test_interval_of_the_gain_is_that_of_a_bootstrap(judged):
    purchased, good, weak = judged
    gain, low, high = auc_gain(purchased, good, weak)
    assert gain == pytest.approx(roc_auc_score(purchased, good) - roc_auc_score(purchased, weak), abs=1e-12)
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(400):
        index = rng.integers(0, 600, 600)
        draws.append(auc_gain(purchased[index], good[index], weak[index])[0])
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.012)


def test_no_difference_has_an_empty_interval_around_zero(judged):
    purchased, good, _ = judged
    assert auc_gain(purchased, good, good) == (0, 0, 0)


@pytest.mark.parametrize("everybody", [0, 1])
def test_without_both_outcomes_there_is_no_roc_auc(everybody):
    purchased = np.full(5, everybody, dtype=np.int8)
    row = measure("m", "outcome", AS_OF, purchased, np.full(5, 0.5), chosen=True, recency=np.full(5, 0.4))
    assert row.roc_auc is None
    assert row.auc_gain is None
    assert row.log_loss == pytest.approx(np.log(2))
    assert "| outcome 2024-06-02 | m | 5 |  |  | 0.250 |" in quality_table([row])


def test_a_certain_prediction_that_was_wrong_has_a_finite_log_loss():
    row = measure("m", "outcome", AS_OF, np.array([1, 0]), np.array([0.0, 1.0]), chosen=True)
    assert np.isfinite(row.log_loss)


def test_calibration_groups_have_equal_sizes_from_low_to_high():
    groups = calibration(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8]), groups=2)
    assert [(group.customers, group.predicted, group.observed) for group in groups] == [
        (2, pytest.approx(0.2), 0.0),
        (2, pytest.approx(0.7), 1.0),
    ]


def test_fewer_customers_than_groups_is_one_customer_a_group():
    assert len(calibration(np.array([0, 1]), np.array([0.1, 0.3]))) == 2
