"""The report's tables, built from a summary. A missing part gives `Missing`, which templates show as such."""

from __future__ import annotations

from personalization.stages.monitoring.report.values import Column, Table
from personalization.stages.monitoring.summary import Missing, RunSummary
from personalization.stages.monitoring.words import VERDICTS, reason_in_words


def rows_by_entity(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.data, Missing):
        return summary.data
    return Table(
        "rows",
        "Rows by entity",
        "From `validation.books`. Landed = valid + quarantined + superseded; "
        "a superseded row has a newer version of the same key.",
        [
            Column("Entity"),
            Column("Landed", "count"),
            Column("Valid", "count"),
            Column("Quarantined", "count"),
            Column("Superseded", "count"),
            Column("In quarantine", "share"),
        ],
        [
            (e.entity.replace("_", " "), e.landed, e.valid, e.quarantined, e.superseded, e.quarantined_share)
            for e in summary.data
        ],
    )


def quarantine_reasons(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.data, Missing):
        return summary.data
    return Table(
        "reasons",
        "Commonest reasons",
        "From `validation.reasons`, without the offending values. A row with two reasons counts for both; a dropped "
        "value leaves its row valid. The rows themselves are in `quarantine.*`.",
        [Column("Entity"), Column("Reason"), Column("Rows", "count"), Column("Outcome")],
        [
            (e.entity.replace("_", " "), reason.reason, reason.rows, reason.outcome.replace("_", " "))
            for e in summary.data
            for reason in e.reasons
        ],
        note="No row is in quarantine, and no value was dropped.",
    )


def completeness(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.completeness, Missing):
        return summary.completeness
    return Table(
        "completeness",
        "Fields that are not always known",
        "From `validation.completeness`, over valid rows. Fields that every row knows are left out, and fields without "
        "any value.",
        [
            Column("Entity"),
            Column("Field", "code"),
            Column("Rows", "count"),
            Column("Known", "count"),
            Column("Share", "share"),
        ],
        [
            (f.entity.replace("_", " "), f.field, f.rows, f.known, f.share)
            for f in summary.completeness
            if 0 < f.known < f.rows
        ],
        note="Every field is known in every row.",
    )


def model_quality(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.model, Missing):
        return summary.model
    return Table(
        "quality",
        "The model beside naive baselines",
        "From `scores.model_quality`. The model was chosen on the selection window; the outcome window begins on the "
        "day of this report and was used for nothing else. ROC-AUC: higher is "
        "better, 0.5 is chance; above recency: with its 95 % interval. Brier score and log loss: lower is better.",
        [
            Column("Model"),
            Column("", "badge"),
            Column("Window"),
            Column("Cut-off", "day"),
            Column("Customers", "count"),
            Column("Buyers", "share"),
            Column("ROC-AUC", "score"),
            Column("Above recency", "gain"),
            Column("Brier", "score"),
            Column("Log loss", "score"),
        ],
        [
            (
                row.model.replace("_", " "),
                "chosen" if row.chosen else "",
                row.split,
                row.cutoff,
                row.n,
                row.base_rate,
                row.roc_auc,
                (row.auc_gain, row.auc_gain_low, row.auc_gain_high),
                row.brier,
                row.log_loss,
            )
            for row in summary.model
        ],
    )


def segments(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.segments, Missing):
        return summary.segments
    return Table(
        "segments",
        "Size, completeness, and who came and went",
        "From `segments.summary`. Share: of all candidates. Completeness: share of the fields the rule looks at that "
        "are known. Entered and exited: since the last earlier day that was run.",
        [
            Column("Segment"),
            Column("Size", "count"),
            Column("Share", "share"),
            Column("Held", "count"),
            Column("Completeness", "share"),
            Column("State", "badge"),
            Column("Entered", "count"),
            Column("Exited", "count"),
        ],
        [
            (row.title, row.size, row.share, row.held, row.completeness, row.state, row.entered, row.exited)
            for row in summary.segments
        ],
        note="The program defines no segments.",
    )


def outcomes(summary: RunSummary) -> Table | Missing:
    """Sent and withheld by campaign, for the first page."""
    if isinstance(summary.decisions, Missing):
        return summary.decisions
    totals: dict[str, dict[str, int]] = {}
    for row in summary.decisions:
        campaign = totals.setdefault(row.title, {"send": 0, "withheld": 0})
        campaign[row.outcome] += row.customers
    return Table(
        "outcomes",
        "Sent and withheld by campaign",
        "From `decisions.summary`: one decision a candidate and campaign.",
        [
            Column("Campaign"),
            Column("Candidates", "count"),
            Column("Send", "count"),
            Column("Withheld", "count"),
            Column("Share sent", "share"),
        ],
        [
            (title, sum(n.values()), n["send"], n["withheld"], n["send"] / sum(n.values()))
            for title, n in totals.items()
        ],
        note="No campaign ran.",
    )


def decisions(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.decisions, Missing):
        return summary.decisions
    titles = {row.campaign: row.title for row in summary.decisions}
    return Table(
        "decisions",
        "Decisions by campaign, outcome and reason",
        "From `decisions.summary`. The reason is that of the first gate that stopped the mail.",
        [
            Column("Campaign"),
            Column("Reason in words"),
            Column("Customers", "count"),
            Column("Outcome", "badge"),
            Column("Reason", "code"),
        ],
        [
            (row.title, reason_in_words(row.reason, titles), row.customers, row.outcome, row.reason)
            for row in summary.decisions
        ],
        note="No campaign ran.",
    )


def hygiene(summary: RunSummary) -> Table:
    return Table(
        "hygiene",
        "Segments to tidy up",
        "Empty, jumping in size against their own history, used by nothing, twice the same, or stale.",
        [Column("Segment"), Column("What", "badge"), Column("Found"), Column("Suggestion")],
        [(row.title, row.kind, row.found, row.suggestion) for row in summary.hygiene],
        note="Nothing to tidy up.",
    )


def governor(summary: RunSummary) -> Table:
    return Table(
        "governor",
        "The governor",
        "From `decisions.governor`. Fewer people are mailed while too many complain or unsubscribe: the share that is "
        "kept, the most engaged first. Rates are of the sends of the days before.",
        [
            Column("Campaign"),
            Column("State", "badge"),
            Column("Kept", "share"),
            Column("Sends", "count"),
            Column("Complaints", "count"),
            Column("of sends"),
            Column("Unsubscribes", "count"),
            Column("of sends"),
        ],
        [
            (
                row.title,
                row.state,
                row.kept_share,
                row.sends,
                row.complaints,
                f"{row.complaint_rate:.2%}",
                row.unsubscribes,
                f"{row.unsubscribe_rate:.2%}",
            )
            for row in summary.governor
        ],
        note="The program has no governor.",
    )


def books(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.export, Missing):
        return summary.export
    return Table(
        "books",
        "Books of the last export",
        "From the ledger’s outbox. Unchanged contacts needed no request and are not part of what was planned. "
        "At the destination: contacts that hold values of ours now.",
        [
            Column("Destination"),
            Column("Planned", "count"),
            Column("Acknowledged", "count"),
            Column("Rejected", "count"),
            Column("Suppressed", "count"),
            Column("Invalid", "count"),
            Column("Uncertain", "count"),
            Column("Held", "count"),
            Column("Books close", "badge"),
            Column("Unchanged", "count"),
            Column("At the destination", "count"),
        ],
        [
            (
                run.destination,
                b.planned,
                b.acked,
                b.rejected,
                b.suppressed,
                b.invalid,
                b.uncertain,
                b.held,
                "yes" if b.closes else "no",
                b.unchanged,
                b.present,
            )
            for run in summary.export
            for b in (run.books,)
        ],
        note="The program defines no destinations.",
    )


def export_operations(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.export, Missing):
        return summary.export
    return Table(
        "operations",
        "What was planned",
        "From the ledger’s export runs. Retractions take back contacts of people who opted out.",
        [
            Column("Destination"),
            Column("Added", "count"),
            Column("Changed", "count"),
            Column("Removed", "count"),
            Column("Retracted", "count"),
            Column("Plan", "code"),
        ],
        [
            (run.destination, b.adds, b.changes, b.removes, b.retractions, b.plan_hash[:12])
            for run in summary.export
            for b in (run.books,)
        ],
        note="The program defines no destinations.",
    )


def export_reasons(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.export, Missing):
        return summary.export
    return Table(
        "ends",
        "Contacts that were not acknowledged",
        "From the ledger’s outbox: state and reason of every row that did not end acknowledged.",
        [Column("Destination"), Column("State"), Column("Reason"), Column("Contacts", "count")],
        [(run.destination, end.state, end.reason, end.rows) for run in summary.export for end in run.reasons],
        note="None: every planned contact was acknowledged.",
    )


def experiments(summary: RunSummary) -> Table | Missing:
    if isinstance(summary.experiments, Missing):
        return summary.experiments
    return Table(
        "experiments",
        "Read-outs",
        "From `experiments.results`. Points: difference of rates from the control, in percentage points, with its "
        "interval. p: chi-squared test over all arms. Arms of an A/A check were treated alike so far.",
        [
            Column("Experiment"),
            Column("Comparison"),
            Column("Arm"),
            Column("Customers", "count"),
            Column("Rate", "share"),
            Column("Points", "points"),
            Column("From", "points"),
            Column("To", "points"),
            Column("p", "p"),
            Column("Verdict"),
        ],
        [
            (
                row.experiment.replace("_", " "),
                row.comparison,
                row.arm,
                row.n,
                row.rate,
                row.diff,
                row.diff_low,
                row.diff_high,
                row.p_value,
                VERDICTS.get(row.verdict, row.verdict.replace("_", " ")),
            )
            for row in summary.experiments
        ],
        note="The program has no experiment and no mailing on record.",
    )
