"""Mailings on record: watched equally long, one a customer in the test, and never called an effect."""

from __future__ import annotations

from datetime import timedelta

from personalization.stages.experiments.mailings import NAME, compare_mailing_kinds
from personalization.stages.experiments.readout import ResultRow
from tests.experiments.conftest import ASSIGNED, Lab, after

CROWD = [f"c{number}" for number in range(200)]


def compare(lab: Lab, days: int = 60) -> dict[tuple[str, str], ResultRow]:
    rows = compare_mailing_kinds(lab.session, after(days), 28)
    assert {row.experiment for row in rows} <= {NAME}
    return {(row.comparison, row.arm): row for row in rows}


def record(lab: Lab, first: int = -30, last: int = 59) -> None:
    """Purchases on record from the first to the last of these days, counted from the assignment."""
    lab.purchases(["somebody"], ASSIGNED + timedelta(days=first))
    lab.purchases(["somebody"], ASSIGNED + timedelta(days=last))


def test_kinds_are_compared_by_each_customers_first_mailing(lab: Lab) -> None:
    record(lab)
    lab.kind("m1", "A")
    lab.kind("m2", "B")
    lab.mail(CROWD[:120], ASSIGNED, "m1")
    lab.mail(CROWD[100:], ASSIGNED + timedelta(days=5), "m2")  # twenty were mailed m1 before
    lab.mail(CROWD[:30], ASSIGNED + timedelta(days=10), "m1", "converted")
    lab.mail(CROWD[110:125], ASSIGNED + timedelta(days=10), "m2", "converted")
    rows = compare(lab)
    first = "first mailing, against A"
    assert (rows[first, "A"].n, rows[first, "A"].conversions) == (120, 30)
    assert (rows[first, "B"].n, rows[first, "B"].conversions) == (80, 5)
    assert rows[first, "B"].verdict == "association"
    assert rows[first, "B"].note.startswith("Customers were not randomised to these groups")
    assert (rows["all mailings", "B"].n, rows["all mailings", "B"].conversions) == (100, 15)
    assert rows["all mailings", "B"].verdict == "descriptive"
    assert rows["all mailings", "B"].p_value is None


def test_every_mailing_is_watched_for_equally_long(lab: Lab) -> None:
    record(lab)
    lab.kind("m1", "A")
    lab.mail(CROWD[:3], ASSIGNED, "m1")
    lab.mail(CROWD[:1], ASSIGNED + timedelta(days=27), "m1", "converted")
    lab.mail(CROWD[1:2], ASSIGNED + timedelta(days=28), "m1", "converted")
    assert compare(lab)["all mailings", "A"].conversions == 1


def test_mailings_whose_window_lies_outside_the_record_are_left_out(lab: Lab) -> None:
    record(lab, first=0, last=59)
    lab.purchases(["somebody"], ASSIGNED + timedelta(days=58))
    lab.kind("m1", "A")
    lab.mail(CROWD[:2], ASSIGNED - timedelta(days=1), "m1")
    lab.mail(CROWD[2:5], ASSIGNED, "m1")
    lab.mail(CROWD[5:9], ASSIGNED + timedelta(days=32), "m1")
    lab.mail(CROWD[9:14], ASSIGNED + timedelta(days=33), "m1")  # its window needs one day more
    assert compare(lab, days=200)["all mailings", "A"].n == 7
    assert compare(lab, days=59)["all mailings", "A"].n == 3


def test_one_kind_alone_is_described(lab: Lab) -> None:
    record(lab)
    lab.kind("m1", None)
    lab.mail(CROWD[:9], ASSIGNED, "m1")
    row = compare(lab)["first mailing, against unnamed", "unnamed"]
    assert (row.n, row.verdict) == (9, "descriptive")
    assert row.note == "There is one kind only."


def test_without_mailings_there_are_no_rows(lab: Lab) -> None:
    record(lab)
    assert compare_mailing_kinds(lab.session, after(60), 28) == []
