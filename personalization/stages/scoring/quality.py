"""How good probabilities are: discrimination (ROC-AUC), Brier score, log loss, and calibration in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

GROUPS = 10
Z_95 = 1.959963984540054  # half width of a 95 % interval of the normal distribution, in standard errors
_CLIP = 1e-15  # the log loss of a certain prediction that was wrong would be infinite


@dataclass(frozen=True)
class Quality:
    """One model on one window.

    Attributes
    ----------
    split : str
        `selection`: the window by which the model was chosen. `outcome`: what happened after `as_of`.
    cutoff : date
        First day of the window.
    roc_auc : float or None
        None when everybody or nobody bought.
    auc_gain, auc_gain_low, auc_gain_high : float or None
        ROC-AUC above that of recency alone, with its 95 % interval; None for the baselines.
    chosen : bool
        Whether this model gives the scores.
    """

    model: str
    split: str
    cutoff: date
    n: int
    roc_auc: float | None
    brier: float
    log_loss: float
    base_rate: float
    chosen: bool
    auc_gain: float | None = None
    auc_gain_low: float | None = None
    auc_gain_high: float | None = None


@dataclass(frozen=True)
class CalibrationGroup:
    """A tenth of the customers by score: the mean score, and the share that really bought."""

    customers: int
    predicted: float
    observed: float


def measure(
    model: str,
    split: str,
    cutoff: date,
    purchased: np.ndarray,
    probability: np.ndarray,
    *,
    chosen: bool,
    recency: np.ndarray | None = None,
) -> Quality:
    """Judge probabilities against what happened.

    Parameters
    ----------
    purchased, probability : numpy.ndarray of shape (n,), n > 0
    recency : numpy.ndarray of shape (n,), optional
        Probabilities by recency alone, to compare the ROC-AUC with.
    """
    both = 0 < purchased.mean() < 1
    gain = auc_gain(purchased, probability, recency) if recency is not None and both else (None, None, None)
    return Quality(
        model=model,
        split=split,
        cutoff=cutoff,
        n=len(purchased),
        roc_auc=float(_aucs(purchased, probability[None])[0][0]) if both else None,
        brier=float(np.mean((probability - purchased) ** 2)),
        log_loss=float(losses(purchased, probability).mean()),
        base_rate=float(purchased.mean()),
        chosen=chosen,
        auc_gain=gain[0],
        auc_gain_low=gain[1],
        auc_gain_high=gain[2],
    )


def losses(purchased: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log loss of each customer."""
    clipped = np.clip(probability, _CLIP, 1 - _CLIP)
    return -np.where(purchased == 1, np.log(clipped), np.log1p(-clipped))


def auc_gain(purchased: np.ndarray, probability: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Difference of two ROC-AUCs on the same customers, with its 95 % interval (low, high).

    Both outcomes must occur. The variance is DeLong's, which takes into account that both models judge the same
    customers. Source: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845; computed by midranks after Sun and
    Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393.
    """
    aucs, of_buyers, of_others = _aucs(purchased, np.stack([probability, reference]))
    difference = float(aucs[0] - aucs[1])
    variance = sum(
        float(np.var(placements[0] - placements[1], ddof=1)) / placements.shape[1]
        for placements in (of_buyers, of_others)
        if placements.shape[1] > 1
    )
    margin = Z_95 * variance**0.5
    return difference, difference - margin, difference + margin


def calibration(purchased: np.ndarray, probability: np.ndarray, groups: int = GROUPS) -> list[CalibrationGroup]:
    """Predicted against observed in groups of equal size, from low to high scores."""
    order = np.argsort(probability, kind="stable")
    return [
        CalibrationGroup(len(part), float(probability[part].mean()), float(purchased[part].mean()))
        for part in np.array_split(order, min(groups, len(order)))
    ]


def quality_table(rows: Sequence[Quality]) -> str:
    """The measurements as a Markdown table, for Dagster."""
    lines = [
        "| window | model | customers | ROC-AUC | above recency (95 %) | Brier | log loss | bought | chosen |",
        "|---|---|---:|---:|---|---:|---:|---:|---|",
    ]
    for row in rows:
        auc = "" if row.roc_auc is None else f"{row.roc_auc:.3f}"
        gain = (
            "" if row.auc_gain is None else f"{row.auc_gain:+.3f} ({row.auc_gain_low:+.3f} to {row.auc_gain_high:+.3f})"
        )
        lines.append(
            f"| {row.split} {row.cutoff} | {row.model} | {row.n:,} | {auc} | {gain} | {row.brier:.3f} "
            f"| {row.log_loss:.3f} | {row.base_rate:.3f} | {'yes' if row.chosen else ''} |"
        )
    return "\n".join(lines)


def _aucs(purchased: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC-AUC of each row of scores, and each buyer's and each other's share of right orderings (placements)."""
    from scipy.stats import rankdata

    buyers, others = scores[:, purchased == 1], scores[:, purchased == 0]
    among_all = rankdata(np.concatenate([buyers, others], axis=1), axis=1)
    count_buyers, count_others = buyers.shape[1], others.shape[1]
    of_buyers = (among_all[:, :count_buyers] - rankdata(buyers, axis=1)) / count_others
    of_others = 1 - (among_all[:, count_buyers:] - rankdata(others, axis=1)) / count_buyers
    return of_buyers.mean(axis=1), of_buyers, of_others
