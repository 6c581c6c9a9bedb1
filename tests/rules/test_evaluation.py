"""The meaning of missing values, windows and references, on a few customers whose answers are known by hand."""

from __future__ import annotations

import pytest

from personalization.errors import ProgramError
from personalization.rules import Rule, evaluation_query, explain, gather_facts, parse_rule, parse_value
from personalization.warehouse import Session
from tests.rules import strategies as s
from tests.rules.oracle import Customer, Day

TABLES = {name: name for name in ("profile", "customer_day", "moments", "history")}
MISSING = {"visits": None, "score": None, "city": None, "joined": None, "vip": None}


def rule(text: str, unknown: str = "exclude") -> Rule:
    return parse_rule(text, s.CATALOG, unknown=unknown)  # type: ignore[arg-type]


def one(session: Session, text: str, unknown: str = "exclude", days: tuple[Day, ...] = (), **fields) -> tuple:
    """Whether a rule holds for one customer, and whether it was decided."""
    s.fill(session, [Customer("t", {**MISSING, **fields}, days)])
    query = evaluation_query({"r": rule(text, unknown)}, s.AS_OF, **TABLES)
    return session.rows(query)[0][1:]


@pytest.mark.parametrize(
    ("text", "exclude", "include", "hold", "decided"),
    [
        ("visits > 5", False, True, False, False),
        ("NOT (visits > 5)", False, True, False, False),
        ("visits <> 5", False, True, False, False),
        ("NOT (visits = 5)", False, True, False, False),
        ("visits NOT IN (5)", False, True, False, False),
        ("city LIKE '%'", False, True, False, False),
        ("visits > 5 AND FALSE", False, False, False, True),
        ("visits > 5 OR TRUE", True, True, True, True),
        ("visits > 5 OR FALSE", False, True, False, False),
        ("visits BETWEEN 1 AND 5", False, True, False, False),
        ("known(visits)", False, False, False, True),
        ("NOT known(visits)", True, True, True, True),
        ("known(visits) AND visits > 5", False, False, False, True),
        ("NOT known(visits) OR visits > 5", True, True, True, True),
        ("visits * 0 = 0", False, True, False, False),
        ("vip", False, True, False, False),
        ("NOT vip", False, True, False, False),
        ("did('purchase')", False, False, False, True),
        ("NOT did('purchase', within => '30 days')", True, True, True, True),
        ("count_of('mailing') = 0", True, True, True, True),
        ("sum_of('purchase', 'amount') < 1", True, True, True, True),
        ("days_since('purchase') > 30", False, True, False, False),
        ("NOT known(days_since('purchase'))", True, True, True, True),
    ],
)
def test_a_customer_about_whom_nothing_is_known(
    session: Session, text: str, exclude: bool, include: bool, hold: bool, decided: bool
) -> None:
    found = {unknown: one(session, text, unknown) for unknown in ("exclude", "include", "hold")}
    assert found == {"exclude": (exclude, decided), "include": (include, decided), "hold": (hold, decided)}


@pytest.mark.parametrize(
    ("text", "fields", "holds"),
    [
        ("visits / (visits - visits) > 1 OR NOT known(visits / (visits - visits))", {"visits": 3}, True),
        ("known(score * 1e300 * 1e300)", {"score": 7.0}, False),
        ("visits * 9007199254740992 * 1024 > 1", {"visits": 7}, True),
        ("score = 0.1 + 0.2", {"score": 0.1 + 0.2}, True),
        ("visits = 1.0", {"visits": 1}, True),
        ("visits > 0.99999", {"visits": 1}, True),
        ("city = 'Bonn'", {"city": "bonn"}, False),
        ("city LIKE 'B_n%'", {"city": "Bonn"}, True),
        ("joined = as_of - 1", {"joined": s.day(1)}, True),
        ("joined BETWEEN '2024-02-29' AND days_ago(0)", {"joined": s.day(1)}, True),
        ("as_of - joined = 29", {"joined": s.day(29)}, True),
    ],
)
def test_values(session: Session, text: str, fields: dict, holds: bool) -> None:
    assert one(session, text, **fields) == (holds, True)


@pytest.mark.parametrize(
    ("days_before", "seen"), [(-1, False), (0, False), (1, True), (7, True), (8, False), (400, False)]
)
def test_edges_of_a_window(session: Session, days_before: int, seen: bool) -> None:
    """The day of evaluation is not over and does not count; the first day of the window does."""
    days = (Day(s.day(days_before), "mailing", campaign_id="c1"),)
    assert one(session, "did('mailing', within => '7 days')", days=days) == (seen, True)


def test_a_purchase_over_two_departments_counts_once(session: Session) -> None:
    days = (
        Day(s.day(1), "purchase", events=1, amount=9),
        Day(s.day(1), "purchase", "MEAT", events=1, amount=4),
        Day(s.day(1), "purchase", "Floral", events=1, amount=5),
    )
    assert one(session, "count_of('purchase') = 1 AND sum_of('purchase', 'amount') = 9", days=days) == (True, True)
    assert one(session, "did('purchase', department => 'floral')", days=days) == (True, True)
    assert one(session, "did('purchase', department => 'FLORAL', at_least => 2)", days=days) == (False, True)


def test_references_follow_the_choice_of_the_segment(session: Session) -> None:
    s.fill(session, [Customer("t", MISSING)])
    segments = {name: rule("visits > 5", name) for name in ("exclude", "include", "hold")}
    rules = {name: rule(f"in_segment('{name}')") for name in segments}
    row = session.arrow(evaluation_query(rules, s.AS_OF, segments=segments, **TABLES)).to_pylist()[0]
    assert (row["exclude"], row["exclude__decidable"]) == (False, True)
    assert (row["include"], row["include__decidable"]) == (True, True)
    assert (row["hold"], row["hold__decidable"]) == (False, False)


def test_references_can_be_read_from_a_table(session: Session) -> None:
    s.fill(session, [Customer(token, MISSING) for token in ("member", "held", "none")])
    session.execute("create or replace table membership (as_of date, segment text, customer_token text, status text)")
    session.execute(
        "insert into membership values ($1, 'a', 'member', 'in'), ($1, 'a', 'held', 'held'), ($2, 'a', 'none', 'in')",
        [s.AS_OF.day, s.day(1)],
    )
    rules = {"in": rule("in_segment('a')"), "out": rule("NOT in_segment('a')")}
    query = evaluation_query(rules, s.AS_OF, membership="membership", **TABLES)
    found = {row[0]: row[1:] for row in session.rows(query)}
    assert found == {
        "member": (True, True, False, True),
        "held": (False, False, False, False),
        "none": (False, True, True, True),
    }


def test_a_reference_to_nowhere_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"in_segment\('a'\): the segment is neither defined nor read"):
        evaluation_query({"r": rule("in_segment('a')")}, s.AS_OF)


def test_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(ProgramError, match="two columns"):
        evaluation_query({"r": rule("TRUE"), "R": rule("TRUE")}, s.AS_OF)


def test_one_scan_of_each_table_and_each_distinct_part_once() -> None:
    text = "did('purchase', within => '7 days') AND visits > 1"
    segments = {f"s{index}": rule(text if index % 2 else f"{text} AND in_segment('s1')") for index in range(10)}
    query = evaluation_query(segments, s.AS_OF, segments=segments, **TABLES)
    assert query.count("customer_day") == 1
    assert query.count("FROM profile") == 1
    assert query.count("SUM(") == 1
    assert "_r2" not in query, "five equal rules of two kinds are two columns"


def test_without_behaviour_the_rollup_is_not_read() -> None:
    assert "customer_day" not in evaluation_query({"r": rule("visits > 1")}, s.AS_OF, **TABLES)


def test_carried_columns_and_values(session: Session) -> None:
    s.fill(session, [Customer("t", {**MISSING, "visits": 2, "city": "Bonn"})])
    value = parse_value("visits * 1.5", s.CATALOG)
    missing = parse_value("visits * score", s.CATALOG)
    query = evaluation_query({}, s.AS_OF, values={"v": value, "w": missing}, columns=["city", "visits"], **TABLES)
    assert session.arrow(query).to_pylist() == [
        {"customer_token": "t", "city": "Bonn", "visits": 2, "v": 3.0, "w": None}
    ]


def test_a_trace_reads_like_the_rule(session: Session) -> None:
    days = (Day(s.day(3), "purchase", amount=9),)
    s.fill(session, [Customer("t", {**MISSING, "visits": 2}, days)])
    written = rule("visits > 1 AND (score > 0.5 OR NOT did('purchase', within => '7 days'))", "include")
    facts = gather_facts(session, [written], s.AS_OF, "t", **TABLES)
    assert facts is not None
    trace = explain(written, facts)
    assert str(trace) == (
        "undecided visits > 1 AND (score > 0.5 OR NOT did('purchase', within => '7 days'))\n"
        "  yes       visits > 1   (visits: 2)\n"
        "  undecided score > 0.5 OR NOT did('purchase', within => '7 days')\n"
        "    undecided score > 0.5   (score: missing)\n"
        "    no        NOT did('purchase', within => '7 days')\n"
        "      yes       did('purchase', within => '7 days')   (number of purchases in the 7 days before: 1)"
    )
    assert (trace.outcome, trace.holds) == (None, True)
    assert gather_facts(session, [written], s.AS_OF, "nobody", **TABLES) is None
