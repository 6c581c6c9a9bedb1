"""All read-outs of a day: the program's experiments, the global holdout, the mailings on record."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.experiments.mailings import compare_mailing_kinds
from personalization.stages.experiments.outcomes import Outcomes, experiment_outcomes, holdout_outcomes
from personalization.stages.experiments.readout import Comparison, Design, ResultRow
from personalization.warehouse import Session

RESULTS = "experiments.results"
HOLDOUT = "global_holdout"

_TYPES = {"n": pa.int64(), "conversions": pa.int64()}
_TEXTS = ("experiment", "comparison", "metric", "arm", "verdict", "note")
SCHEMA = pa.schema(
    [(f.name, pa.string() if f.name in _TEXTS else _TYPES.get(f.name, pa.float64())) for f in fields(ResultRow)]
)


def read_out_day(session: Session, program: Program, as_of: AsOf) -> list[ResultRow]:
    """Compute every read-out as of a day, and replace the day's rows of `experiments.results`."""
    rows: list[ResultRow] = []
    for name, experiment in sorted(program.experiments.items()):
        label = f"{name} v{experiment.version}"
        outcomes = experiment_outcomes(session, program, name, as_of)
        rows += _read_out(label, experiment.metric, experiment.control, experiment.arms, outcomes)
    share = program.settings.holdout.share
    if share > 0:
        shares = {"holdout": share, "campaigns": 1 - share}
        rows += _read_out(HOLDOUT, "purchase_28d", "holdout", shares, holdout_outcomes(session, program, as_of))
    rows += compare_mailing_kinds(session, as_of, program.settings.scoring.horizon_days)
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    with session.registered(_results=pa.table(columns, schema=SCHEMA)):
        session.replace_day(RESULTS, as_of, f"select date '{as_of.key}' as as_of, * from _results")  # noqa: S608
    return rows


def _read_out(
    experiment: str, metric: str, control: str, shares: dict[str, float], outcomes: Outcomes
) -> list[ResultRow]:
    """Wait while no outcome is known; until a send is acknowledged, a difference can only be an A/A check."""
    design: Design = "experiment" if outcomes.reached else "aa"
    comparison = Comparison(experiment, metric, control, design, shares)
    if outcomes.first_closes is None:
        return comparison.waiting(outcomes.assigned, "Nobody has been assigned yet.")
    if not any(arm.n for arm in outcomes.closed):
        note = f"Outcomes of the first assigned customers are known from {outcomes.first_closes} on."
        if not outcomes.reached:
            note += " No sends acknowledged yet."
        return comparison.waiting(outcomes.assigned, note)
    return comparison.read_out(outcomes.closed)
