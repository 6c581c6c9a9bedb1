"""Scores of one day: everybody who may be scored, with the reasons, written in batches of constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.runtime import Runtime
from personalization.stages.scoring.explain import DECIMALS, contributions, top
from personalization.stages.scoring.inputs import FEATURES, customers, population
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.training import TrainedModel
from personalization.warehouse import Session

MAX_GAP = 1e-6  # between a score's log-odds and the sum of its explanation; what floating point leaves is near 1e-14


@dataclass(frozen=True)
class ScoreSummary:
    """What was written for a day.

    Attributes
    ----------
    reason : str
        Which model was used and why; when there is none, why nobody has a score.
    not_scored : int
        Customers with features who have no score: no consent, or no model.
    bands : dict of str to int
    importance : list of (feature, mean absolute contribution), largest first
    """

    version: str | None
    reason: str
    customers: int
    not_scored: int
    bands: dict[str, int]
    importance: list[tuple[str, float]]


def score(runtime: Runtime, as_of: AsOf) -> ScoreSummary:
    """Write scores.propensity, scores.explanations and scores.importance for `as_of`.

    Trains only when there is no model at all. Without enough history for one, the day's tables are empty: rules that
    need a score treat it as unknown.

    Raises
    ------
    DataError
        No features for this day; the model file was changed; or an explanation does not add up to its score.
    """
    training = train_if_due(runtime, as_of, replace_old=False)
    with runtime.warehouse.connect() as session:
        people = population(runtime, session, as_of)
        make_temporary_tables(session)
        totals = np.zeros(len(FEATURES), dtype=np.int64)
        scored = 0
        if training.model:
            for tokens, features in customers(session, people, as_of):
                totals += score_batch(session, training.model, runtime.program.settings.scoring.bands, tokens, features)
                scored += len(tokens)
        importance = _write(session, as_of, training.version, totals, scored)
        bands = session.rows(
            "select purchase_band, count(*) from scores.propensity where as_of = ? group by all order by all",
            [as_of.day],
        )
        everybody = session.value("select count(*) from features.customer_features where as_of = ?", [as_of.day])
    return ScoreSummary(
        version=training.version,
        reason=training.reason,
        customers=scored,
        not_scored=everybody - scored,
        bands={str(band): count for band, count in bands},
        importance=importance,
    )


def bands_of(scores: np.ndarray, bands: Mapping[str, float]) -> pa.Array:
    """The band with the highest lower bound that a score reaches; null below the lowest bound."""
    ordered = sorted(bands.items(), key=lambda band: (band[1], band[0]))
    positions = np.searchsorted([bound for _, bound in ordered], scores, side="right") - 1
    names = pa.array([name for name, _ in ordered], pa.string())
    return names.take(pa.array(positions, mask=positions < 0))


def make_temporary_tables(session: Session) -> None:
    """Make `_scores` and `_explanations`, empty."""
    session.execute(
        "create or replace temp table _scores (customer_token varchar, purchase_score double, purchase_band varchar)"
    )
    session.execute(
        "create or replace temp table _explanations"
        " (customer_token varchar, rank integer, feature varchar, value double, contribution double)"
    )


def score_batch(
    session: Session, model: TrainedModel, bands: Mapping[str, float], tokens: pa.Array, features: np.ndarray
) -> np.ndarray:
    """Score and explain one batch into the temporary tables.

    Returns the sum of each feature's absolute contributions in units of 1e-9. Whole numbers add up
    to the same total however the customers are cut into batches.
    """
    from scipy.special import expit

    log_odds = model.scorer.log_odds(features)
    values, base = contributions(model.scorer, features)
    gap = float(np.abs(base + values.sum(axis=1) - log_odds).max())
    if not gap <= MAX_GAP:
        raise DataError(
            f"the explanations of model '{model.chosen}' miss its log-odds by up to {gap:.3g}; no score was written",
            hint="a library changed what it computes: train again, and report it if that does not help",
        )
    scores = expit(log_odds).round(DECIMALS)
    values = values.round(DECIMALS)
    best = top(values)
    count, width = best.shape
    order = best.ravel()
    row = np.repeat(np.arange(count), width)
    explanations = pa.table(
        {
            "customer_token": tokens.take(pa.array(row)),
            "rank": pa.array(np.tile(np.arange(1, width + 1, dtype=np.int32), count)),
            "feature": pa.array(FEATURES).take(pa.array(order)),
            "value": pa.array(features[row, order], from_pandas=True),
            "contribution": pa.array(values[row, order]),
        }
    )
    scored = pa.table({"customer_token": tokens, "purchase_score": scores, "purchase_band": bands_of(scores, bands)})
    with session.registered(_batch=scored, _batch_explanations=explanations):
        session.execute("insert into _scores from _batch")
        session.execute("insert into _explanations from _batch_explanations")
    return np.rint(np.abs(values) * 10**DECIMALS).astype(np.int64).sum(axis=0)


def _write(
    session: Session, as_of: AsOf, version: str | None, totals: np.ndarray, scored: int
) -> list[tuple[str, float]]:
    """Replace the day in the three tables; returns the importance of each feature, largest first."""
    day = {"day": as_of.day}
    session.replace_day(
        "scores.propensity",
        as_of,
        "select $day::date as as_of, *, $version::varchar as model_version from _scores",
        day | {"version": version},
    )
    session.replace_day("scores.explanations", as_of, "select $day::date as as_of, * from _explanations", day)
    names = FEATURES if scored else ()
    means = (totals[: len(names)] / max(scored, 1) / 10**DECIMALS).round(DECIMALS)
    importance = pa.table({"feature": pa.array(names, pa.string()), "mean_abs_contribution": means})
    with session.registered(_importance=importance):
        session.replace_day("scores.importance", as_of, "select $day::date as as_of, * from _importance", day)
    return sorted(zip(names, means.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
