"""The same rules on Spark: generated rules and customers, each row compared with the oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.rules import Rule, Value, evaluation_query
from personalization.rules import tree as t
from personalization.rules.text import to_text
from tests.rules import moment_strategies as m
from tests.rules import strategies as s
from tests.rules.oracle import Customer, Oracle

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLES = {name: name for name in ("profile", "customer_day", "moments", "history")}
# Spark takes a second a query: each example is one query with many rules about many people, and none is made smaller
PROPERTY = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .appName("rules")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.codegen.wholeStage", "false")  # compiling each query's code takes longer than running it
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    yield session
    session.stop()


def agree(
    spark: SparkSession, as_of: AsOf, rules: dict[str, Rule], values: list[t.Scalar], people: list[Customer]
) -> None:
    for name, table in s.tables(people, as_of).items():
        spark.createDataFrame(table).createOrReplaceTempView(name)
    wanted = {f"v{index}": Value("", scalar) for index, scalar in enumerate(values)}
    query = evaluation_query(rules, as_of, segments=rules, values=wanted, dialect="spark", **TABLES)
    found = {row["customer_token"]: row.asDict() for row in spark.sql(query).collect()}
    assert found.keys() == {person.token for person in people}
    for person in people:
        oracle, row = Oracle(person, as_of, rules), found[person.token]
        for name, rule in rules.items():
            assert (row[name], row[f"{name}__decidable"]) == oracle.rule(rule), (to_text(rule.condition), person)
        for name, value in wanted.items():
            expected = oracle.scalar(value.scalar)
            assert row[name] == expected or math.isclose(row[name], expected), (to_text(value.scalar), person)


@st.composite
def crowds(draw: st.DrawFn, as_of: AsOf, groups: int) -> list[Customer]:
    """Many customers: those of several examples, with tokens of their own."""
    people = [person for _ in range(groups) for person in draw(s.customers(as_of))]
    return [Customer(f"t{index}", p.fields, p.days, p.happenings, p.stays) for index, p in enumerate(people)]


@st.composite
def many(draw: st.DrawFn, wide: int) -> dict[str, Rule]:
    """Rules of every kind, those of single events more often, and segments of segments."""
    rules = draw(s.segments(wide))
    for index in range(wide):
        rules[f"m{index}"] = Rule("", draw(m.conditions()))
    return rules


# slow as well: starting Spark alone takes longer than all other tests of rules together
@pytest.mark.slow
@settings(PROPERTY, max_examples=2, derandomize=True)
@given(data=st.data(), as_of=st.sampled_from(m.DAYS))
def test_spark_and_oracle_agree(spark: SparkSession, data: st.DataObject, as_of: AsOf) -> None:
    values = data.draw(st.lists(s.numbers(), min_size=2, max_size=3))
    agree(spark, as_of, data.draw(many(6)), values, data.draw(crowds(as_of, 6)))


@pytest.mark.slow
@settings(PROPERTY, max_examples=25)
@given(data=st.data(), as_of=st.sampled_from(m.DAYS))
def test_spark_and_oracle_agree_about_much_more(spark: SparkSession, data: st.DataObject, as_of: AsOf) -> None:
    values = data.draw(st.lists(s.numbers(), min_size=2, max_size=6))
    agree(spark, as_of, data.draw(many(12)), values, data.draw(crowds(as_of, 12)))
