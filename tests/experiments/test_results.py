"""Assignments and read-outs from the warehouse: who counts, from when, with which outcome, and under which design."""

from __future__ import annotations

from datetime import timedelta

import pytest

from personalization.stages.experiments.outcomes import experiment_outcomes, holdout_outcomes, record_assignments
from personalization.stages.experiments.readout import ResultRow
from personalization.stages.experiments.results import read_out_day
from tests.experiments.conftest import ASSIGNED, Lab, after

PLAIN = [f"plain{number}" for number in range(40)]
PERSONAL = [f"personal{number}" for number in range(40)]
HELD = [f"held{number}" for number in range(26)]


@pytest.fixture
def assigned(lab: Lab) -> Lab:
    """Forty customers in each arm, a quarter of all held out, and some who never came so far."""
    lab.decide(
        [
            *((token, [], "plain") for token in PLAIN),
            *((token, [], "personal") for token in PERSONAL),
            *((token, ["holdout"], None) for token in HELD),
            ("denied", ["no_consent", "holdout"], None),
            ("tired", ["fatigue_gap"], None),
        ]
    )
    record_assignments(lab.session, lab.program, after(0))
    return lab


def rows_of(lab: Lab, days: int, experiment: str) -> list[ResultRow]:
    return [row for row in read_out_day(lab.session, lab.program, after(days)) if row.experiment == experiment]


def test_only_sends_with_a_variant_are_assigned(assigned: Lab) -> None:
    rows = assigned.session.rows(
        "select as_of, experiment, version, arm, count(*) from experiments.assignments group by all order by arm"
    )
    assert rows == [(ASSIGNED, "hero", 1, "personal", 40), (ASSIGNED, "hero", 1, "plain", 40)]


def test_before_the_window_closes_nothing_is_read(assigned: Lab) -> None:
    assigned.purchases(PERSONAL, ASSIGNED + timedelta(days=40))
    for row in rows_of(assigned, 27, "hero v1"):
        assert (row.verdict, row.n, row.conversions) == ("waiting", 40, None)
        assert row.note == (
            "Outcomes of the first assigned customers are known from 2017-11-29 on. No sends acknowledged yet."
        )


def test_a_window_does_not_close_before_the_record_of_purchases_does(assigned: Lab) -> None:
    assigned.purchases(PLAIN[:1], ASSIGNED + timedelta(days=26))
    assert {row.verdict for row in rows_of(assigned, 60, "hero v1")} == {"waiting"}
    assigned.purchases(PLAIN[1:2], ASSIGNED + timedelta(days=27))
    assert {row.verdict for row in rows_of(assigned, 60, "hero v1")} != {"waiting"}


def test_without_acknowledged_sends_it_is_an_aa_check(assigned: Lab) -> None:
    assigned.purchases([*PLAIN[:30], *PERSONAL[:28]], ASSIGNED + timedelta(days=27))
    plain, personal = rows_of(assigned, 28, "hero v1")
    assert (plain.arm, plain.conversions, personal.arm, personal.conversions) == ("plain", 30, "personal", 28)
    assert plain.verdict == "aa_no_difference"
    assert plain.note.startswith("A/A check")


def test_with_acknowledged_sends_it_is_the_experiment(assigned: Lab) -> None:
    assigned.mail(PLAIN[:1], ASSIGNED - timedelta(days=1), "spring")  # before the assignment: no treatment
    assigned.mail(PLAIN[:1], ASSIGNED + timedelta(days=1), "other")
    assigned.purchases([*PLAIN[:30], *PERSONAL[:28]], ASSIGNED + timedelta(days=27))
    assert rows_of(assigned, 28, "hero v1")[0].verdict == "aa_no_difference"
    assigned.mail([*PLAIN, *PERSONAL], ASSIGNED, "spring")
    outcomes = experiment_outcomes(assigned.session, assigned.program, "hero", after(28))
    assert outcomes.reached == 80
    assert rows_of(assigned, 28, "hero v1")[0].verdict == "no_difference"


def test_purchases_count_within_28_days_from_the_assignment(assigned: Lab) -> None:
    assigned.purchases(PLAIN[:1], ASSIGNED - timedelta(days=1))
    assigned.purchases(PLAIN[1:3], ASSIGNED)
    assigned.purchases(PLAIN[3:6], ASSIGNED + timedelta(days=27))
    assigned.purchases(PLAIN[6:9], ASSIGNED + timedelta(days=28))
    assert experiment_outcomes(assigned.session, assigned.program, "hero", after(90)).closed[0].conversions == 5


def test_a_customer_counts_from_the_first_assignment_on_and_once(assigned: Lab) -> None:
    later = ASSIGNED + timedelta(days=7)
    assigned.decide([(token, [], "plain") for token in [*PLAIN, "newcomer"]], later)
    record_assignments(assigned.session, assigned.program, after(7))
    assigned.purchases(PLAIN[:1], ASSIGNED + timedelta(days=30))  # within 28 days of the second assignment only
    outcomes = experiment_outcomes(assigned.session, assigned.program, "hero", after(31))
    assert outcomes.assigned == {"plain": 41, "personal": 40}
    assert [(arm.n, arm.conversions) for arm in outcomes.closed] == [(40, 0), (40, 0)]


def test_the_conversion_metric_counts_responses_to_the_experiments_campaigns(assigned: Lab) -> None:
    experiment = assigned.program.experiments["hero"]
    assigned.program.experiments["hero"] = experiment.model_copy(update={"metric": "conversion"})
    assigned.purchases(PLAIN, ASSIGNED + timedelta(days=27))
    assigned.conversions(PERSONAL[:4], ASSIGNED + timedelta(days=5))
    assigned.conversions(PERSONAL[4:9], ASSIGNED + timedelta(days=5), campaign="other")
    plain, personal = experiment_outcomes(assigned.session, assigned.program, "hero", after(28)).closed
    assert (plain.conversions, personal.conversions) == (0, 4)


def test_the_holdout_is_compared_with_all_who_reached_its_gate(assigned: Lab) -> None:
    """Whoever was stopped before it is in neither group, whoever was stopped later stays in."""
    assigned.purchases([*HELD[:5], *PLAIN[:20], "tired", "denied"], ASSIGNED + timedelta(days=27))
    outcomes = holdout_outcomes(assigned.session, assigned.program, after(28))
    assert outcomes.assigned == {"holdout": 26, "campaigns": 81}
    assert [(arm.name, arm.n, arm.conversions) for arm in outcomes.closed] == [
        ("holdout", 26, 5),
        ("campaigns", 81, 21),
    ]
    rows = rows_of(assigned, 28, "global_holdout")
    assert {(row.comparison, row.verdict) for row in rows} == {("against holdout", "aa_no_difference")}


def test_an_unfair_assignment_withholds_the_read_out(lab: Lab) -> None:
    lab.decide([(f"c{number}", [], "plain" if number < 90 else "personal") for number in range(130)])
    record_assignments(lab.session, lab.program, after(0))
    lab.purchases(["c1"], ASSIGNED + timedelta(days=27))
    assert {row.verdict for row in rows_of(lab, 28, "hero v1")} == {"withheld_srm"}


def test_nobody_assigned_yet(lab: Lab) -> None:
    lab.decide([])
    record_assignments(lab.session, lab.program, after(0))
    rows = rows_of(lab, 0, "hero v1")
    assert [(row.n, row.verdict, row.note) for row in rows] == [(0, "waiting", "Nobody has been assigned yet.")] * 2


def test_reading_out_again_gives_identical_rows(assigned: Lab) -> None:
    assigned.purchases([*PLAIN[:30], *PERSONAL[:28]], ASSIGNED + timedelta(days=27))
    read_out_day(assigned.session, assigned.program, after(28))
    first = assigned.session.fingerprint("experiments.results")
    read_out_day(assigned.session, assigned.program, after(28))
    assert assigned.session.fingerprint("experiments.results") == first
    assert assigned.session.rows("select distinct as_of from experiments.results") == [(after(28).day,)]
