"""Judging: how good the model in force was on its selection window, and, once known, on what happened after `as_of`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.stages.scoring.explain import DECIMALS
from personalization.stages.scoring.inputs import outcome_known, population, read_rows
from personalization.stages.scoring.quality import CalibrationGroup, Quality, calibration
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.training import compare

_COLUMNS = pa.schema(
    [
        ("model", pa.string()),
        ("split", pa.string()),
        ("cutoff", pa.date32()),
        ("n", pa.int64()),
        ("roc_auc", pa.float64()),
        ("brier", pa.float64()),
        ("log_loss", pa.float64()),
        ("base_rate", pa.float64()),
        ("chosen", pa.bool_()),
        ("auc_gain", pa.float64()),
        ("auc_gain_low", pa.float64()),
        ("auc_gain_high", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Judgement:
    """What is known about the model in force at a day.

    Attributes
    ----------
    quality : list of Quality
        Of the selection window, then of the outcome when it is known; empty when there is no model.
    calibration : list of CalibrationGroup
        Of the chosen model on the outcome; None when it is not known yet.
    """

    version: str | None
    quality: list[Quality]
    calibration: list[CalibrationGroup] | None
    reason: str


def judge(runtime: Runtime, as_of: AsOf) -> Judgement:
    """Write scores.model_quality for `as_of`.

    The outcome is judged when the landed data reach past the window that begins at `as_of`. It was used for nothing
    else: training and choice look only at windows that had closed by `as_of`.
    """
    training = train_if_due(runtime, as_of, replace_old=False)
    model = training.model
    quality = list(model.quality) if model else []
    groups = None
    with runtime.warehouse.connect() as session:
        if model and outcome_known(session, as_of):
            rows = read_rows(session, population(runtime, session, as_of), [as_of.day])
            if len(rows.purchased):
                probability = {name: fitted.probability(rows.features) for name, fitted in model.models.items()}
                quality += compare("outcome", as_of.day, rows.purchased, probability, model.chosen)
                groups = calibration(rows.purchased, probability[model.chosen])
        with session.registered(_quality=_table(quality)):
            session.replace_day(
                "scores.model_quality",
                as_of,
                "select $day::date as as_of, $version::varchar as model_version, * from _quality",
                {"day": as_of.day, "version": training.version},
            )
    return Judgement(training.version, quality, groups, training.reason)


def _table(quality: list[Quality]) -> pa.Table:
    rows = [
        {field.name: _rounded(getattr(row, field.name)) for field in fields(Quality) if field.name in _COLUMNS.names}
        for row in quality
    ]
    return pa.Table.from_pylist(rows, schema=_COLUMNS)


def _rounded(value: object) -> object:
    return round(value, DECIMALS) if isinstance(value, float) else value
