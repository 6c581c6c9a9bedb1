"""The cut for a million recipients: consent, suppressions, identities, beside hand-written SQL on tables in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import pyarrow as pa

from personalization.ledger import ConsentEvent, Ledger
from personalization.ledger.consent import _COLUMNS
from personalization.ledger.engine import bulk_insert
from personalization.ledger.schema import consent_events, to_micros
from personalization.program.models import Purpose
from personalization.stages.export.cut import CONTACTS, Contact, Cut
from personalization.stages.export.cut_watch import Watch

PURPOSE = "email.marketing"
BATCH, NEW = 500, 50
MOMENT = to_micros(datetime(2017, 1, 1, tzinfo=UTC))


def bench_cut(recipients: int) -> list[tuple[str, float]]:
    """Seconds for hand-written SQL, the first cut of a process, the next one, and the cuts of single batches."""
    duck = duckdb.connect()
    duck.execute("set enable_progress_bar = false")
    people = duck.sql(f"""
        select 't1_k1_c' || substr(md5(i::varchar), 1, 31) as customer_token,
            't1_k1_e' || substr(md5('e' || i::varchar), 1, 31) as address_token, i as number
        from range({recipients}) r(i)
    """).to_arrow_table()
    customers, addresses = people["customer_token"], people["address_token"]
    with tempfile.TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{Path(folder) / 'ledger.sqlite'}") as ledger:
        _fill(ledger, customers.to_pylist(), addresses.to_pylist())
        identity = pa.table(
            {
                "identifier_token": pa.chunked_array([*customers.chunks, *addresses.chunks]),
                "customer_token": pa.chunked_array([*customers.chunks, *customers.chunks]),
            }
        )
        contacts = pa.table(
            [addresses, pa.repeat(pa.scalar(PURPOSE), recipients), customers, addresses], schema=CONTACTS
        )
        rows = [("hand-written SQL, tables in memory", _by_hand(duck, ledger, identity, contacts))]
        ledger.consent._snapshots.clear()
        ledger.consent._granted.clear()
        ledger.consent._out.clear()
        ledger.suppressions._cache = None
        cut = Cut(ledger, {PURPOSE: Purpose(title="Mail")}, identity)
        rows.append(("ours, first cut of a process", _seconds(lambda: cut.stopped(contacts))))
        rows.append(("ours, the next cut", _seconds(lambda: cut.stopped(contacts))))
        watch = Watch(cut, contacts)
        watch.blocked([])
        batch = [
            Contact(token, PURPOSE, (customer, token))
            for customer, token in zip(
                customers.slice(0, BATCH).to_pylist(), addresses.slice(0, BATCH).to_pylist(), strict=True
            )
        ]
        rows.append((f"ours, before a batch of {BATCH}", _seconds(lambda: watch.blocked(batch))))
        ledger.consent.append(_withdrawals(customers.slice(0, NEW).to_pylist()))
        rows.append((f"the same after {NEW} people opted out", _seconds(lambda: watch.blocked(batch))))
    return rows


def _seconds(work: Callable[[], Any]) -> float:
    begun = perf_counter()
    work()
    return perf_counter() - begun


def _fill(ledger: Ledger, customers: list[str], addresses: list[str]) -> None:
    """A consent event for everybody, 2 % withdrawn; 5 % of addresses suppressed. Hashes are left out: nobody checks."""
    with ledger.begin() as connection:
        fixed: dict[str, object] = {
            "channel": "email",
            "purpose": PURPOSE,
            "lawful_basis": "consent",
            "source": "bench",
            "content_sha256": "",
        }
        fixed |= {"effective_at": MOMENT, "recorded_at": MOMENT, "prev_hash": "", "hash": ""}
        bulk_insert(
            connection,
            consent_events,
            _COLUMNS,
            (
                tuple(
                    {
                        **fixed,
                        "event_id": f"bench:{number}",
                        "subject_token": token,
                        "action": "grant" if number % 50 else "withdraw",
                        "seq": number,
                    }.get(column)
                    for column in _COLUMNS
                )
                for number, token in enumerate(customers, 1)
            ),
        )
        ledger.suppressions.add(addresses[::20], "unsubscribed", "bench", connection=connection)


def _withdrawals(customers: list[str]) -> list[ConsentEvent]:
    return [
        ConsentEvent(
            event_id=f"out:{token}",
            subject_token=token,
            purpose=PURPOSE,
            action="withdraw",
            effective_at=datetime(2018, 1, 1, tzinfo=UTC),
            source="bench",
        )
        for token in customers
    ]


def _by_hand(duck: duckdb.DuckDBPyConnection, ledger: Ledger, identity: pa.Table, contacts: pa.Table) -> float:
    tables = {
        "consent": ledger.consent.snapshot(PURPOSE),
        "suppressed": ledger.suppressions.snapshot(),
        "identity": identity,
        "contacts": contacts,
    }
    for name, table in tables.items():
        duck.register("source", table)
        duck.execute(f"create table {name} as from source")
    return _seconds(
        lambda: duck.sql("""
            with people as (
                select i.customer_token, arg_max(state, (effective_at, state = 'withdrawn')) as state
                from consent join identity i on i.identifier_token = subject_token
                group by all
            ),
            stopped as (select distinct customer_token from suppressed join identity using (identifier_token))
            select k.key
            from contacts k left join people p using (customer_token)
            where p.state is distinct from 'granted' or customer_token in (from stopped)
        """).to_arrow_table()
    )
