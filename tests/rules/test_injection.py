"""Nothing a user writes becomes SQL: what is no rule is refused, and what is text stays text."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalization.errors import ProgramError
from personalization.rules import describe, evaluation_query, parse_rule
from personalization.rules import tree as t
from personalization.rules.text import to_text
from personalization.warehouse import Session
from tests.rules import strategies as s
from tests.rules.oracle import Customer, Happening, Stay

ATTEMPTS = [
    "visits > 1; DROP TABLE profile",
    "visits > 1 -- and the rest is gone",
    "visits > 1 /* hidden */ AND vip",
    "visits > 1 # vip",
    "visits IN (SELECT visits FROM profile)",
    "visits = (SELECT max(visits) FROM profile)",
    "EXISTS (SELECT 1)",
    "visits > ALL (SELECT 1)",
    "visits > 1 UNION SELECT 1",
    "SELECT * FROM profile",
    "DROP TABLE profile",
    "COPY profile TO 'x'",
    "ATTACH 'x'",
    "PRAGMA database_list",
    "INSTALL httpfs",
    "read_csv('/etc/passwd') = 'x'",
    "read_text('/etc/passwd') = 'x'",
    "getenv('HOME') = 'x'",
    "known(read_csv('x'))",
    "did('purchase', department => read_text('x'))",
    "in_segment('a' || 'b')",
    "visits = random()",
    "city = e'\\x27'",
    "city = $$x$$",
    "city = $1",
    "city = ?",
    "city = $name",
    "city = @name",
    "profile.city = 'x'",
    "city[1] = 'x'",
    "{'a': 1} = 2",
    "[1, 2] = visits",
    "visits = (x -> x)",
    "visits = (lambda x: x)",
    "rowid = 1",
    "_b0 = 1",
    "customer_token = 'x'",
    "email_token = 'x'",
    "visits COLLATE nocase = 1",
    "visits OVER () = 1",
    "count(*) OVER () > 1",
    "visits AS x",
    "*",
    "visits = 1 LIMIT 1",
    "visits = 1 ORDER BY 1",
    "city = 'a\x00b'",
    "city = 'a\nb'",
    "city LIKE 'a' ESCAPE '!'",
    "try_cast(city AS int) = 1",
    "visits = 1\\; drop",
    "\x00then(did('visit'))",
    "\"\x00then\"(did('visit'), did('visit'), '1 day')",
    "then(did('visit'), did('visit'), '1 day')",
    "did('visit') THEN (SELECT 1) WITHIN '1 day'",
    "did('visit') THEN did('visit') WITHIN (SELECT '1 day')",
    "did('visit') THEN did('visit') WITHIN '1 day; DROP TABLE profile'",
    "did('visit') THEN did((SELECT 'visit')) WITHIN '1 day'",
    "did('visit') THEN did('visit'); DROP TABLE profile; WITHIN '1 day'",
    "did('visit', within => '1 hour OR TRUE')",
    "did('visit', detail => (SELECT 1))",
    "last('visit', (SELECT 'category')) = 'x'",
    "last('visit', 'category; --') = 'x'",
    "last(visits) = 1",
    "last(visits ORDER BY 1) = 1",
    "first(visits) OVER () = 1",
    "last('visit', 'category') OVER () = 'x'",
    "affinity('department', read_text('x')) > 0",
    "affinity('department; --', 'x') > 0",
    "opened_previous_email(within => '1 day' || 'x')",
    "was_in_segment((SELECT 'a'))",
    "was_in_segment('a', within => 'x'' OR 1 = 1 --')",
    "moment_us > 0",
    "_today = as_of",
    "_e0 = 1",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_refused(attempt: str) -> None:
    with pytest.raises(ProgramError):
        parse_rule(attempt, s.CATALOG)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20))
@pytest.mark.parametrize("quote", ["'", '"; drop table profile; --', "''", "'' OR 1 = 1 --", "\\' OR TRUE --", "%", ""])
def test_text_stays_text(session: Session, quote: str, text: str) -> None:
    """Any text, written with its quotes doubled, finds exactly the customer who has it."""
    value = text + quote
    people = [Customer("same", _fields(value)), Customer("other", _fields(value + "x"))]
    s.fill(session, people)
    written = "city = '" + value.replace("'", "''") + "'"
    rule = parse_rule(written, s.CATALOG)
    assert rule.condition == t.Comparison("=", t.FieldRef("city", "text"), t.Constant(value, "text"))
    name = f'"{value}" -- {value}'
    query = evaluation_query({name: rule}, s.AS_OF, profile="profile", customer_day="customer_day")
    found = {row["customer_token"]: row[name] for row in session.arrow(query).to_pylist()}
    assert found == {"same": True, "other": False}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20))
@pytest.mark.parametrize("quote", ["'", '"; drop table moments; --', "' OR TRUE --", "\\"])
def test_text_in_events_stays_text(session: Session, quote: str, text: str) -> None:
    """A property, a latest value and a segment's name of any text find exactly the customer who has it."""
    value = text + quote
    instant = s.AS_OF.instant - timedelta(hours=30)
    people = [
        Customer(
            token, _fields(""), happenings=(Happening(instant, "visit", detail=each),), stays=(Stay(each, s.day(9)),)
        )
        for token, each in (("same", value), ("other", value + "x"))
    ]
    s.fill(session, people)
    written = value.replace("'", "''")
    texts = {
        "property": f"did('visit', detail => '{written}', within => '48 hours')",
        "sequence": f"did('visit', detail => '{written}') THEN NOT did('visit', detail => '{written}') WITHIN '1 day'",
        "latest": f"last('visit', 'detail') = '{written}'",
        "segment": f"was_in_segment('{written}')",
    }
    rules = {name: parse_rule(each, s.CATALOG) for name, each in texts.items()}
    query = evaluation_query(rules, s.AS_OF, profile="profile", moments="moments", history="history")
    for row in session.arrow(query).to_pylist():
        assert {row[name] for name in texts} == {row["customer_token"] == "same"}, row
    for rule in rules.values():
        assert describe(rule)
        assert parse_rule(to_text(rule.condition), s.CATALOG).condition == rule.condition


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(ATTEMPTS), max_size=3).map(" AND ".join)))
def test_any_text_is_a_rule_or_a_program_error(text: str) -> None:
    try:
        rule = parse_rule(text, s.CATALOG)
    except ProgramError as error:
        shown = str(error)
    else:
        shown = describe(rule)
    assert shown


def _fields(city: str) -> dict:
    return {"visits": None, "score": None, "city": city, "joined": None, "vip": None}
