"""What the box at the top of the report says."""

from __future__ import annotations

import dataclasses

from personalization.runtime import Runtime
from personalization.stages.monitoring.attention import findings
from personalization.stages.monitoring.metrics import run_summary
from personalization.stages.monitoring.summary import Missing, RunSummary
from tests.monitoring.day import DAY, export_to


def texts(summary: RunSummary, failed_checks: list[str] | None = None) -> list[str]:
    return [finding.text for finding in findings(summary, failed_checks or [])]


def test_findings_of_a_day_with_troubles(full: Runtime) -> None:
    assert texts(run_summary(full, DAY), ["unique of marts/customers"]) == [
        "1 check failed: unique of marts/customers.",
        "3 contacts of mailchimp: rejected by the platform.",
        "2.4\u00a0% of the rows of customers are in quarantine, most often “customer_key: missing”.",
        "2.9\u00a0% of the rows of order lines are in quarantine, most often “ordered_at: not a date”.",
        "Too little is known to trust “Young families”.",
    ]


def test_open_books(full: Runtime) -> None:
    export_to(full.ledger, "file", planned=10, lost=2)
    assert "The books of file are open: 10 planned, 8 ended." in texts(run_summary(full, DAY))


def test_a_model_that_is_no_better_than_a_baseline(full: Runtime) -> None:
    with full.warehouse.connect() as session:
        session.execute("update scores.model_quality set brier = 0.1 where model = 'recency'")
    assert (
        "The model is not better than the naive “recency” on the selection window (Brier 0.125 against 0.100)."
        in texts(run_summary(full, DAY))
    )


def test_rows_that_do_not_add_up(full: Runtime) -> None:
    with full.warehouse.connect() as session:
        session.execute("update validation.books set landed = 5201 where entity = 'order_lines'")
    assert (
        "Rows of order lines do not add up: 5,201 landed, but 5,000 valid, 150 quarantined and 50 superseded."
        in texts(run_summary(full, DAY))
    )


def test_arms_of_the_wrong_size(full: Runtime) -> None:
    with full.warehouse.connect() as session:
        session.execute("update experiments.results set verdict = 'withheld_srm' where experiment = 'hero v1'")
    assert "The arms of “hero v1” are not as large as declared, so its result can’t be trusted." in texts(
        run_summary(full, DAY)
    )


def test_stages_that_have_not_run(empty: Runtime) -> None:
    assert texts(run_summary(empty, DAY)) == [
        "Nothing for this day yet from 7 stages: decisions, export, features, normalise, scoring, segments and "
        "validation."
    ]


def test_nothing_needs_attention_while_only_the_outcome_is_to_come(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    assert not isinstance(summary.segments, Missing)
    assert not isinstance(summary.export, Missing)
    calm = dataclasses.replace(
        summary,
        data=[],
        segments=summary.segments[:1],
        export=summary.export[1:],
        outcome=Missing("features.customer_labels", "features"),
    )
    assert texts(calm) == []
