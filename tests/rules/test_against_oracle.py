"""The compiler against the oracle, on generated rules and customers, row by row."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.rules import Rule, Value, evaluate_value, evaluation_query, explain, gather_facts, parse_rule
from personalization.rules import tree as t
from personalization.rules.text import to_text
from personalization.rules.words import condition_words
from personalization.warehouse import Session
from tests.rules import moment_strategies as m
from tests.rules import strategies as s
from tests.rules.oracle import Customer, Oracle

TABLES = {name: name for name in ("profile", "customer_day", "moments", "history")}
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def outcomes(session: Session, rules: dict[str, Rule], as_of: AsOf = s.AS_OF, **options) -> dict[str, dict]:
    query = evaluation_query(rules, as_of, segments=rules, **TABLES, **options)
    rows = session.arrow(query).to_pylist()
    found = {row["customer_token"]: row for row in rows}
    assert len(found) == len(rows), "one row per customer"
    return found


def agree(
    session: Session, as_of: AsOf, rules: dict[str, Rule], values: list[t.Scalar], people: list[Customer]
) -> None:
    s.fill(session, people, as_of)
    wanted = {f"v{index}": Value("", scalar) for index, scalar in enumerate(values)}
    found = outcomes(session, rules, as_of, values=wanted)
    assert found.keys() == {person.token for person in people}
    for person in people:
        oracle, row = Oracle(person, as_of, rules), found[person.token]
        for name, rule in rules.items():
            assert (row[name], row[f"{name}__decidable"]) == oracle.rule(rule), to_text(rule.condition)
        for name, value in wanted.items():
            expected = oracle.scalar(value.scalar)
            assert row[name] == expected or (row[name] is not None and math.isclose(row[name], expected))


@settings(PROPERTY, max_examples=25)
@given(rules=s.segments(), values=st.lists(s.numbers(), max_size=2), people=s.customers())
def test_sql_and_oracle_agree(
    session: Session, rules: dict[str, Rule], values: list[t.Scalar], people: list[Customer]
) -> None:
    agree(session, s.AS_OF, rules, values, people)


@settings(PROPERTY, max_examples=25)
@given(data=st.data(), as_of=st.sampled_from(m.DAYS))
def test_sql_and_oracle_agree_about_single_events(session: Session, data: st.DataObject, as_of: AsOf) -> None:
    """On days after 23, 25 and 24 hours, in zones elsewhere, at the microsecond of every edge."""
    rules = {
        f"s{index}": Rule("", condition)
        for index, condition in enumerate(data.draw(st.lists(m.conditions(), min_size=2, max_size=6)))
    }
    agree(session, as_of, rules, [data.draw(m.affinities())], data.draw(s.customers(as_of)))


@pytest.mark.slow
@settings(PROPERTY, max_examples=600)
@given(data=st.data(), as_of=st.sampled_from(m.DAYS))
def test_sql_and_oracle_agree_about_everything(session: Session, data: st.DataObject, as_of: AsOf) -> None:
    values = data.draw(st.lists(s.numbers(), max_size=2))
    agree(session, as_of, data.draw(s.segments(8)), values, data.draw(s.customers(as_of)))


@PROPERTY
@given(rules=s.segments(), people=s.customers())
def test_a_written_rule_reads_back_equal_and_explains_itself(
    session: Session, rules: dict[str, Rule], people: list[Customer]
) -> None:
    s.fill(session, people[:1])
    session.execute("create or replace table membership (as_of date, segment text, customer_token text, status text)")
    facts = gather_facts(session, rules.values(), s.AS_OF, people[0].token, membership="membership", **TABLES)
    assert facts is not None
    oracle = Oracle(people[0], s.AS_OF, {name: Rule("", t.Always(False)) for name in rules})
    for rule in rules.values():
        text = to_text(rule.condition)
        assert parse_rule(text, s.CATALOG).condition == m.with_days_of_the_program(rule.condition), text
        assert condition_words(rule.condition)
        trace = explain(rule, facts)
        assert (trace.holds, trace.outcome is not None) == oracle.rule(rule), str(trace)


@PROPERTY
@given(a=s.conditions(), b=s.conditions(), people=s.customers())
def test_laws_of_logic(session: Session, a: t.Condition, b: t.Condition, people: list[Customer]) -> None:
    s.fill(session, people)
    laws = {
        "de morgan and": (t.Not(t.And((a, b))), t.Or((t.Not(a), t.Not(b)))),
        "de morgan or": (t.Not(t.Or((a, b))), t.And((t.Not(a), t.Not(b)))),
        "not not": (t.Not(t.Not(a)), a),
        "order of and": (t.And((a, b)), t.And((b, a))),
        "order of or": (t.Or((a, b)), t.Or((b, a))),
        "distribution": (t.And((a, t.Or((a, b)))), a),
    }
    rules = {f"{name} {side}": Rule("", both[side]) for name, both in laws.items() for side in (0, 1)}
    for row in outcomes(session, rules).values():
        for name in laws:
            for column in ("", "__decidable"):
                assert row[f"{name} 0{column}"] == row[f"{name} 1{column}"], name


@PROPERTY
@given(behaviour=s.behaviours(counts_only=True), people=s.customers())
def test_a_longer_window_never_sees_less(session: Session, behaviour: t.Behaviour, people: list[Customer]) -> None:
    s.fill(session, people)
    windows = (1, 7, 8, 14, 28, None)
    counts = [t.Behaviour(behaviour.event, "events", days, behaviour.where) for days in windows]
    values = {f"w{index}": Value("", count) for index, count in enumerate(counts)}
    query = evaluation_query({}, s.AS_OF, values=values, **TABLES)
    for row in session.arrow(query).to_pylist():
        seen = [row[name] for name in values]
        assert seen == sorted(seen)


@PROPERTY
@given(value=s.numbers(), people=s.customers())
def test_a_value_is_explained_as_computed(session: Session, value: t.Scalar, people: list[Customer]) -> None:
    s.fill(session, people)
    wanted = Value("", value)
    row = session.rows(evaluation_query({}, s.AS_OF, values={"v": wanted}, **TABLES) + " order by customer_token")[0]
    facts = gather_facts(session, [wanted], s.AS_OF, people[0].token, **TABLES)
    assert facts is not None
    assert evaluate_value(wanted, facts) == row[1]
