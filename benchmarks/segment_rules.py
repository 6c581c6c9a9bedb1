"""A hundred nested segments with sixty distinct behaviour predicates: as rules, and as SQL written by hand.

The SQL is what an expert would write who knew all rules at once: one scan of the roll-up with a CASE per aggregate, one
scan of the profile, a common table expression for each level of reference, missing values treated where they matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.segment_data import DAY
from personalization.rules import Catalog, Rule, parse_rule
from personalization.rules.tree import Unknown

SEGMENTS, BEHAVIOURS = 100, 60
_AGES = ("19-24", "25-34", "35-44", "45-54")
_WINDOWS = (7, 14, 21, 28, 42, 56, 84, 112, 140, 168, 252, 364)


@dataclass(frozen=True)
class Behaviour:
    """One predicate as a rule says it, the aggregate that SQL needs for it, and the condition on that."""

    rule: str
    aggregate: str
    condition: str


def rules(count: int = SEGMENTS, extra_behaviours: int = 0) -> dict[str, Rule]:
    """The first so many segments; `extra_behaviours` more look at something that no other does."""
    found = {f"s{i}": parse_rule(_rule(i), Catalog(), unknown=unknown(i)) for i in range(count)}
    for i in range(extra_behaviours):
        text = f"sum_of('purchase', 'quantity', within => '{30 + i} days') > 9"
        found[f"x{i}"] = parse_rule(text, Catalog())
    return found


def unknown(i: int) -> Unknown:
    return "include" if i % 7 == 6 else "hold" if i % 11 == 3 else "exclude"


def by_hand(count: int = SEGMENTS, profile: str = "segments.profile") -> str:
    """One row per customer: customer_token, BOOLEAN `s0` …, and `s3_held` … for segments that hold the undecided."""
    aggregates = ",\n".join(f"    {behaviour(j).aggregate} as b{j}" for j in range(BEHAVIOURS))
    fields = "recency_days, spend_84d, orders_84d, average_order_value_84d, age_band, home_ownership, purchase_score"
    columns = ",\n".join(f"    {_sql(i)} as r{i}" for i in range(60))
    middle = ",\n".join(f"    {_sql(i)} as r{i}" for i in range(60, min(80, count)))
    upper = ",\n".join(f"    {_sql(i)} as r{i}" for i in range(80, count))
    return f"""
with b as (
    select customer_token,
{aggregates}
    from marts.customer_day
    where event_day < date '{DAY.key}' and event in ('purchase', 'mailing', 'open', 'click', 'conversion')
    group by customer_token
),
f as (
    select p.customer_token, {fields}, b.* exclude (customer_token)
    from {profile} as p left join b using (customer_token)
    where p.as_of = date '{DAY.key}'
),
l0 as (select *,
{columns}
    from f),
l1 as (select *,
{middle}
    from l0),
l2 as (select *,
{upper}
    from l1)
select customer_token,
{outputs(count)}
from l2"""


def outputs(count: int) -> str:
    lines = [f"    coalesce(r{i}, {unknown(i) == 'include'}) as s{i}" for i in range(count)]
    lines += [f"    r{i} is null as s{i}_held" for i in range(count) if unknown(i) == "hold"]
    return ",\n".join(lines)


def behaviour(j: int) -> Behaviour:
    if j < 30:
        days, department, least = _WINDOWS[j % 12], f"D{(7 * j) % 20}", 1 + j % 3
        return _did(j, "purchase", days, least, "department", department)
    if j < 42:
        days, more = _WINDOWS[j - 30], 20 * (j - 29)
        return Behaviour(
            f"sum_of('purchase', 'amount', within => '{days} days') > {more}",
            f"sum(case when event = 'purchase' and department = '' and {_since(days)} then amount end)",
            f"coalesce(b{j}, 0) > {more}",
        )
    if j < 50:
        days, most = _WINDOWS[j - 42], j - 41
        return Behaviour(
            f"count_of('mailing', within => '{days} days') <= {most}",
            f"sum(case when event = 'mailing' and {_since(days)} then events end)",
            f"coalesce(b{j}, 0) <= {most}",
        )
    if j < 56:
        return _did(j, "open" if j % 2 else "click", _WINDOWS[j - 47], 1, "campaign_id", f"c{j}" if j % 3 == 0 else "")
    event, days = ("purchase", "mailing", "conversion", "click")[j - 56], 10 * (j - 54)
    whole_day = " and department = ''" if event == "purchase" else ""
    return Behaviour(
        f"days_since('{event}') > {days}",
        f"date '{DAY.key}' - max(case when event = '{event}'{whole_day} then event_day end)",
        f"b{j} > {days}",
    )


def _did(j: int, event: str, days: int, least: int, column: str, value: str) -> Behaviour:
    argument = f", {column} => '{value}'" if value else ""
    where = f" and {column} = '{value}'" if value else ""
    return Behaviour(
        f"did('{event}'{argument}, within => '{days} days', at_least => {least})",
        f"sum(case when event = '{event}'{where} and {_since(days)} then events end)",
        f"coalesce(b{j}, 0) >= {least}",
    )


def _since(days: int) -> str:
    return f"event_day >= date '{(DAY.day - timedelta(days=days)).isoformat()}'"


def _rule(i: int) -> str:
    return _text(i, lambda j: behaviour(j).rule, lambda other: f"in_segment('s{other}')")


def _sql(i: int) -> str:
    return _text(i, lambda j: behaviour(j).condition, _reference)


def _reference(other: int) -> str:
    return f"r{other}" if unknown(other) == "hold" else f"coalesce(r{other}, {unknown(other) == 'include'})"


def _text(i: int, did: Callable[[int], str], member: Callable[[int], str]) -> str:
    """The rule of segment i; both languages say everything else with the same words."""
    low, high = 10 * (i % 7), 200 + 10 * i
    if i < 60:
        if i % 3 == 0:
            return f"recency_days <= {7 + i % 60} AND ({did(i)} OR orders_84d > {3 + i % 9})"
        if i % 3 == 1:
            return f"({did(i)}) AND NOT (age_band IN ('{_AGES[i % 4]}', '{_AGES[(i + 1) % 4]}')) AND spend_84d > {low}"
        return f"spend_84d BETWEEN {low} AND {high} AND ({did(i)} OR purchase_score > 0.{50 + i % 40})"
    if i < 80:
        return f"{member(i - 60)} AND NOT ({member(i - 30)}) OR home_ownership = 'Renter' AND orders_84d > {4 + i % 5}"
    if i < 100:
        return f"({member(i - 20)} OR {member(i - 50)}) AND average_order_value_84d > {20 + i}"
    return f"{member(i - 40)} AND recency_days > {i % 30} AND purchase_score < 0.{60 + i % 30}"
