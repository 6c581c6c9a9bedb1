"""The models that compete, each a classifier and a straight line that calibrates its log-odds.

The line is Platt's sigmoid: a logistic regression of the outcome on the margin. It is learnt only from margins that a
model gave about a window *before that window opened*, so it sees how the model does in the future, not how well it
remembers. Because it is a straight line in log-odds, explanations of the margin remain exact after calibration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from personalization.stages.scoring.inputs import FEATURES, Rows

LINEAR = "logistic_regression"
TREES = "gradient_boosting"
RECENCY = "recency"
BASE_RATE = "base_rate"
CANDIDATES = (LINEAR, TREES)
BASELINES = (RECENCY, BASE_RATE)

INVERSE_REGULARISATION = 0.1  # as good as 1, and features that say nearly the same share the effect more evenly
TREE_SETTINGS = {
    "learning_rate": 0.05,
    "max_iter": 120,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": False,  # it would hold back a random tenth of the rows
    "random_state": 0,
}


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    Attributes
    ----------
    estimator : sklearn classifier, or None for the base rate
        Reads `columns` of the feature matrix.
    slope, offset : float
        Calibrated log-odds = slope · margin + offset.
    """

    name: str
    estimator: Any
    columns: tuple[int, ...]
    slope: float
    offset: float

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Calibrated log-odds of a purchase, shape (n,)."""
        if self.estimator is None:
            return np.full(len(features), self.offset)
        with one_thread():
            return self.slope * self.estimator.decision_function(features[:, self.columns]) + self.offset

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Calibrated chance of a purchase, shape (n,)."""
        from scipy.special import expit

        return expit(self.log_odds(features))


def log_scale(values: np.ndarray) -> np.ndarray:
    """Days, counts and amounts span orders of magnitude; their logarithm is what moves a chance evenly. NaN stays."""
    return np.sign(values) * np.log1p(np.abs(values))


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread: with several, sums come in another order and the last digits differ."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def can_calibrate(cutoffs: Sequence[date], horizon_days: int) -> bool:
    """Whether some cut-off comes after the whole window of an earlier one."""
    return any(closed_before(cutoff, cutoffs, horizon_days) for cutoff in cutoffs)


def closed_before(cutoff: date, cutoffs: Sequence[date], horizon_days: int) -> list[date]:
    """The cut-offs whose whole window lies before `cutoff`: only those outcomes were known then."""
    return [earlier for earlier in cutoffs if earlier + timedelta(days=horizon_days) <= cutoff]


class Fitter:
    """Fits models on some windows of the same rows; an estimator that was fitted once is used again.

    Parameters
    ----------
    rows : Rows
        Of cut-offs that each have buyers, others, and somebody who had bought before.
    horizon_days : int
        Length of a window.
    """

    def __init__(self, rows: Rows, horizon_days: int) -> None:
        self._rows = rows
        self._horizon_days = horizon_days
        self._estimators: dict[tuple[str, tuple[date, ...]], tuple[Any, tuple[int, ...]]] = {}

    def fit(self, name: str, cutoffs: Sequence[date]) -> Fitted:
        """Fit one of CANDIDATES and BASELINES on windows for which `can_calibrate` holds, and calibrate it."""
        from scipy.special import logit
        from sklearn.linear_model import LogisticRegression

        if name == BASE_RATE:
            return Fitted(name, None, (), 0.0, float(logit(self._rows.at(cutoffs).purchased.mean())))
        margins, outcomes = [], []
        with one_thread():
            for cutoff in cutoffs:
                earlier = closed_before(cutoff, cutoffs, self._horizon_days)
                if earlier:
                    estimator, columns = self._estimator(name, earlier)
                    window = self._rows.at([cutoff])
                    margins.append(estimator.decision_function(window.features[:, columns]))
                    outcomes.append(window.purchased)
            line = LogisticRegression(C=np.inf).fit(np.concatenate(margins)[:, None], np.concatenate(outcomes))
            estimator, columns = self._estimator(name, cutoffs)
        return Fitted(name, estimator, columns, float(line.coef_[0, 0]), float(line.intercept_[0]))

    def _estimator(self, name: str, cutoffs: Sequence[date]) -> tuple[Any, tuple[int, ...]]:
        """A fitted estimator and the columns it reads; a feature that is unknown for everybody is left out."""
        key = name, tuple(cutoffs)
        if key not in self._estimators:
            rows = self._rows.at(cutoffs)
            known = ~np.isnan(rows.features).all(axis=0)
            candidates = [FEATURES.index("recency_days")] if name == RECENCY else range(len(FEATURES))
            columns = tuple(column for column in candidates if known[column])
            self._estimators[key] = new_estimator(name).fit(rows.features[:, columns], rows.purchased), columns
        return self._estimators[key]


def new_estimator(name: str) -> Any:
    """A classifier that is not fitted yet: gradient boosted trees, or logistic regression on log-scaled features."""
    if name == TREES:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**TREE_SETTINGS)
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return Pipeline(
        [
            ("log", FunctionTransformer(log_scale)),
            ("impute", SimpleImputer(strategy="mean", add_indicator=True)),
            ("standardise", StandardScaler()),
            ("model", LogisticRegression(C=INVERSE_REGULARISATION, max_iter=2_000)),
        ]
    )
