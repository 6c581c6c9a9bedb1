"""Read-outs of experiments, and the conversion of earlier mailings, as the experiments stage left them."""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.stages.monitoring.intervals import wilson
from personalization.stages.monitoring.summary import ExperimentArm, MailingKind, Missing
from personalization.warehouse import Session

RESULTS = "experiments.results"
MAILINGS = "mailings_on_record"
TESTED = "first mailing"  # one mailing a customer: these rows are independent, those of all mailings are not


def experiment_results(session: Session, as_of: AsOf) -> list[ExperimentArm] | Missing:
    """One row an arm; the control of a comparison has no difference."""
    if not session.has_table(RESULTS) or not session.value(
        f"select count(*) from {RESULTS} where as_of = ?",  # noqa: S608
        [as_of.day],
    ):
        return Missing(RESULTS, "experiments")
    rows = session.rows(
        f"""
        select
            experiment, comparison, metric, arm, n, conversions, rate, diff, diff_low, diff_high, p_value, srm_p,
            verdict, note
        from {RESULTS}
        where as_of = ?
        order by experiment, comparison, diff is not null, arm
        """,  # noqa: S608
        [as_of.day],
    )
    return [ExperimentArm(*row) for row in rows]


def conversion_by_kind(results: list[ExperimentArm] | Missing) -> list[MailingKind] | Missing:
    """Of the customers whose first mailing was of a kind, the share that converted in it, with a 95 % interval."""
    if isinstance(results, Missing):
        return results
    kinds = [
        MailingKind(row.arm, row.n, row.conversions, row.conversions / row.n, *wilson(row.n, row.conversions))
        for row in results
        if row.experiment == MAILINGS and row.comparison.startswith(TESTED) and row.conversions is not None and row.n
    ]
    return sorted(kinds, key=lambda kind: kind.kind)
