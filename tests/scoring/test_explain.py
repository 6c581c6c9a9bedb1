"""Explanations are SHAP values: equal to those of the shap package, and they sum to the calibrated log-odds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personalization.as_of import AsOf
from personalization.program.models import Scoring
from personalization.stages.scoring.candidates import LINEAR, TREES
from personalization.stages.scoring.explain import contributions, top
from personalization.stages.scoring.inputs import FEATURES
from personalization.stages.scoring.training import train
from tests.scoring.shop import AS_OF, SIGNAL, make_rows


@pytest.fixture(scope="module")
def rows():
    return make_rows(size=300)


@pytest.fixture(scope="module")
def model(rows):
    return train(rows, Scoring(), AsOf(AS_OF))


@pytest.mark.parametrize("name", [LINEAR, TREES])
def test_contributions_sum_to_the_calibrated_log_odds(model, rows, name):
    values, base = contributions(model.models[name], rows.features)
    assert values.shape == (len(rows.purchased), len(FEATURES))
    assert base + values.sum(axis=1) == pytest.approx(model.models[name].log_odds(rows.features), abs=1e-9)


def test_linear_contributions_are_those_of_shap(model, rows):
    """With all training rows as background; by default shap draws 100 of them, which shifts every value."""
    import shap

    fitted = model.models[LINEAR]
    pipeline = fitted.estimator
    inputs = pipeline[:-1].transform(rows.features)
    explainer = shap.LinearExplainer(
        pipeline.named_steps["model"], shap.maskers.Independent(inputs, max_samples=len(inputs))
    )
    by_input = fitted.slope * explainer.shap_values(inputs)
    indicated = pipeline.named_steps["impute"].indicator_.features_
    assert len(indicated) == 1
    expected = by_input[:, : len(FEATURES)]
    expected[:, indicated[0]] += by_input[:, len(FEATURES)]
    values, base = contributions(fitted, rows.features)
    assert values == pytest.approx(expected, abs=1e-9)
    assert base == pytest.approx(fitted.slope * explainer.expected_value + fitted.offset, abs=1e-9)


def test_an_average_customer_has_no_contributions(model, rows):
    """The contributions of each feature average to zero over the training rows: they say what differs from average."""
    values, _ = contributions(model.models[LINEAR], rows.features)
    assert np.abs(values.mean(axis=0)).max() < 1e-9


@pytest.mark.parametrize("name", [LINEAR, TREES])
def test_the_planted_signal_explains_most(model, rows, name):
    values, _ = contributions(model.models[name], rows.features)
    assert np.argmax(np.abs(values).mean(axis=0)) == FEATURES.index(SIGNAL)


def test_an_unknown_value_of_a_feature_that_was_always_known_counts_as_average(model, rows):
    unknown = rows.features[:1].copy()
    unknown[0, FEATURES.index(SIGNAL)] = np.nan
    values, _ = contributions(model.models[LINEAR], unknown)
    assert values[0, FEATURES.index(SIGNAL)] == pytest.approx(0, abs=1e-9)


def test_calibration_scales_contributions(model, rows):
    fitted = model.models[LINEAR]
    values, base = contributions(fitted, rows.features)
    doubled, doubled_base = contributions(replace(fitted, slope=2 * fitted.slope, offset=1.0), rows.features)
    assert doubled == pytest.approx(2 * values)
    assert doubled_base == pytest.approx(2 * (base - fitted.offset) + 1.0)


def test_top_is_by_size_and_keeps_the_order_of_ties():
    assert top(np.array([[0.1, -0.5, 0.2, 0.5, 0.0]]), count=4).tolist() == [[1, 3, 2, 0]]
