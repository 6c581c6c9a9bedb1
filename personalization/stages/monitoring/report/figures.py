"""The report's plots: rows for the chart, the words for those who don't see it, and the numbers as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from personalization.stages.monitoring.intervals import wilson
from personalization.stages.monitoring.report import charts
from personalization.stages.monitoring.report.svg import draw, png_data_url
from personalization.stages.monitoring.report.values import Column, Figure, Table, count, points, share
from personalization.stages.monitoring.summary import Missing, RunSummary, known
from personalization.stages.monitoring.words import reason_in_words

WIDE, HALF, NARROW = 760, 500, 330
FEATURES_SHOWN = 12

Rows = list[dict[str, Any]]


def _figure(
    name: str,
    title: str,
    description: str,
    how: str,
    chart: Callable[[Rows, int], Any],
    rows: Rows,
    columns: dict[str, Column],
    width: int = WIDE,
) -> Figure:
    """Draw a chart for both screens. `columns` says which of the rows' values its table shows."""
    numbers = Table(
        f"{name}-numbers", title, how, list(columns.values()), [[row[key] for key in columns] for row in rows]
    )
    words = {"title": title, "description": description}
    return Figure(
        name,
        title,
        description,
        draw(chart(rows, width), name=f"{name}-wide", **words),
        draw(chart(rows, NARROW), name=f"{name}-narrow", **words),
        numbers,
    )


def flow_rows(summary: RunSummary) -> Rows:
    """People, or records of people, at each step from landing to the platforms; steps not reached are left out."""
    steps: list[tuple[str, int | None, str]] = []
    for entity in known(summary.data):
        if entity.entity == "customers":
            steps += [("records landed", entity.landed, "landing"), ("records valid", entity.valid, "landed.customers")]
    if not isinstance(summary.customers, Missing):
        steps += [
            ("customers", summary.customers.people, "marts.customers"),
            ("scored", summary.customers.scored, "scores.propensity"),
        ]
    if not isinstance(summary.audience, Missing):
        steps += [
            ("in an audience", summary.audience.people, "decisions.decisions"),
            ("to be mailed", summary.audience.sends, "decisions.decisions"),
        ]
    steps += [(f"held by {run.destination}", run.books.present, "the ledger") for run in known(summary.export)]
    return [
        {"step": step, "people": people, "text": f"{people:,}", "source": source}
        for step, people, source in steps
        if people is not None
    ]


def flow(summary: RunSummary) -> Figure | Missing:
    rows = flow_rows(summary)
    if not rows:
        return Missing("marts.customers", "normalise")
    return _figure(
        "flow",
        "People from landing to platform",
        "; ".join(f"{row['step']} {row['text']}" for row in rows),
        "Distinct people from `landed.customers`, `marts.customers`, `scores.propensity` and `decisions.decisions`; "
        "contacts that a destination has acknowledged and still holds from the ledger.",
        charts.flow,
        rows,
        {"step": Column("Step"), "people": Column("People", "count"), "source": Column("From")},
    )


def flow_picture(summary: RunSummary) -> str | None:
    """The same plot as a `data:` URL of a PNG; None when there is nothing to show."""
    rows = flow_rows(summary)
    return png_data_url(charts.flow(rows, WIDE)) if rows else None


def segment_sizes(summary: RunSummary) -> Figure | Missing:
    if isinstance(summary.segments, Missing):
        return summary.segments
    moved = any(row.entered != row.size or row.exited for row in summary.segments)  # else it is the first day of all
    rows: Rows = [
        {
            "title": row.title,
            "size": row.size,
            "entered": row.entered,
            "exited": row.exited,
            "text": f"{row.size:,}" + (f"  +{row.entered:,} −{row.exited:,}" if moved else ""),
        }
        for row in sorted(summary.segments, key=lambda row: (-row.size, row.segment))
    ]
    return _figure(
        "sizes",
        "Members, with who entered (+) and exited (−)" if moved else "Members",
        "; ".join(f"{row['title']}: {row['size']:,}" for row in rows),
        "From `segments.summary`.",
        charts.segment_sizes,
        rows,
        {
            "title": Column("Segment"),
            "size": Column("Size", "count"),
            "entered": Column("Entered", "count"),
            "exited": Column("Exited", "count"),
        },
    )


def decisions_by_reason(summary: RunSummary) -> Figure | Missing:
    if isinstance(summary.decisions, Missing):
        return summary.decisions
    titles = {row.campaign: row.title for row in summary.decisions}
    rows: Rows = [
        {
            "campaign": row.title,
            "outcome": row.outcome,
            "words": reason_in_words(row.reason, titles),
            "customers": row.customers,
            "text": f"{row.customers:,}",
        }
        for row in summary.decisions
    ]
    if not rows:
        return Missing("decisions.summary", "decisions")
    return _figure(
        "reasons",
        "Who gets each mail, and why others don’t",
        "; ".join(f"{row['campaign']}: {row['words']} {row['text']}" for row in rows),
        "From `decisions.summary`. Strong bars: sent. Pale bars: withheld, by the first gate that stopped the mail.",
        charts.decisions_by_reason,
        rows,
        {
            "campaign": Column("Campaign"),
            "outcome": Column("Outcome"),
            "words": Column("Reason"),
            "customers": Column("Customers", "count"),
        },
    )


def weekly_activity(weeks: pa.Table | Missing) -> Figure | Missing:
    if isinstance(weeks, Missing):
        return weeks
    rows = [{**row, "iso": row["week"], "week": row["week"].isoformat()} for row in weeks.to_pylist()]
    last = rows[-1]
    return _figure(
        "weekly",
        "Active customers and orders a week",
        f"{len(rows)} weeks; in the last one {last['customers']:,} customers placed {last['orders']:,} orders",
        "From `marts.orders`: full weeks of seven days that end before the day of this report.",
        charts.weekly_activity,
        rows,
        {
            "iso": Column("Week from", "day"),
            "customers": Column("Active customers", "count"),
            "orders": Column("Orders", "count"),
        },
    )


def score_distribution(bins: pa.Table | Missing) -> Figure | Missing:
    if isinstance(bins, Missing):
        return bins
    rows = bins.to_pylist()
    fullest = max(rows, key=lambda row: row["customers"])
    return _figure(
        "scores",
        "Customers by predicted chance of a purchase",
        f"Most customers, {fullest['customers']:,}, lie between {fullest['low']:.0%} and {fullest['high']:.0%}",
        "From `scores.propensity`, in steps of five percent.",
        charts.score_distribution,
        rows,
        {"low": Column("From", "share"), "high": Column("To", "share"), "customers": Column("Customers", "count")},
        width=HALF,
    )


def feature_importance(features: pa.Table | Missing) -> Figure | Missing:
    if isinstance(features, Missing):
        return features
    rows = [
        {**row, "feature": row["feature"].replace("_", " "), "text": f"{row['contribution']:.2f}"}
        for row in features.to_pylist()[:FEATURES_SHOWN]
    ]
    return _figure(
        "importance",
        "What moves the scores most",
        "Strongest first: " + ", ".join(row["feature"] for row in rows),
        "From `scores.importance`: the mean over all scored customers of how far a feature moves the score, up or "
        "down, in log-odds (SHAP values).",
        charts.feature_importance,
        rows,
        {
            "feature": Column("Feature"),
            "contribution": Column("Contribution", "score"),
        },
        width=HALF,
    )


def calibration(groups: pa.Table | Missing) -> Figure | Missing:
    if isinstance(groups, Missing):
        return groups
    rows: Rows = []
    for row in groups.to_pylist():
        low, high = wilson(row["customers"], row["buyers"])
        rows.append({**row, "observed": row["buyers"] / row["customers"], "low": low, "high": high})
    return _figure(
        "calibration",
        "Predicted chance against what happened",
        "; ".join(f"predicted {share(row['predicted'])}, bought {share(row['observed'])}" for row in rows),
        "From `scores.propensity` and `features.customer_labels`: ten groups of equal size by score, with 95 % Wilson "
        "intervals. On the dashed line predictions are exactly right.",
        charts.calibration,
        rows,
        {
            "customers": Column("Customers", "count"),
            "predicted": Column("Predicted", "share"),
            "observed": Column("Bought", "share"),
            "low": Column("From", "share"),
            "high": Column("To", "share"),
        },
        width=HALF,
    )


def mailing_conversion(summary: RunSummary) -> Figure | Missing:
    if isinstance(summary.mailings, Missing):
        return summary.mailings
    if not summary.mailings:
        return Missing("marts.email_events", "normalise")
    rows: Rows = [
        {
            "kind": row.kind,
            "mailed": row.mailed,
            "converted": row.converted,
            "rate": row.rate,
            "low": row.low,
            "high": row.high,
            "text": share(row.rate),
        }
        for row in summary.mailings
    ]
    return _figure(
        "mailings",
        "Conversion of the first mailing by its kind",
        "; ".join(f"{row['kind']}: {share(row['rate'])} of {count(row['mailed'])}" for row in rows),
        "From `experiments.results`, mailings whose window closed before this day; one mailing a customer, with 95 % "
        "Wilson intervals. Customers were not randomised to kinds: a difference is an association, not an effect.",
        charts.mailing_conversion,
        rows,
        {
            "kind": Column("Kind"),
            "mailed": Column("Mailed", "count"),
            "converted": Column("Converted", "count"),
            "rate": Column("Rate", "share"),
            "low": Column("From", "share"),
            "high": Column("To", "share"),
        },
    )


def experiment_effects(summary: RunSummary) -> Figure | Missing | None:
    """Differences from the control with intervals; None while no outcome is known."""
    if isinstance(summary.experiments, Missing):
        return summary.experiments
    rows: Rows = [
        {
            "name": f"{row.arm} ({row.experiment.replace('_', ' ')})",
            "experiment": row.experiment.replace("_", " "),
            "arm": row.arm,
            "comparison": row.comparison,
            "diff": row.diff,
            "low": row.diff_low,
            "high": row.diff_high,
            "effect": 100 * row.diff,
            "effect_low": 100 * row.diff_low,
            "effect_high": 100 * row.diff_high,
        }
        for row in summary.experiments
        if row.diff is not None and row.diff_low is not None and row.diff_high is not None
    ]
    if not rows:
        return None
    return _figure(
        "effects",
        "Differences from the control",
        "; ".join(f"{row['name']}: {points(row['diff'])} points" for row in rows),
        "From `experiments.results`: difference of conversion rates in percentage points, with Newcombe intervals.",
        charts.experiment_effects,
        rows,
        {
            "experiment": Column("Experiment"),
            "arm": Column("Arm"),
            "comparison": Column("Comparison"),
            "diff": Column("Points", "points"),
            "low": Column("From", "points"),
            "high": Column("To", "points"),
        },
    )
