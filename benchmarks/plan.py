"""Planning an export of which 1 % changed, in a process of its own, beside a hand-written SQL anti-join.

Everybody is acknowledged in the ledger (SQLite) and has a consent event there; decisions and identities are in the
warehouse (DuckDB).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.workspaces import CAMPAIGN, DAY, PURPOSE, fill_consent, fill_warehouse, make_workspace
from personalization.ledger.engine import bulk_insert
from personalization.ledger.export_schema import acknowledged
from personalization.runtime import Runtime
from personalization.stages.export.desired import DESIRED, create_desired
from personalization.stages.export.planner import plan_destination
from personalization.workspace import Workspace

CHANGED = 100  # one in so many
OPTED_OUT = 50  # one in so many beside these
SETTINGS = "platform: csv\nmails: false"


_WANTED = f"""
    select email_token as address_token, customer_token, campaign,
        sha256(concat_ws(chr(31), 'v', customer_token, email_token, json_object(
            'CAMPAIGN', campaign, 'OFFER', offer, 'PB_HERO', hero, 'SCORE', purchase_score
        ))) as row_hash
    from decisions.decisions where as_of = date '{DAY}' and outcome = 'send'
"""


@dataclass(frozen=True)
class Planned:
    """What a plan took: seconds of wall and processor time, megabytes at the peak of its process, rows it found."""

    wall: float
    cpu: float
    megabytes: float
    rows: int


def bench_plan(contacts: int) -> list[tuple[str, Planned]]:
    """By hand, and ours, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "work"
        fill(root, contacts)
        return [
            ("hand-written SQL: hash and anti-join, what is known in Parquet", _in_own_process("hand", root)),
            ("ours: acknowledged state, consent and suppressions in SQLite", _in_own_process("ours", root)),
        ]


def fill(root: Path, contacts: int) -> None:
    """A workspace in which everybody is acknowledged, one in a hundred with other contents than wanted now."""
    runtime = make_workspace(root, SETTINGS)
    generated = duckdb.sql(f"""
        select 't1_k1_c' || substr(md5(i::varchar), 1, 31) as customer_token,
            't1_k1_e' || substr(md5('e' || i::varchar), 1, 31) as address_token, i as number
        from range({contacts * OPTED_OUT // (OPTED_OUT - 1)}) r(i)
    """)
    assert generated is not None
    people = generated.to_arrow_table()
    customers, addresses = people["customer_token"].to_pylist(), people["address_token"].to_pylist()
    fill_consent(runtime, customers, addresses[::OPTED_OUT])
    destination = runtime.program.destinations["there"]
    with runtime.warehouse.connect() as session:
        fill_warehouse(session, people, f"number % {OPTED_OUT} <> 0")
        links = pa.table({"customer_token": pa.array([], pa.string())})
        create_desired(session, runtime.program, "there", destination, runtime.as_of(DAY), links)
        wanted = session.arrow(f"select address_token, customer_token, payload, row_hash from {DESIRED}")
        session.execute(f"""
            copy (
                select address_token, case when row_number() over () % {CHANGED} = 0 then 'other' else row_hash end
                    as row_hash
                from ({_WANTED})
            ) to '{root / "known.parquet"}'
        """)
    names = [column.name for column in acknowledged.c]
    with runtime.ledger.begin() as connection:
        for batch in wanted.to_batches(max_chunksize=100_000):
            bulk_insert(connection, acknowledged, names, _acknowledged(batch))
        bulk_insert(
            connection,
            acknowledged,
            names,
            (
                ("there", address, customer, CAMPAIGN, PURPOSE, "retracted", "", "{}", 1, 1)
                for address, customer in zip(addresses[::OPTED_OUT], customers[::OPTED_OUT], strict=True)
            ),
        )
    runtime.ledger.close()


def _acknowledged(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    for number, (address, customer, payload, row_hash) in enumerate(
        zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ):
        known = row_hash if number % CHANGED else "other"
        yield "there", address, customer, CAMPAIGN, PURPOSE, "present", known, payload, 1, 1


def _in_own_process(what: str, root: Path) -> Planned:
    command = [sys.executable, "-m", "benchmarks.plan", what, str(root)]
    return Planned(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _ours(root: Path) -> int:
    runtime = Runtime(Workspace.at(root))
    return plan_destination(runtime, "there", runtime.as_of(DAY)).rows.num_rows


def _by_hand(root: Path) -> int:
    duck = duckdb.connect(str(Workspace.at(root).warehouse), read_only=True)
    return len(
        duck.sql(f"""
            select w.* from ({_WANTED}) w anti join '{root / "known.parquet"}' k using (address_token, row_hash)
        """).to_arrow_table()
    )


def main() -> None:
    what, root = sys.argv[1], Path(sys.argv[2])
    begun, cpu = perf_counter(), process_time()
    rows = {"ours": _ours, "hand": _by_hand}[what](root)
    took = {
        "wall": perf_counter() - begun,
        "cpu": process_time() - cpu,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": rows,
    }
    sys.stdout.write(json.dumps(took))


if __name__ == "__main__":
    main()
