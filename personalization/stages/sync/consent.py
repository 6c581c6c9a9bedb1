"""Consent events that landed go to the ledger, which is append-only and takes each event once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from sqlalchemy import select

from personalization.program import Program
from personalization.program.models import ProgramFile
from personalization.stages.sync.dates import instant_sql
from personalization.stages.sync.entities import CONSENT_ACTIONS, ENTITIES
from personalization.stages.sync.landing import landed_files, load_of
from personalization.stages.sync.tables import SyncTable, mapped_tables
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from personalization.ledger import ConsentEvent, Ledger

_FETCHED_ROWS = 5_000
_PROOF = ("method", "notice_version", "locale", "double_opt_in_id", "gpp_string")


def append_consent(program: Program, workspace: Workspace, ledger: Ledger) -> int:
    """Append the events of all complete loads that are not in the ledger yet.

    What was appended is noted in a file, with the last event of the ledger then and the purposes of the program. When
    the ledger no longer has that event (it was restored from a backup) or there are other purposes, everything is
    offered again. Lost events would be lost opt-outs.

    Returns
    -------
    int
        How many events were new.
    """
    tables = [table for table in mapped_tables(program) if table.entity.name == "consent_events"]
    if not tables:
        return 0
    note = workspace.dlt / "consent_appended.json"
    done = _noted_loads(note, program, ledger)
    loads: set[str] = set()
    added = 0
    for table in tables:
        files = landed_files(workspace.landing, table.landing_name)
        offered = {f"{table.landing_name}/{load_of(path)}" for path in files}
        fresh = [path for path in files if f"{table.landing_name}/{load_of(path)}" not in done]
        loads |= offered
        if fresh:
            added += ledger.consent.append(_events(program, table, fresh))
    if loads != done:
        purposes = sorted(program.purposes)
        _write_note(note, {"loads": sorted(loads), "head": ledger.consent.head(), "purposes": purposes})
    return added


def _events(program: Program, table: SyncTable, files: list[Path]) -> Iterator[ConsentEvent]:
    """Valid events in the order they landed. The others are in quarantine, where validation says why."""
    from personalization.ledger.consent_declared import declared_event

    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        rows = engine.execute(
            _query(engine, files, program.settings),
            {
                "files": [str(path) for path in files],
                "purposes": list(program.purposes),
                "actions": list(CONSENT_ACTIONS),
            },
        )
        while fetched := rows.fetchmany(_FETCHED_ROWS):
            for event_id, subject, purpose, action, effective_at, method, version, locale, double, gpp in fetched:
                yield declared_event(
                    purpose,
                    program.purposes[purpose],
                    event_id=f"{table.label}:{event_id}",
                    subject_token=subject,
                    action=action,
                    effective_at=effective_at.replace(tzinfo=UTC),
                    source=table.label,
                    method=method,
                    notice_version=version,
                    locale=locale,
                    double_opt_in_id=double,
                    evidence={"gpp_string": gpp} if gpp else None,
                )


def _query(engine: duckdb.DuckDBPyConnection, files: list[Path], settings: ProgramFile) -> str:
    """Events with a known purpose and action, an identifier and a readable moment, from the landing files."""
    types = dict(
        engine.execute(
            "select column_name, column_type from (describe from read_parquet($files, union_by_name = true))",
            {"files": [str(path) for path in files]},
        ).fetchall()
    )
    columns = {
        name: f"nullif(trim({name}::varchar), '')" if name in types else "null::varchar"
        for name in ENTITIES["consent_events"].landed_columns
    }
    moment = "effective_at" if types.get("effective_at", "").startswith("TIMESTAMP") else None
    written = instant_sql(columns["effective_at"], settings.timezone, settings.slash_dates)
    instant = "effective_at::timestamp" if moment else written
    return f"""
        select event_id, subject, purpose, action, instant, {", ".join(_PROOF)}
        from (
            select
                {columns["event_id"]} as event_id,
                coalesce({columns["customer_key"]}, {columns["email_token"]}) as subject,
                {columns["purpose"]} as purpose,
                lower({columns["action"]}) as action,
                {instant} as instant,
                {", ".join(f"{columns[name]} as {name}" for name in _PROOF)},
                _dlt_load_id,
                _source,
                _row
            from read_parquet($files, union_by_name = true)
        )
        where event_id is not null and subject is not null and instant is not null
            and purpose in (select unnest($purposes)) and action in (select unnest($actions))
        order by _dlt_load_id, _source, _row
    """  # noqa: S608  (names and expressions of ours)


def _noted_loads(note: Path, program: Program, ledger: Ledger) -> set[str]:
    """The loads whose events are in the ledger for certain."""
    from personalization.ledger.schema import consent_events

    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        loads, head, purposes = set(noted["loads"]), str(noted["head"]), noted["purposes"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    if purposes != sorted(program.purposes):
        return set()
    if head == "0" * 64:
        return loads  # there was not one valid event, and so none can have been lost
    with ledger.read() as connection:
        known = connection.execute(select(consent_events.c.seq).where(consent_events.c.hash == head)).first()
    return loads if known else set()


def _write_note(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
