"""Training: fit the candidates, choose one on the newest window, and fit again on everything that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np

from personalization.as_of import AsOf
from personalization.program.models import Scoring
from personalization.stages.scoring import candidates
from personalization.stages.scoring.candidates import BASE_RATE, BASELINES, CANDIDATES, LINEAR, RECENCY, TREES, Fitted
from personalization.stages.scoring.inputs import FEATURES, Rows, Window
from personalization.stages.scoring.quality import CalibrationGroup, Quality, calibration, losses, measure

FORMAT = 1  # grows when a stored model can't be read or compared any more by this code

# The linear model is kept unless the trees' log loss on the selection window is smaller by more than both of these.
# Three standard errors, because the choice is made anew every week, and one window is one draw of the season too;
# one percent, because with millions of customers even a useless difference is significant.
NOISE_ERRORS = 3.0
USEFUL_GAIN = 0.01


@dataclass(frozen=True)
class TrainedModel:
    """Everything fitted at one training, as it is stored.

    Attributes
    ----------
    parameters : dict
        `parameters(settings)` at training; a model trained under others is not used.
    trained_as_of : str
        `YYYY-MM-DD`: nothing that happened on this day or later was used.
    cutoffs : tuple of date
        Windows the models were fitted on; the last one is the selection window.
    models : dict of str to Fitted
        The candidates and the baselines, fitted on all windows.
    chosen : str
        Name of the candidate that gives the scores.
    choice : str
        Why, in words.
    quality : list of Quality
        Of models fitted without the selection window, on the selection window.
    calibration : list of CalibrationGroup
        The same, of the chosen model.
    """

    parameters: dict[str, Any]
    fingerprint: str
    trained_as_of: str
    cutoffs: tuple[date, ...]
    models: dict[str, Fitted]
    chosen: str
    choice: str
    quality: list[Quality]
    calibration: list[CalibrationGroup]

    @property
    def scorer(self) -> Fitted:
        return self.models[self.chosen]

    def summary(self) -> dict[str, Any]:
        """What the ledger and the file beside the model say about it, as JSON values."""
        return {
            "parameters": self.parameters,
            "data_sha256": self.fingerprint,
            "trained_as_of": self.trained_as_of,
            "cutoffs": [cutoff.isoformat() for cutoff in self.cutoffs],
            "chosen": self.chosen,
            "choice": self.choice,
            "quality": [asdict(row) | {"cutoff": row.cutoff.isoformat()} for row in self.quality],
        }


def parameters(settings: Scoring) -> dict[str, Any]:
    """What besides the data decides how a model comes out, as JSON values."""
    return {
        "format": FORMAT,
        "horizon_days": settings.horizon_days,
        "training_cutoffs": settings.training_cutoffs,
        "features": list(FEATURES),
        "inverse_regularisation": candidates.INVERSE_REGULARISATION,
        "trees": candidates.TREE_SETTINGS,
        "choice": [NOISE_ERRORS, USEFUL_GAIN],
        "versions": {package: version(package) for package in ("scikit-learn", "numpy", "joblib")},
    }


def shortage(windows: Sequence[Window], horizon_days: int) -> str | None:
    """Why no model can be trained on these windows, or None when one can."""
    cutoffs = usable_cutoffs(windows)
    if cutoffs and candidates.can_calibrate(candidates.closed_before(cutoffs[-1], cutoffs, horizon_days), horizon_days):
        return None
    return (
        f"{len(cutoffs)} past windows of {horizon_days} days have customers who bought, customers who did not, and "
        "purchases before them; training needs 3 that follow each other: one to learn, one to calibrate, one to choose"
    )


def usable_cutoffs(windows: Sequence[Window]) -> list[date]:
    """The cut-offs of the windows that can teach something: some bought, some did not, and there was a past to see."""
    return [window.cutoff for window in windows if 0 < window.buyers < window.customers and window.bought_before]


def train(rows: Rows, settings: Scoring, as_of: AsOf) -> TrainedModel:
    """Fit, choose, fit again.

    First every model is fitted on the windows that had closed before the selection window, the newest, opened, and
    judged there. The chosen kind of model and all others are then fitted on all windows.

    Parameters
    ----------
    rows : Rows
        All rows of the windows known at `as_of`; `shortage` must be None for them.
    """
    cutoffs: list[date] = sorted(np.unique(rows.cutoffs).tolist())
    horizon = settings.horizon_days
    selection = cutoffs[-1]
    earlier = candidates.closed_before(selection, cutoffs, horizon)
    window = rows.at([selection])
    fitter = candidates.Fitter(rows, horizon)
    names = (*CANDIDATES, *BASELINES)
    probability = {name: fitter.fit(name, earlier).probability(window.features) for name in names}
    chosen, choice = choose(window.purchased, probability[LINEAR], probability[TREES])
    return TrainedModel(
        parameters=parameters(settings),
        fingerprint=rows.fingerprint,
        trained_as_of=as_of.key,
        cutoffs=tuple(cutoffs),
        models={name: fitter.fit(name, cutoffs) for name in names},
        chosen=chosen,
        choice=choice,
        quality=compare("selection", selection, window.purchased, probability, chosen),
        calibration=calibration(window.purchased, probability[chosen]),
    )


def choose(purchased: np.ndarray, linear: np.ndarray, trees: np.ndarray) -> tuple[str, str]:
    """The linear model, unless the trees are better by more than noise and by enough to matter: name and reason."""
    linear_losses = losses(purchased, linear)
    differences = linear_losses - losses(purchased, trees)
    gain, error = float(differences.mean()), float(differences.std() / len(differences) ** 0.5)
    needed = max(NOISE_ERRORS * error, USEFUL_GAIN * float(linear_losses.mean()))
    chosen = TREES if gain > needed else LINEAR
    return chosen, (
        f"the trees' log loss on the selection window is {gain:+.4f} better than the linear model's (standard error "
        f"{error:.4f}); they are chosen only above {needed:.4f}"
    )


def compare(
    split: str, cutoff: date, purchased: np.ndarray, probability: dict[str, np.ndarray], chosen: str
) -> list[Quality]:
    """Candidates and baselines on one window, in a fixed order."""
    return [
        measure(
            name,
            split,
            cutoff,
            purchased,
            probability[name],
            chosen=name == chosen,
            recency=None if name in (RECENCY, BASE_RATE) else probability[RECENCY],
        )
        for name in (*CANDIDATES, *BASELINES)
    ]
