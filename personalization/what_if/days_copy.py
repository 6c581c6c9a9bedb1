"""The copy in which many days are simulated: some people of the warehouse, and of the ledger what decisions read.

No address, no key and no name is copied. The ledger may be of any kind: its copy is a new file with the snapshots.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.ledger import ConsentEvent, Ledger
from personalization.ledger.preferences import FREQUENCY, PreferenceEvent
from personalization.program import Program
from personalization.runtime import Runtime
from personalization.stages.decisions.candidates import PROFILE, columns_of, require_inputs
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session, Warehouse

SOURCE = "simulation"
_TABLES = "select table_schema || '.' || table_name from information_schema.tables where table_type = 'BASE TABLE'"


@contextmanager
def copy_for_days(runtime: Runtime, program: Program, as_of: AsOf, people: int) -> Iterator[tuple[Session, Ledger]]:
    """A session and a ledger with at most `people` customers, drawn by lot but the same ones each time; then removed.

    Raises
    ------
    DataError
        The stages before decisions have not run for the day.
    """
    if not runtime.workspace.warehouse.exists():
        raise DataError("there is no warehouse yet", hint="run `personalization run` first")
    with tempfile.TemporaryDirectory(prefix="simulate-", dir=runtime.workspace.state) as folder:
        file = Path(shutil.copy2(runtime.workspace.warehouse, Path(folder) / "warehouse.duckdb"))
        with (
            Ledger.open(f"sqlite:///{Path(folder) / 'ledger.sqlite'}") as ledger,
            Warehouse(file).connect() as session,
        ):
            require_inputs(session, as_of)
            _only_some(session, as_of, people)
            tokens = session.arrow(f"select identifier_token, customer_token from {IDENTITY}")  # noqa: S608
            _copy_ledger(runtime.ledger, ledger, program, as_of, tokens)
            yield session, ledger


def _only_some(session: Session, as_of: AsOf, people: int) -> None:
    session.execute(
        f"""
        create temp table _some as select customer_token from {PROFILE} where as_of = ?
        order by hash(customer_token), customer_token limit {int(people)}
        """,  # noqa: S608
        [as_of.day],
    )
    for (table,) in session.rows(_TABLES):
        if "customer_token" in columns_of(session, table):
            session.execute(f"delete from {table} where customer_token not in (from _some)")  # noqa: S608


def _copy_ledger(source: Ledger, target: Ledger, program: Program, as_of: AsOf, identity: pa.Table) -> None:
    """Consent, suppressions and choices of frequency as they stand. Of past sends those count that were reported."""
    known = pa.array({*identity["identifier_token"].to_pylist(), *identity["customer_token"].to_pylist()}, pa.string())
    for purpose in sorted({campaign.purpose for campaign in program.campaigns.values()}):
        snapshot = source.consent.snapshot(purpose, effective_before=as_of.instant)
        rows = snapshot.filter(pc.is_in(snapshot["subject_token"], value_set=known)).to_pylist()
        target.consent.append(
            ConsentEvent(
                event_id=f"{purpose}-{number}",
                subject_token=row["subject_token"],
                purpose=purpose,
                action="grant" if row["state"] == "granted" else "withdraw",
                effective_at=row["effective_at"],
                source=SOURCE,
            )
            for number, row in enumerate(rows)
        )
    listed = source.suppressions.snapshot()
    suppressed = listed.filter(pc.is_in(listed["identifier_token"], value_set=known))["identifier_token"].to_pylist()
    if suppressed:
        target.suppressions.add(suppressed, "complained", SOURCE)
    chosen = source.preferences.snapshot(FREQUENCY, effective_before=as_of.instant)
    target.preferences.append(
        PreferenceEvent(
            event_id=f"choice-{row['seq']}",
            subject_token=row["subject_token"],
            kind=FREQUENCY,
            value=row["value"],
            effective_at=row["effective_at"],
            source=SOURCE,
            method=SOURCE,
        )
        for row in chosen.filter(pc.is_in(chosen["subject_token"], value_set=known)).to_pylist()
    )
