"""The figures of a day are those of the tables; what was not run is missing, never zero."""

from __future__ import annotations

import json

import pytest

from personalization.runtime import Runtime
from personalization.stages.monitoring.intervals import wilson
from personalization.stages.monitoring.metrics import RUN_SUMMARY, run_summary, write_run_summary
from personalization.stages.monitoring.summary import Missing
from personalization.stages.monitoring.verify import differing_figures
from tests.monitoring.day import CUSTOMERS, DAY, REJECTED, SCORED, SENDS, export_to, fill_warehouse

PARTS = {
    "data",
    "completeness",
    "customers",
    "model",
    "outcome",
    "segments",
    "decisions",
    "audience",
    "export",
    "experiments",
    "mailings",
}


def test_before_any_stage_has_run_every_part_is_missing_and_says_who_fills_it(empty: Runtime) -> None:
    summary = run_summary(empty, DAY)
    parts = {name: getattr(summary, name) for name in PARTS}
    assert all(isinstance(part, Missing) for part in parts.values()), parts
    assert str(summary.customers) == (
        "not known yet: marts.customers has nothing for this day (the stage 'normalise' fills it)"
    )
    assert summary.metrics() == {}
    assert not empty.workspace.warehouse.exists()


def test_another_day_than_the_one_that_was_run_is_missing_too(full: Runtime) -> None:
    summary = run_summary(full, DAY.shift(1))
    assert isinstance(summary.segments, Missing)
    assert isinstance(summary.decisions, Missing)
    assert isinstance(summary.export, Missing)


def test_figures_of_a_full_day(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    assert not isinstance(summary.customers, Missing)
    assert (summary.customers.people, summary.customers.scored) == (CUSTOMERS, SCORED)
    assert not isinstance(summary.audience, Missing)
    assert (summary.audience.people, summary.audience.sends) == (38, 20)
    assert not isinstance(summary.outcome, Missing)
    assert (summary.outcome.n, summary.outcome.buyers) == (SCORED, 27)
    assert not isinstance(summary.export, Missing)
    assert [(run.destination, run.books.acked, run.books.rejected) for run in summary.export] == [
        ("mailchimp", SENDS - REJECTED, REJECTED),
        ("file", SENDS, 0),
    ]
    assert [reason.reason for run in summary.export for reason in run.reasons] == ["looks fake"]
    assert not isinstance(summary.mailings, Missing)
    assert [(kind.kind, kind.rate) for kind in summary.mailings] == [("A", 0.1), ("B", 0.3)]


def test_rows_add_up_and_the_commonest_reason_comes_first(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    assert not isinstance(summary.data, Missing)
    assert all(entity.adds_up for entity in summary.data)
    assert [entity.commonest_quarantine for entity in summary.data] == [
        "customer_key: missing",
        "ordered_at: not a date",
    ]
    assert not isinstance(summary.completeness, Missing)
    assert [(field.field, field.share) for field in summary.completeness] == [
        ("phone_token", 0.0),
        ("age_band", 0.325),
        ("email_token", 1.0),
    ]


def test_segments_and_campaigns_keep_the_order_of_the_program(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    assert not isinstance(summary.segments, Missing)
    assert not isinstance(summary.decisions, Missing)
    assert [row.segment for row in summary.segments] == ["loyal", "young"]
    assert [(row.campaign, row.reason) for row in summary.decisions] == [
        ("comeback", "send"),
        ("comeback", "no_consent"),
        ("thanks", "send"),
        ("thanks", "lost_to:comeback"),
        ("thanks", "fatigue_gap"),
    ]


def test_the_model_stands_beside_its_baselines(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    assert not isinstance(summary.model, Missing)
    assert [(row.model, row.chosen, row.baseline) for row in summary.model] == [
        ("logistic_regression", True, False),
        ("recency", False, True),
        ("base_rate", False, True),
    ]


def test_the_newest_export_run_of_the_day_counts(full: Runtime) -> None:
    export_to(full.ledger, "file", planned=0)
    summary = run_summary(full, DAY)
    assert not isinstance(summary.export, Missing)
    newest = summary.export[1].books
    assert (newest.planned, newest.present, newest.closes) == (0, SENDS, True)


def test_the_summary_is_plain_json(full: Runtime) -> None:
    found = json.loads(json.dumps(run_summary(full, DAY).to_dict()))
    assert found["as_of"] == "2017-12-03"
    assert found["export"][0]["closes"] is True
    assert found["export"][0]["reasons"] == [{"state": "rejected", "reason": "looks fake", "rows": REJECTED}]
    assert found["customers"]["people"] == CUSTOMERS


def test_missing_parts_are_told_apart_in_json(empty: Runtime) -> None:
    assert run_summary(empty, DAY).to_dict()["export"] == {"missing": "export runs in the ledger", "stage": "export"}


def test_figures_are_kept_and_agree_with_the_tables(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    with full.warehouse.connect() as session:
        assert write_run_summary(session, summary, DAY) == len(summary.metrics())
        kept = dict(session.rows(f"select metric, value from {RUN_SUMMARY} where as_of = ?", [DAY.day]))
        assert differing_figures(session, DAY) == []
    assert kept["decisions.thanks.withheld.fatigue_gap"] == 8
    assert kept["segments.young.held"] == 13
    assert kept["customers.scored"] == SCORED


def test_exporting_again_does_not_change_the_kept_figures(full: Runtime) -> None:
    before = run_summary(full, DAY).metrics()
    export_to(full.ledger, "file", planned=0)
    assert run_summary(full, DAY).metrics() == before


def test_a_table_that_changed_after_the_summary_is_noticed(full: Runtime) -> None:
    summary = run_summary(full, DAY)
    with full.warehouse.connect() as session:
        write_run_summary(session, summary, DAY)
        session.execute("delete from scores.propensity where customer_token = 't1_k_c0'")
        session.execute("delete from segments.membership where status = 'held'")
        assert differing_figures(session, DAY) == [
            "segments.%.held adds up to 13, but segments.membership has 0",
            "customers.scored adds up to 36, but scores.propensity has 35",
        ]


def test_a_table_without_rows_for_the_day_is_missing_not_zero(empty: Runtime) -> None:
    with empty.warehouse.connect() as session:
        fill_warehouse(session)
        session.execute("delete from scores.propensity")
    summary = run_summary(empty, DAY)
    assert not isinstance(summary.customers, Missing)
    assert summary.customers.scored is None
    assert isinstance(summary.outcome, Missing)
    assert "customers.scored" not in summary.metrics()


@pytest.mark.parametrize(("n", "successes"), [(1, 0), (1, 1), (40, 0), (40, 13), (1234, 1233)])
def test_the_interval_is_that_of_the_experiments_stage(n: int, successes: int) -> None:
    from personalization.stages.experiments import analysis

    expected = analysis.wilson(analysis.Arm("any", n, successes))
    assert expected is not None
    assert wilson(n, successes) == pytest.approx((expected.low, expected.high), abs=1e-12)
