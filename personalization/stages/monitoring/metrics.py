"""Gathers a day's `RunSummary` from warehouse and ledger, and keeps its figures in `monitoring.run_summary`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.monitoring import data_quality, experiments
from personalization.stages.monitoring.summary import (
    Audience,
    Customers,
    DecisionCount,
    EndReason,
    ExportRun,
    GovernorState,
    Missing,
    ModelQuality,
    Outcome,
    RunSummary,
    SegmentFinding,
    SegmentRow,
)
from personalization.stages.segments.hygiene import hygiene
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger
    from personalization.runtime import Runtime

RUN_SUMMARY = "monitoring.run_summary"
REPORT_PAGE = "index.html"
BASELINES = ("recency", "base_rate")  # the scoring stage's names; its modules would load scikit-learn


def run_summary(runtime: Runtime, as_of: AsOf) -> RunSummary:
    """What is known about a day now. It reads only; a part that was not run yet is `Missing`.

    Raises
    ------
    WarehouseError, LedgerError
        When one of the two can't be read.
    """
    page = runtime.workspace.reports / as_of.key / REPORT_PAGE
    export = export_runs(runtime.ledger, runtime.program, as_of)
    with reading(runtime) as session:
        return summarise(session, runtime.program, as_of, export=export, report=page)


@contextmanager
def reading(runtime: Runtime) -> Iterator[Session]:
    """The warehouse to read from; an empty one in memory when no stage has made the file yet."""
    if runtime.workspace.warehouse.exists():
        with runtime.warehouse.connect(read_only=True) as session:
            yield session
    else:
        with duckdb.connect() as connection:
            yield Session(connection)


def summarise(
    session: Session, program: Program, as_of: AsOf, *, export: list[ExportRun] | Missing, report: Path
) -> RunSummary:
    """`run_summary` with the ledger's part given."""
    read_outs = experiments.experiment_results(session, as_of)
    return RunSummary(
        as_of=as_of.day,
        program=program.settings.name,
        program_hash=program.hash,
        report=str(report),
        data=data_quality.entity_rows(session),
        completeness=data_quality.field_completeness(session),
        customers=customers(session, as_of),
        model=model_quality(session, as_of),
        outcome=outcome(session, as_of),
        segments=segments(session, program, as_of),
        decisions=decisions(session, program, as_of),
        audience=audience(session, as_of),
        export=export,
        experiments=read_outs,
        mailings=experiments.conversion_by_kind(read_outs),
        hygiene=segment_findings(session, program, as_of),
        governor=governor_states(session, program, as_of),
    )


def write_run_summary(session: Session, summary: RunSummary, as_of: AsOf) -> int:
    """Replace the day's figures in `monitoring.run_summary`. Returns how many there are."""
    figures = summary.metrics()
    table = pa.table(
        {
            "as_of": pa.array([as_of.day] * len(figures), pa.date32()),
            "metric": pa.array(list(figures), pa.string()),
            "value": pa.array([float(value) for value in figures.values()], pa.float64()),
        }
    )
    with session.registered(_figures=table):
        return session.replace_day(RUN_SUMMARY, as_of, "from _figures")


def customers(session: Session, as_of: AsOf) -> Customers | Missing:
    if not session.has_table("marts.customers"):
        return Missing("marts.customers", "normalise")
    [(people, records, addresses)] = session.rows(
        "select count(*), coalesce(sum(records), 0)::bigint, count(email_token) from marts.customers"
    )
    scored = _day(session, "scores.propensity", "scoring", as_of, "count(*)")
    return Customers(people, records, addresses, None if isinstance(scored, Missing) else scored[0][0] or None)


def model_quality(session: Session, as_of: AsOf) -> list[ModelQuality] | Missing:
    """The model in use and the naive baselines on the same windows, the chosen one first."""
    columns = (
        "model, split, cutoff, n, base_rate, roc_auc, brier, log_loss, chosen, model_version, "
        "auc_gain, auc_gain_low, auc_gain_high"
    )
    rows = _day(
        session, "scores.model_quality", "scoring", as_of, columns, "order by cutoff desc, chosen desc, brier, model"
    )
    if isinstance(rows, Missing):
        return rows
    names = [name.strip() for name in columns.split(",")]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [ModelQuality(**row, baseline=row["model"] in BASELINES) for row in found]


def outcome(session: Session, as_of: AsOf) -> Outcome | Missing:
    """How the scores of the day fared, once the weeks after it are known."""
    missing = Missing("features.customer_labels", "features")
    if not session.has_table("features.customer_labels"):
        return missing
    if not session.has_table("scores.propensity"):
        return Missing("scores.propensity", "scoring")
    [(n, buyers, mean_score, brier)] = session.rows(
        """
        select
            count(*),
            count(*) filter (where purchased),
            sum(purchase_score::decimal(18, 9))::double / count(*),
            sum(((purchase_score - purchased::integer) ** 2)::decimal(18, 9))::double / count(*)
        from scores.propensity
        inner join features.customer_labels using (as_of, customer_token)
        where as_of = ?
        """,
        [as_of.day],
    )
    return Outcome(n, buyers, mean_score, brier) if n else missing


def segments(session: Session, program: Program, as_of: AsOf) -> list[SegmentRow] | Missing:
    """Segments in the order of the program; ones that are no longer in it come last."""
    if not program.segments:
        return []
    rows = _day(
        session,
        "segments.summary",
        "segments",
        as_of,
        "segment, title, size, held, candidates, share, completeness, state, entered, exited",
        "order by segment",
    )
    if isinstance(rows, Missing):
        return rows
    order = {name: index for index, name in enumerate(program.segments)}
    found = [SegmentRow(*row) for row in rows]
    return sorted(found, key=lambda row: (order.get(row.segment, len(order)), row.segment))


def decisions(session: Session, program: Program, as_of: AsOf) -> list[DecisionCount] | Missing:
    """Campaigns in the order of the program; within one those who get the mail first, then by number."""
    rows = _day(session, "decisions.summary", "decisions", as_of, "campaign, outcome, reason, customers")
    if isinstance(rows, Missing):
        return rows
    order = {name: index for index, name in enumerate(program.campaigns)}
    found = [
        DecisionCount(
            campaign=campaign,
            title=program.campaigns[campaign].title if campaign in program.campaigns else campaign,
            outcome=outcome,
            reason=reason,
            customers=number,
        )
        for campaign, outcome, reason, number in rows
    ]
    return sorted(
        found,
        key=lambda row: (order.get(row.campaign, len(order)), row.campaign, row.outcome, -row.customers, row.reason),
    )


def segment_findings(session: Session, program: Program, as_of: AsOf) -> list[SegmentFinding]:
    """What wants tidying up among the segments; nothing before they were evaluated."""
    if not session.has_table("segments.summary"):
        return []
    return [SegmentFinding(**each.to_dict()) for each in hygiene(session, program, as_of)]


def governor_states(session: Session, program: Program, as_of: AsOf) -> list[GovernorState]:
    """The governor's state for all campaigns together, then for each in the order of the program."""
    if not session.has_table("decisions.governor"):
        return []
    rows = session.rows(
        """
        select campaign, state, kept_share, since, sends, complaints, complaint_rate, unsubscribes, unsubscribe_rate
        from decisions.governor where as_of = ?
        """,
        [as_of.day],
    )
    order = {name: number for number, name in enumerate(program.campaigns)}
    found = [
        GovernorState(name, program.campaigns[name].title if name in order else name or "All campaigns", *rest)
        for name, *rest in rows
    ]
    return sorted(found, key=lambda row: (row.campaign is not None, order.get(row.campaign or "", len(order))))


def audience(session: Session, as_of: AsOf) -> Audience | Missing:
    rows = _day(
        session,
        "decisions.decisions",
        "decisions",
        as_of,
        "count(distinct customer_token) filter (where reason <> 'audience_unknown'), "
        "count(distinct customer_token) filter (where outcome = 'send')",
    )
    return rows if isinstance(rows, Missing) else Audience(*rows[0])


def export_runs(ledger: Ledger, program: Program, as_of: AsOf) -> list[ExportRun] | Missing:
    """The newest run of the day to each destination, in the order of the program."""
    from personalization.ledger.export_books import ExportBooks

    if not program.destinations:
        return []
    books = ExportBooks(ledger)
    found = []
    for destination in program.destinations:
        for newest in books.history(destination=destination, as_of=as_of, limit=1):
            found.append(ExportRun(newest, [EndReason(*row) for row in books.reasons(newest.run)]))
    return found or Missing("export runs in the ledger", "export")


def _day(
    session: Session, table: str, stage: str, as_of: AsOf, columns: str, clauses: str = ""
) -> list[tuple[Any, ...]] | Missing:
    """The day's rows of a table of ours; `Missing` when there is no table or it has nothing for the day."""
    if not session.has_table(table) or not session.value(
        f"select count(*) from {table} where as_of = ?",  # noqa: S608  (names of ours)
        [as_of.day],
    ):
        return Missing(table, stage)
    return session.rows(f"select {columns} from {table} where as_of = ? {clauses}", [as_of.day])  # noqa: S608
