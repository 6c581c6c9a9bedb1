"""Which model scores a day: the newest one trained by then, or a new one when that is missing, old or outdated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.stages.scoring import artefacts, training
from personalization.stages.scoring.inputs import known_windows, population, read_rows, require_features
from personalization.stages.scoring.training import TrainedModel

if TYPE_CHECKING:
    from personalization.ledger.model_registry import ModelRecord


@dataclass(frozen=True)
class Training:
    """The model in force at a day.

    Attributes
    ----------
    model : TrainedModel or None
        None when the data do not reach back far enough to train one; then nobody is scored.
    version : str or None
    trained : bool
        Whether it was trained just now.
    reason : str
        Why it was trained, or why not.
    """

    model: TrainedModel | None
    version: str | None
    trained: bool
    reason: str


def train_if_due(runtime: Runtime, as_of: AsOf, *, force: bool = False, replace_old: bool = True) -> Training:
    """Load the model in force at `as_of`, after training and recording a new one when that is due.

    Parameters
    ----------
    force : bool
        Train in any case.
    replace_old : bool
        Whether age alone (`retrain_after_days`) makes training due.

    Raises
    ------
    DataError
        The features are missing, or the model file is not the one that the ledger recorded.
    """
    settings = runtime.program.settings.scoring
    models = runtime.workspace.models
    record = runtime.ledger.models.latest(artefacts.MODEL, as_of)
    unusable = _unusable(runtime, record, training.parameters(settings))
    due = unusable
    if due is None and record is not None:
        age = (as_of.day - date.fromisoformat(record.trained_as_of)).days
        if force:
            due = "training was asked for"
        elif replace_old and age >= settings.retrain_after_days:
            due = f"the model is {age} days old"
        else:
            return Training(
                artefacts.load(models, record),
                record.version,
                False,
                f"the model of {record.trained_as_of} is in force",
            )
    with runtime.warehouse.connect() as session:
        require_features(session)
        people = population(runtime, session, as_of)
        windows = known_windows(session, people, as_of, settings.horizon_days, settings.training_cutoffs)
        problem = training.shortage(windows, settings.horizon_days)
        rows = None if problem else read_rows(session, people, training.usable_cutoffs(windows))
    if rows is None:
        if record is not None and unusable is None:
            return Training(artefacts.load(models, record), record.version, False, f"not trained again: {problem}")
        return Training(None, None, False, f"no model: {problem}")
    model = training.train(rows, settings, as_of)
    record = artefacts.save(models, runtime.ledger, model, as_of)
    return Training(model, record.version, True, due or "")


def _unusable(runtime: Runtime, record: ModelRecord | None, parameters: dict[str, Any]) -> str | None:
    """Why the recorded model can't be used at all, or None."""
    if record is None:
        return "there was no model"
    if record.metrics.get("parameters") != parameters:
        return "the program's settings, the features or the libraries changed"
    if not (runtime.workspace.models / record.path).exists():
        return "the model file is gone"
    return None
