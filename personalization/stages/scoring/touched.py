"""Scores and explanations of touched customers, by the model in force."""

from __future__ import annotations

from pathlib import Path

from personalization.as_of import AsOf
from personalization.ledger.model_registry import ModelRecord
from personalization.runtime import Runtime
from personalization.stages.scoring import artefacts
from personalization.stages.scoring.inputs import feature_columns, matrix, population
from personalization.stages.scoring.score import make_temporary_tables, score_batch
from personalization.stages.scoring.training import TrainedModel
from personalization.warehouse import Session
from personalization.warehouse.touched_models import TOUCHED, touched_rows


def score_touched(runtime: Runtime, session: Session, as_of: AsOf) -> int:
    """Replace the scores of the people in `_touched`; returns how many have one. Call it in a transaction.

    Nothing is trained, and the importance of features over all customers stays as it is until the next run. Without a
    model nobody has a score.

    Raises
    ------
    DataError
        The model file was changed, or an explanation does not add up to its score.
    """
    record = runtime.ledger.models.latest(artefacts.MODEL, as_of)
    make_temporary_tables(session)
    scored = 0
    if record is not None:
        people = population(runtime, session, as_of, among=TOUCHED)
        with session.registered(_people=people):
            rows = session.arrow(
                f"""
                select customer_token, {feature_columns()}
                from {touched_rows("features.customer_features")} as f semi join _people using (customer_token)
                where as_of = $day
                order by customer_token
                """,  # noqa: S608  (names of ours)
                {"day": as_of.day},
            )
        scored = len(rows)
        if scored:
            bands = runtime.program.settings.scoring.bands
            tokens = rows["customer_token"].combine_chunks()
            score_batch(session, _model(runtime.workspace.models, record), bands, tokens, matrix(rows))
    whose = f"as_of = date '{as_of.key}' and customer_token in (from {TOUCHED})"
    day = {"day": as_of.day}
    session.replace_rows(
        "scores.propensity",
        whose,
        "select $day::date as as_of, *, $version::varchar as model_version from _scores",
        day | {"version": record.version if record else None},
    )
    session.replace_rows("scores.explanations", whose, "select $day::date as as_of, * from _explanations", day)
    for table in ("_scores", "_explanations"):
        session.execute(f"drop table {table}")
    return scored


_loaded: dict[str, TrainedModel] = {}  # by hash: a process that waits for events reads a model once


def _model(folder: Path, record: ModelRecord) -> TrainedModel:
    if record.sha256 not in _loaded:
        _loaded.clear()
        _loaded[record.sha256] = artefacts.load(folder, record)
    return _loaded[record.sha256]
