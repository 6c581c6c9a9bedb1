"""Draws: uniform, stable, independent across salts, equal in Python and SQL."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from personalization.stages.decisions.assignment import (
    arm_of,
    arm_salt,
    arm_sql,
    draw,
    draw_sql,
    held_out_sql,
    is_held_out,
)

TOKENS = [f"t1_k1_{number:032x}" for number in range(20_000)]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create table customers as select unnest(?::varchar[]) as customer_token", [TOKENS])
    return connection


def test_a_draw_never_changes() -> None:
    """Fixed vectors: a change here would move every customer of every running experiment."""
    assert draw("holdout-1", "t1_k1_abc") == 15155879264541043343
    assert draw("", "") == 0xE7AC0786668E0FF0
    assert arm_salt("personal-hero-1", 2) == "personal-hero-1/v2"


@given(salt=st.text(max_size=20), token=st.text(max_size=40).filter(lambda text: "\x00" not in text))
def test_sql_and_python_agree_on_any_text(connection: duckdb.DuckDBPyConnection, salt: str, token: str) -> None:
    salt = salt.replace("\x00", "")
    arms = {"a": 0.1, "b": 0.2, "c": 0.7}
    drawn = f"{draw_sql(salt)}, {held_out_sql(salt, 0.3)}, {arm_sql(salt, 3, arms)}"
    query = f"select {drawn} from (select ? as customer_token)"
    assert connection.execute(query, [token]).fetchone() == (
        draw(salt, token),
        is_held_out(salt, 0.3, token),
        arm_of(salt, 3, arms, token),
    )


def test_draws_are_uniform(connection: duckdb.DuckDBPyConnection) -> None:
    shares = [draw("uniform", token) / 2**64 for token in TOKENS]
    assert stats.kstest(shares, "uniform").pvalue > 0.001


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_a_holdout_is_as_large_as_declared(share: float) -> None:
    held = sum(is_held_out("holdout", share, token) for token in TOKENS)
    if share in (0.0, 1.0):
        assert held == share * len(TOKENS)
    assert stats.binomtest(held, len(TOKENS), share).pvalue > 0.001


def test_a_larger_holdout_keeps_everyone_of_the_smaller() -> None:
    smaller = {token for token in TOKENS if is_held_out("holdout", 0.05, token)}
    larger = {token for token in TOKENS if is_held_out("holdout", 0.10, token)}
    assert smaller < larger


@pytest.mark.parametrize(
    ("first", "second"), [("a", "b"), ("holdout-1", "holdout-2"), (arm_salt("x", 1), arm_salt("x", 2))]
)
def test_draws_under_two_salts_are_independent(first: str, second: str) -> None:
    table = [[0] * 4 for _ in range(4)]
    for token in TOKENS:
        table[draw(first, token) >> 62][draw(second, token) >> 62] += 1
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_arms_whose_shares_miss_one_by_a_rounding_error_lose_nobody() -> None:
    thirds = {"a": 0.333333333, "b": 0.333333333, "c": 0.333333333}
    sizes = [sum(arm_of("thirds", 1, thirds, token) == arm for token in TOKENS) for arm in thirds]
    assert sum(sizes) == len(TOKENS)
    assert stats.chisquare(sizes).pvalue > 0.001
