"""Generated data for the segment benchmark: events as Parquet, and the tables that the project's own SQL makes of them.

Everything follows from hashes of row numbers, so the same size gives the same rows on every machine:

- a tenth of the customers never buys; the others' orders are skewed (the busiest has about ten times the average),
  ten per customer over 365 days, three lines each from 20,000 products in 20 departments;
- ten e-mail events per customer in 40 campaigns: 7 sent, 2 opened, 0.6 clicked, 0.4 converted;
- a third has no age band, a quarter no score.

So 2 million customers have 60 million order lines and 20 million e-mail events: 80 million events.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

from personalization.as_of import AsOf
from personalization.stages.sync.entities import ENTITIES
from personalization.warehouse import Session, Warehouse
from personalization.warehouse.compiled import Model, compiled_models
from personalization.warehouse.date_formats import date_formats
from personalization.warehouse.dbt import prepare
from personalization.workspace import Workspace

DAY = AsOf.parse("2017-12-03")
MEMORY = "6GB"
"""What DuckDB may use in each process; it uses somewhat more, and the peak is measured."""

_AS_VIEWS = ("marts.order_lines", "marts.email_events")
_LEFT_OUT = ("marts.orders", "features.customer_labels")


def make_data(folder: Path, customers: int) -> dict[str, float]:
    """Write the events, then build the warehouse from them; what is there already is kept. Returns seconds by step."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"made-{customers}"
    if done.exists():
        return {}
    seconds: dict[str, float] = {}
    with warehouse(folder).connect() as session:
        session.execute(f"set temp_directory = '{folder / 'spill'}'")
        session.execute("set preserve_insertion_order = false")
        for name, query in _events(customers).items():
            start = perf_counter()
            session.execute(f"copy ({query}) to '{folder / name}.parquet' (format parquet, compression zstd)")
            seconds[f"write {name}"] = perf_counter() - start
        _land(session, folder, customers)
        for model in _models(folder):
            start = perf_counter()
            kind = "table" if model.stored and model.table not in _AS_VIEWS else "view"
            session.execute(f"create schema if not exists {model.table.split('.')[0]}")
            session.execute(f"create or replace {kind} {model.table} as {model.sql}")
            if kind == "table":
                seconds[model.table] = perf_counter() - start
        session.execute("create schema if not exists scores")
        session.execute(
            f"""
            create or replace table scores.propensity as
            select date '{DAY.key}' as as_of, {_token("i")} as customer_token, score as purchase_score,
                case when score > 0.7 then 'high' when score > 0.3 then 'medium' else 'low' end as purchase_band
            from (select i, (hash(i, 'score') % 1000) / 1000 as score from range({customers}) r(i))
            where hash(i, 'scored') % 4 > 0
            """
        )
    done.touch()
    return seconds


def warehouse(folder: Path) -> Warehouse:
    return Warehouse(Workspace.at(folder).warehouse, memory_limit=MEMORY)


def _token(number: str) -> str:
    """As long as a real token."""
    return f"'t1_k1_' || md5({number}::varchar)"


def _events(customers: int) -> dict[str, str]:
    orders, mails = 10 * customers, 10 * customers
    moment = "timestamp '2017-12-02 12:00:00' - to_days((hash({0}, 'day') % 365)::integer)"
    return {
        "order_lines": f"""
            select 'o' || o as order_id, 'p' || hash(o, l, 'product') % 20000 as product_id,
                {_token("customer")} as customer_key, (1 + hash(o, l, 'quantity') % 3)::decimal(18, 4) as quantity,
                (1 + hash(o, l, 'amount') % 40)::decimal(18, 4) as amount, {moment.format("o")} as ordered_at
            from (
                select o, floor({customers * 0.9} * pow((hash(o, 'who') % 1000003) / 1000003, 1.2))::bigint
                    + (hash(o, 'shift') % {max(1, customers // 1_000_000)})::bigint as customer
                from range({orders}) r(o)
            ), range(3) lines(l)
        """,
        "email_events": f"""
            select 'c' || hash(m, 'campaign') % 40 as campaign_id,
                {_token(f"(hash(m, 'mailed') % {customers})")} as customer_key,
                case when kind < 70 then 'sent' when kind < 90 then 'opened' when kind < 96 then 'clicked'
                    else 'converted' end as event,
                {moment.format("m")} as occurred_at
            from (select m, hash(m, 'kind') % 100 as kind from range({mails}) r(m))
        """,
    }


def _land(session: Session, folder: Path, customers: int) -> None:
    session.execute("create schema if not exists landed")
    rows = {
        "customers": f"""
            select {_token("i")} as customer_key, timestamp '2016-06-01' as created_at, 'USA' as country,
                case hash(i, 'age') % 6 when 0 then '19-24' when 1 then '25-34' when 2 then '35-44'
                    when 3 then '45-54' end as age_band,
                case hash(i, 'home') % 3 when 0 then 'Homeowner' when 1 then 'Renter' end as home_ownership
            from range({customers}) r(i)
        """,
        "products": "select 'p' || i as product_id, 'D' || (i % 20) as department from range(20000) r(i)",
        "campaign_history": "select 'c' || i as campaign_id, timestamp '2016-12-01' as starts_at from range(40) r(i)",
        "order_lines": f"from '{folder}/order_lines.parquet'",
        "email_events": f"from '{folder}/email_events.parquet'",
    }
    unused = {name: "from range(0)" for name in ENTITIES if name not in rows}
    for name, query in {**rows, **unused}.items():
        kind = "view" if name in ("order_lines", "email_events") else "table"
        present = [row[0] for row in session.rows(f"select column_name from (describe {query})")]
        missing = [column for column in ENTITIES[name].landed_columns if column not in present]
        nulls = "".join(f", null::varchar as {column}" for column in missing)
        session.execute(
            f"create or replace {kind} landed.{name} as"
            f" select *{nulls}, ''::varchar as _source, 0::bigint as _row from ({query})"
        )
    session.execute(
        "create or replace table landed.identity as select customer_key as identifier_token, 'customer' as kind,"
        " customer_key as customer_token, 'customer' as linked_by from landed.customers"
    )


def _models(folder: Path) -> list[Model]:
    """The dbt models' own SQL, after their seeds were read."""
    workspace = Workspace.at(folder)
    variables = {
        "timezone": DAY.timezone,
        "currency": "USD",
        "date_formats": date_formats(),
        "as_of": DAY.key,
        "cutoffs": [DAY.key],
        "horizon_days": 28,
    }
    models = compiled_models(workspace, variables)
    with warehouse(folder).connect() as session:
        session.execute("create schema if not exists seeds")
        for path in (prepare(workspace).project / "seeds").glob("*.csv"):
            session.execute(
                f"create or replace table seeds.{path.stem} as"
                f" from read_csv('{path}', all_varchar = true, header = true)"
            )
    return [model for model in models if model.table not in _LEFT_OUT]


if __name__ == "__main__":
    for step, taken in make_data(Path(sys.argv[1]), int(sys.argv[2])).items():
        print(f"{step:32s} {taken:7.1f} s")
