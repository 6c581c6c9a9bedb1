"""The part of the audit that is seen once, when it is made, and then kept in the privacy log as it was seen."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from personalization import __version__
from personalization.errors import ExportError, ProgramError
from personalization.ledger import normalise_email
from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import export_runs
from personalization.ledger.schema import consent_conflicts, key_fingerprints, run_book, vault_items
from personalization.privacy.audit_cuts import check_cuts, opt_out_speed
from personalization.privacy.inventory import without_purpose
from personalization.privacy.relations import ledger_tables, tables
from personalization.privacy.retention import overdue
from personalization.privacy.sources import sources_inside

if TYPE_CHECKING:
    from personalization.privacy.audit_ledger import Numbers, Period
    from personalization.runtime import Runtime

_ADDRESS = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_TEXT_FILES = {".log", ".err", ".out", ".html", ".json", ".jsonl", ".md", ".txt", ".csv", ".yaml", ".db", ".sqlite"}


def observe(
    runtime: Runtime, period: Period, numbers: Numbers, at: datetime, *, read_platforms: bool
) -> dict[str, Any]:
    """Look at everything that no chain vouches for."""
    return {
        "software": __version__,
        "program": {
            "name": runtime.program.settings.name,
            "hash": runtime.program.hash,
            "runs": _programs(runtime, period),
        },
        "purposes": {name: purpose.lawful_basis for name, purpose in runtime.program.purposes.items()},
        "keys": _keys(runtime, at),
        "exports": _exports(runtime, period),
        "opt_out_speed": opt_out_speed(runtime, period),
        "cuts": check_cuts(runtime, period, numbers),
        "platforms": _platforms(runtime) if read_platforms else [],
        "identifiers_in_files": identifiers_in_files(runtime),
        "without_purpose": _without_purpose(runtime),
        "retention_overdue": overdue(runtime, at),
        "conflicts": _conflicts(runtime, period),
    }


def _programs(runtime: Runtime, period: Period) -> list[dict[str, Any]]:
    columns = run_book.c
    query = select(columns.program_sha256, columns.code_version, columns.started_at).order_by(columns.started_at)
    found: dict[tuple[str, str], int] = {}
    with runtime.ledger.read() as connection:
        for row in connection.execute(query):
            if period.has(row.started_at):
                found[row.program_sha256, row.code_version] = found.get((row.program_sha256, row.code_version), 0) + 1
    return [{"program": program, "code": code, "runs": runs} for (program, code), runs in found.items()]


def _keys(runtime: Runtime, at: datetime) -> list[dict[str, Any]]:
    """Names, fingerprints and ages of keys; never a key."""
    held = set(runtime.keys.fingerprints)
    with runtime.ledger.read() as connection:
        rows = connection.execute(select(key_fingerprints).order_by(key_fingerprints.c.recorded_at)).all()
    return [
        {"kind": row.kind, "key": row.key_id, "fingerprint": row.fingerprint, "age_days": (at - row.recorded_at).days}
        for row in rows
        if (row.kind, row.key_id) in held
    ]


def _exports(runtime: Runtime, period: Period) -> list[dict[str, Any]]:
    """By destination: runs, whether their books close, and what was handed over."""
    from personalization.ledger.export_books import read_books

    found: dict[str, dict[str, Any]] = {}
    query = select(export_runs.c.run, export_runs.c.started_at, export_runs.c.override).order_by(export_runs.c.run)
    with runtime.ledger.read() as connection:
        runs = [row for row in connection.execute(query) if period.has(row.started_at)]
        for run in runs:
            books = read_books(connection, run.run)
            new = {"destination": books.destination, "runs": 0, "planned": 0, "handed_over": 0, "open_books": 0}
            entry = found.setdefault(books.destination, {**new, "overrides": []})
            entry["runs"] += 1
            entry["planned"] += books.planned
            entry["handed_over"] += books.acked
            entry["open_books"] += not books.closes
            if run.override:
                entry["overrides"].append({"run": run.run, "who": run.override})
    return [found[name] for name in sorted(found)]


def _platforms(runtime: Runtime) -> list[dict[str, Any]]:
    """What each destination really holds, against what it acknowledged and who opted out."""
    from personalization.stages.monitoring.audit import audit_destination

    found: list[dict[str, Any]] = []
    for name in runtime.program.destinations:
        try:
            audit = audit_destination(runtime, name)
        except (ExportError, ProgramError) as error:
            found.append({"destination": name, "problem": error.message})
            continue
        found.append({"destination": name, "acknowledged": audit.source, "found": audit.found, **audit.counts})
    return found


def identifiers_in_files(runtime: Runtime) -> list[dict[str, Any]]:
    """Files outside vault and exporter with addresses in them that the vault knows. Addresses are never shown."""
    workspace = runtime.workspace
    skipped = [workspace.keys, workspace.privacy, workspace.exports, *sources_inside(runtime)]
    skipped += [workspace.state / f"ledger.sqlite{ending}" for ending in ("", "-wal", "-shm")]
    found = []
    for path in sorted(workspace.state.rglob("*")):
        if not path.is_file() or path.suffix not in _TEXT_FILES or any(s == path or s in path.parents for s in skipped):
            continue
        known = _known(runtime, {match.group() for match in _ADDRESS.finditer(path.read_bytes())})
        if known:
            found.append({"file": str(path.relative_to(workspace.state)), "addresses": known})
    if workspace.warehouse.exists():
        with runtime.warehouse.connect() as session:
            for relation in tables(session.raw):
                for name, _ in relation.columns:
                    rows = session.rows(
                        f'select distinct "{name}"::varchar from {relation.sql}'  # noqa: S608  (a column's own name)
                        f""" where contains("{name}"::varchar, '@') limit 1000"""
                    )
                    text = "\n".join(str(row[0]) for row in rows).encode()
                    known = _known(runtime, {match.group() for match in _ADDRESS.finditer(text)})
                    if known:
                        found.append({"file": f"{relation.name}.{name}", "addresses": known})
    return found


def _known(runtime: Runtime, addresses: set[bytes]) -> int:
    """How many of some addresses are of people in the vault."""
    plain = [address for address in (normalise_email(found.decode()) for found in addresses) if address]
    if not plain:
        return 0
    with runtime.ledger.read() as connection:
        query = select(func.count(func.distinct(vault_items.c.value_token))).where(
            one_of(connection, vault_items.c.value_token, runtime.keys.tokens("email", sorted(set(plain))))
        )
        return int(connection.execute(query).scalar_one())


def _without_purpose(runtime: Runtime) -> list[str]:
    """Tables and columns whose purpose nobody has stated."""
    columns = [(f"ledger.{name}", column.name) for name, table in ledger_tables().items() for column in table.c]
    if runtime.workspace.warehouse.exists():
        with runtime.warehouse.connect() as session:
            columns += session.rows(
                "select table_schema || '.' || table_name, column_name from information_schema.columns"
                " where table_schema not in ('main', 'information_schema', 'pg_catalog')"
            )
    return without_purpose(columns)


def _conflicts(runtime: Runtime, period: Period) -> int:
    with runtime.ledger.read() as connection:
        moments: list[datetime] = list(connection.execute(select(consent_conflicts.c.recorded_at)).scalars())
    return sum(period.has(moment) for moment in moments)
