"""What a score is made of: the SHAP value of each feature, in log-odds of a purchase.

For the linear model with independent features the SHAP value of a feature is coefficient · (value − training mean):
exact, and one multiplication. A test proves that it equals `shap.LinearExplainer`; importing shap would cost seconds
in every run. The trees are explained by `shap.TreeExplainer`, exact as well, at about 0.1 ms a customer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from personalization.stages.scoring.candidates import TREES, Fitted, one_thread
from personalization.stages.scoring.inputs import FEATURES

TOP = 5
DECIMALS = 9  # stored numbers; below it, the order in which a library adds shows


def contributions(model: Fitted, features: np.ndarray) -> tuple[np.ndarray, float]:
    """How much each feature moves each customer's score away from the average customer's.

    Parameters
    ----------
    model : Fitted
        One of the candidates, not a baseline.
    features : numpy.ndarray of shape (n, number of FEATURES)

    Returns
    -------
    values : numpy.ndarray of shape (n, number of FEATURES)
        In calibrated log-odds, not rounded; 0 for a feature that the model does not read.
    base : float
        The average customer's log-odds: base + sum of a customer's values = the customer's calibrated log-odds.
    """
    values = np.zeros((len(features), len(FEATURES)))
    with one_thread():
        explain = _tree_values if model.name == TREES else _linear_values
        values[:, model.columns], base = explain(model.estimator, features[:, model.columns])
    return model.slope * values, model.slope * base + model.offset


def top(values: np.ndarray, count: int = TOP) -> np.ndarray:
    """Column indices of the largest absolute contributions of each row, shape (n, count); ties keep column order."""
    return np.argsort(-np.abs(values.round(DECIMALS)), axis=1, kind="stable")[:, :count]


def _linear_values(pipeline: Any, features: np.ndarray) -> tuple[np.ndarray, float]:
    """The inputs are standardised over the training rows, so their mean is 0 and coefficient · input is the value.

    A feature that can be missing has a second input, which says that it is; both belong to the feature.
    """
    model = pipeline.named_steps["model"]
    weighted = pipeline[:-1].transform(features) * model.coef_[0]
    count = features.shape[1]
    values = weighted[:, :count].copy()
    for position, feature in enumerate(pipeline.named_steps["impute"].indicator_.features_):
        values[:, feature] += weighted[:, count + position]
    return values, float(model.intercept_[0])


def _tree_values(estimator: Any, features: np.ndarray) -> tuple[np.ndarray, float]:
    import shap

    explainer = shap.TreeExplainer(estimator)
    return np.asarray(explainer.shap_values(features)), float(np.ravel(explainer.expected_value)[0])
