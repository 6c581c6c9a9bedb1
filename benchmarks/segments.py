"""Segments: one pass for all rules, beside hand-written SQL for the same answer and one query a segment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from personalization.as_of import AsOf
from personalization.rules import Catalog, Rule, evaluation_query, parse_rule
from personalization.warehouse import Session, Warehouse

DAY = AsOf.parse("2017-12-03")
SEGMENTS = 100
RUNS = 3


def bench_segments(customers: int = 200_000) -> list[tuple[str, float]]:
    """Seconds (median of three) for 100 rules, 60 of them with behaviour; each customer has 20 customer-days."""
    with TemporaryDirectory() as folder, Warehouse(Path(folder) / "w.duckdb").connect() as session:
        _generate(session, customers)
        rules = _rules()
        names = list(rules)
        ours = evaluation_query(rules, DAY)
        by_hand = _by_hand()
        counts = {
            "ours": session.rows(_count(ours, names))[0],
            "by hand": session.rows(_count(by_hand, names))[0],
        }
        if counts["ours"] != counts["by hand"]:
            raise SystemExit("the two ways do not give the same segments")
        one_by_one = [evaluation_query({name: rule}, DAY) for name, rule in rules.items()]
        return [
            ("hand-written SQL, one pass", _median(lambda: session.rows(_count(by_hand, names)))),
            ("ours, one pass", _median(lambda: session.rows(_count(ours, names)))),
            (
                "one query a segment",
                _median(
                    lambda: [
                        session.rows(_count(query, [name])) for name, query in zip(names, one_by_one, strict=True)
                    ],
                    runs=1,
                ),
            ),
        ]


def _rules() -> dict[str, Rule]:
    return {f"s{i}": parse_rule(_text(i), Catalog()) for i in range(SEGMENTS)}


def _text(i: int) -> str:
    behaviour = (
        f"did('purchase', department => 'D{i % 20}', within => '{14 + 7 * (i % 12)} days', at_least => {1 + i % 3})"
    )
    profile = f"recency_days <= {7 + i % 60} AND spend_84d BETWEEN {10 * (i % 7)} AND {500 + 10 * i}"
    if i % 5 < 3:
        return f"({profile}) AND ({behaviour} OR orders_84d > {i % 9})"
    return f"{profile} OR NOT (orders_28d >= {1 + i % 4} AND age_band IN ('25-34', '35-44'))"


def _by_hand() -> str:
    """What somebody would write who knew all hundred rules at once and had no NULLs to think of beyond these."""
    aggregates = []
    columns = []
    for i in range(SEGMENTS):
        days, least = 14 + 7 * (i % 12), 1 + i % 3
        profile = f"recency_days <= {7 + i % 60} and spend_84d between {10 * (i % 7)} and {500 + 10 * i}"
        if i % 5 < 3:
            aggregates.append(
                f"coalesce(sum(events) filter (department = 'D{i % 20}'"
                f" and event_day >= date '2017-12-03' - {days}), 0) >= {least} as b{i}"
            )
            rule = f"({profile}) and (coalesce(b{i}, false) or orders_84d > {i % 9})"
        else:
            rule = f"{profile} or not (orders_28d >= {1 + i % 4} and age_band in ('25-34', '35-44'))"
        columns.append(f'coalesce({rule}, false) as "s{i}"')
    return (
        f"with b as (select customer_token, {', '.join(aggregates)} from marts.customer_day"
        " where event = 'purchase' and event_day < date '2017-12-03' and event_day >= date '2017-12-03' - 91"
        f" group by customer_token) select customer_token, {', '.join(columns)}"
        " from segments.profile left join b using (customer_token)"
    )


def _count(query: str, names: list[str]) -> str:
    sums = ", ".join(f'count(*) filter ("{name}")' for name in names)
    return f"select {sums} from ({query})"


def _median(work: Callable[[], object], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return sorted(times)[len(times) // 2]


def _generate(session: Session, customers: int) -> None:
    session.execute("select setseed(0.17)")
    features = [name for name, field in Catalog().fields.items() if field.type == "number"]
    texts = [name for name in Catalog().fields if name not in features]
    numbers = ", ".join(
        f"case when hash(i, '{name}') % 10 > 0 then (hash(i, '{name}') % 200)::double end as {name}"
        for name in features
    )
    words = ", ".join(
        f"(case hash(i, '{n}') % 4 when 0 then '25-34' when 1 then '35-44' when 2 then '45-54' end) as {n}"
        for n in texts
    )
    session.replace_table(
        "segments.profile",
        f"select date '2017-12-03' as as_of, 'c' || i as customer_token, {numbers}, {words}"
        f" from range({customers}) r(i)",
    )
    session.replace_table(
        "marts.customer_day",
        "select 'c' || (i // 20) as customer_token, date '2017-12-03' - (hash(i, 'd') % 120)::int as event_day,"
        " 'purchase' as event, 'D' || (hash(i, 'p') % 20) as department, '' as campaign_id, 1::bigint as events,"
        f" 1::decimal(18, 4) as quantity, 10::decimal(18, 4) as amount from range({customers * 20}) r(i)",
    )
