"""Rules about single events beside SQL written by hand: the last mail, latest values, an abandoned click.

Both answers are compared for every customer before anything is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from benchmarks.segment_data import DAY, warehouse
from personalization.rules import evaluation_query, parse_rule
from personalization.rules.catalog import Catalog
from personalization.stages.segments.profile import write_profile

_PAST = f"event_day < date '{DAY.key}'"
_NOW = int(DAY.instant.timestamp()) * 1_000_000
_RULES = {
    "opened": "opened_previous_email(within => '3 days')",
    "latest": "last('purchase', 'department') = 'D3'",
    "clicked": "did('click') THEN NOT did('conversion') WITHIN '24 hours'",
}
_BY_HAND = {
    "opened": f"""
        with last as (
            select customer_token, max(moment_us) as sent
            from marts.moments where event = 'mailing' and {_PAST} group by 1
        ),
        since as (
            select customer_token, campaign_id, bool_or(event = 'mailing') as was_sent,
                bool_or(event = 'open' and moment_us < sent + 3 * 86400000000) as was_opened
            from marts.moments join last using (customer_token)
            where event in ('mailing', 'open') and moment_us >= sent and {_PAST} group by 1, 2
        )
        select customer_token, bool_or(was_sent and was_opened) as opened from since group by 1""",
    "latest": f"""
        with last as (
            select customer_token, max(moment_us) as latest
            from marts.moments where event = 'purchase' and {_PAST} group by 1
        )
        select customer_token, max(upper(department)) as department from marts.moments join last using (customer_token)
        where event = 'purchase' and moment_us = latest and {_PAST} group by 1""",
    "clicked": f"""
        with following as (
            select customer_token, event, moment_us, min(case when event = 'conversion' then moment_us end) over (
                partition by customer_token order by moment_us range between current row and unbounded following
            ) as converted
            from marts.moments where event in ('click', 'conversion') and {_PAST}
        )
        select customer_token, bool_or(event = 'click' and moment_us + 86400000000 <= {_NOW}
            and coalesce(converted >= moment_us + 86400000000, true)) as clicked
        from following group by 1""",
}
_ANSWERS = {
    "opened": "coalesce(opened, false)",
    "latest": "coalesce(department = 'D3', false)",
    "clicked": "coalesce(clicked, false)",
}


def bench_single_events(customers: int, folder: Path | None = None, runs: int = 3) -> list[tuple[str, float, float]]:
    """CPU seconds by hand and ours, for each rule and for all of them in one query; each customer has 40 events."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return bench_single_events(customers, Path(temporary), runs)
    subprocess.run([sys.executable, "-m", "benchmarks.segment_data", str(folder), str(customers)], check=True)
    with warehouse(folder).connect() as session:
        for name in ("order_lines", "email_events"):  # tables, as the product has them
            session.execute("create schema if not exists bench")
            session.execute(f"create table if not exists bench.{name} as from marts.{name}")
            session.execute(f"create or replace view marts.{name} as from bench.{name}")
        write_profile(session, Catalog(), DAY)
        session.execute("set threads = 1")
        costs = []
        for names in [*([name] for name in _RULES), list(_RULES)]:
            queries = by_hand(names), ours(names)
            different = f"select count(*) from (({queries[0]}) except all ({queries[1]}))"
            if wrong := session.value(different):
                raise SystemExit(f"{names}: the two ways differ for {wrong} customers")
            taken: tuple[list[float], list[float]] = [], []
            for _ in range(runs):
                for query, seconds in zip(queries, taken, strict=True):
                    start = process_time()
                    session.execute(f"create or replace temp table answer as {query}")
                    seconds.append(process_time() - start)
            costs.append((" + ".join(names), median(taken[0]), median(taken[1])))
        return costs


def by_hand(names: list[str]) -> str:
    joins = " ".join(f"left join ({_BY_HAND[name]}) as {name}_of using (customer_token)" for name in names)
    answers = ", ".join(f"{_ANSWERS[name]} as {name}" for name in names)
    return f"select customer_token, {answers} from segments.profile {joins} where as_of = date '{DAY.key}'"


def ours(names: list[str]) -> str:
    return evaluation_query({name: parse_rule(_RULES[name], Catalog()) for name in names}, DAY, decidable=())
