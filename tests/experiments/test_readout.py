"""From counts to verdicts: when a test is made, what withholds it, and what the sentences say."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.stages.experiments.analysis import Arm
from personalization.stages.experiments.readout import Comparison, Design, markdown

HALVES = {"plain": 0.5, "personal": 0.5}


def comparison(design: Design = "experiment", shares: dict[str, float] | None = HALVES) -> Comparison:
    return Comparison("hero v1", "purchase_28d", "plain", design, shares)


@pytest.mark.parametrize(
    ("design", "converted", "verdict"),
    [
        ("experiment", 260, "difference"),
        ("experiment", 205, "no_difference"),
        ("aa", 260, "aa_difference"),
        ("aa", 205, "aa_no_difference"),
        ("observed", 260, "association"),
        ("observed", 205, "no_association"),
    ],
)
def test_the_verdict_depends_on_test_and_design(design: Design, converted: int, verdict: str) -> None:
    rows = comparison(design).read_out([Arm("plain", 1000, 200), Arm("personal", 1000, converted)])
    assert {row.verdict for row in rows} == {verdict}
    control, treatment = rows
    assert (control.arm, control.rate, control.diff, control.diff_low) == ("plain", 0.2, None, None)
    assert treatment.diff == pytest.approx(converted / 1000 - 0.2)
    assert treatment.diff_low is not None
    assert treatment.diff_high is not None
    assert treatment.diff_low < treatment.diff < treatment.diff_high
    assert control.p_value == treatment.p_value is not None
    assert control.srm_p == 1


def test_a_sample_ratio_mismatch_withholds_everything_but_the_sizes() -> None:
    rows = comparison().read_out([Arm("plain", 10_400, 2_000), Arm("personal", 9_600, 2_500)])
    for row, n in zip(rows, (10_400, 9_600), strict=True):
        assert (row.verdict, row.n) == ("withheld_srm", n)
        assert (row.conversions, row.rate, row.diff, row.chi2, row.p_value) == (None, None, None, None, None)
        assert row.srm_p is not None
        assert row.srm_p < 0.001
        assert (
            "plain 10400, personal 9600 customers, which does not fit the declared plain 50%, personal 50%" in row.note
        )


def test_too_few_for_a_test_still_shows_rates_and_interval() -> None:
    rows = comparison().read_out([Arm("plain", 20, 2), Arm("personal", 22, 3)])
    assert {row.verdict for row in rows} == {"too_small"}
    assert {row.p_value for row in rows} == {None}
    assert rows[1].diff_low is not None
    assert "Too few customers or conversions for a test." in rows[0].note


def test_nothing_found_says_what_would_have_been_found() -> None:
    rows = comparison().read_out([Arm("plain", 1000, 200), Arm("personal", 1000, 205)])
    assert rows[1].note == (
        "The rate of personal is 0.5 points more than that of plain (95 % interval -3.0 to +4.0; +2.5% relative). "
        "With these sizes 5.0 points are found four times in five."
    )


def test_designs_without_treatment_or_randomisation_say_so() -> None:
    arms = [Arm("plain", 1000, 200), Arm("personal", 1000, 260)]
    aa, observed = comparison("aa").read_out(arms)[1], comparison("observed", None).read_out(arms)[1]
    assert aa.note.startswith("A/A check: no acknowledged send is on record")
    assert "One A/A check in twenty shows" in aa.note
    assert observed.note.startswith("Customers were not randomised to these groups: a difference is an association")
    assert observed.srm_p is None


def test_several_arms_share_one_test_and_wider_intervals() -> None:
    arms = [Arm("a", 1000, 200), Arm("b", 1000, 280), Arm("c", 1000, 210)]
    shares = {"a": 0.34, "b": 0.33, "c": 0.33}
    rows = Comparison("three", "conversion", "a", "experiment", shares).read_out(arms)
    alone = Comparison("two", "conversion", "a", "experiment", None).read_out([arms[0], arms[2]])
    assert {row.verdict for row in rows} == {"difference"}
    assert rows[2].diff_high is not None
    assert alone[1].diff_high is not None
    assert rows[2].diff_high > alone[1].diff_high
    assert rows[2].note.endswith("this one alone is not shown to differ.")


def test_waiting_shows_sizes_and_checks_them() -> None:
    rows = comparison().waiting({"plain": 100, "personal": 104}, "Outcomes later.")
    assert [(row.arm, row.n, row.verdict, row.note, row.rate) for row in rows] == [
        ("plain", 100, "waiting", "Outcomes later.", None),
        ("personal", 104, "waiting", "Outcomes later.", None),
    ]
    assert rows[0].srm_p == pytest.approx(0.779, abs=0.001)
    assert comparison().waiting({"plain": 10_400, "personal": 9_600}, "")[0].verdict == "withheld_srm"


@pytest.mark.parametrize("sizes", [{"plain": 0, "personal": 0}, {"plain": 0, "personal": 3}])
def test_empty_arms_make_no_trouble(sizes: dict[str, Any]) -> None:
    rows = comparison("observed", None).read_out([Arm(name, n, 0) for name, n in sizes.items()])
    assert {row.verdict for row in rows} == {"too_small"}


def test_the_table_for_people() -> None:
    text = markdown(comparison().read_out([Arm("plain", 1000, 200), Arm("personal", 1000, 260)]))
    assert "| hero v1 | against plain | plain | 1000 | 20.0% |  | 0.00143 | difference |" in text
    assert "| personal | 1000 | 26.0% | +6.0 points (+2.3 to +9.7) | 0.00143 | difference |" in text
