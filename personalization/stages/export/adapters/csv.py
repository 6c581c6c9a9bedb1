"""CSV: each run with a difference leaves one complete folder of upserts, removals, suppressions and a manifest.

Whoever picks a folder up sees all of it or nothing (`csv_store`). Its name comes from run and batch, so that after a
crash it is found in the same place.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import CsvDestination
from personalization.stages.export.adapters import csv_erasure
from personalization.stages.export.adapters.base import (
    Batch,
    Contact,
    Holding,
    Limits,
    Prepared,
    Sent,
)
from personalization.stages.export.adapters.csv_store import MANIFEST, CsvStore

LIMITS = Limits(rows=50_000, consistency=0.0)
UPSERTS, REMOVALS, SUPPRESSIONS = "upserts.csv", "removals.csv", "suppressions.csv"
_FILE_OF = {"add": UPSERTS, "change": UPSERTS, "remove": REMOVALS, "retract": SUPPRESSIONS}
_KEYS = ("email", "external_id")
REASON = "reason"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvAdapter:
    """Writes difference files to one place.

    Parameters
    ----------
    destination : CsvDestination
        Its fields become columns after `email` and `external_id`.
    name : str
        Of the destination, for the manifest.
    store : CsvStore
        Where the folders of runs go.
    """

    limits = LIMITS

    def __init__(self, destination: CsvDestination, name: str, store: CsvStore) -> None:
        self._fields = destination.fields
        self._name, self._store = name, store

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """Make the folder where there is none. An object store only has to be there."""
        made = self._store.make()
        return [made] if made else []

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        """One row a contact. Text that a spreadsheet would run as a formula gets an apostrophe in front of it."""
        prepared, unfit = [], []
        for contact in contacts:
            if contact.address.startswith(_FORMULA):
                # an apostrophe would make it another person's address
                reason = "the address begins with a sign that spreadsheets take for a formula"
                unfit.append(Outcome(contact.id, "invalid", reason))
                continue
            cells = [contact.address, contact.external_id]
            if _FILE_OF[contact.operation] == UPSERTS:
                cells += [_cell(contact.values.get(field.name), field.type) for field in self._fields]
            if contact.operation == "retract":
                cells.append(contact.opt_out)
            prepared.append(Prepared(contact, cells))
        return prepared, unfit

    def send(self, batch: Batch) -> Sent:
        written = {name: self._content(name, batch) for name in (UPSERTS, REMOVALS, SUPPRESSIONS)}
        manifest = {
            "destination": self._name,
            "as_of": batch.as_of,
            "run": batch.run,
            "batch": batch.number,
            "plan_hash": batch.plan_hash,
            "files": [entry for entry, _ in written.values()],
        }
        contents = {name: content for name, (_, content) in written.items()}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        self._store.write(_folder_of(batch), {**contents, MANIFEST: text.encode()}, batch.deadline)
        return Sent([Outcome(row_id, "acked") for row_id in batch.ids])

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """Nothing is worked on later."""
        return []

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """A complete folder has arrived; of another one nothing has."""
        state = "acked" if self._store.complete(_folder_of(batch)) else "planned"
        return [Outcome(row_id, state) for row_id in batch.ids]

    def holdings(self) -> Iterator[Holding]:
        """What somebody holds who imported all files in the order they were written."""
        names = [field.name for field in self._fields]
        held: dict[str, Holding] = {}
        for folder in self._store.folders():
            for file, active in ((UPSERTS, True), (REMOVALS, True), (SUPPRESSIONS, False)):
                for row in self._rows(folder, file):
                    values = {name: row.get(name, "").removeprefix("'") for name in names}
                    held[row["email"]] = Holding(row["email"], active, values)
        yield from held.values()

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: their rows in every file written so far."""
        wanted, ids = {address.casefold() for address in addresses}, set(external_ids)
        return [
            {"file": f"{folder}/{file}", **row}
            for folder in self._store.folders()
            for file in self._store.files(folder)
            if file.endswith(".csv")
            for row in self._rows(folder, file)
            if row["email"].casefold() in wanted or row["external_id"] in ids
        ]

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """Take people out of every file written so far. Who imported a file has to delete them there."""
        return csv_erasure.erase(self._store, set(addresses), set(external_ids))

    def _rows(self, folder: str, file: str) -> Iterator[dict[str, str]]:
        yield from csv.DictReader(io.StringIO(self._store.read(folder, file).decode(), newline=""))

    def _content(self, name: str, batch: Batch) -> tuple[dict[str, Any], bytes]:
        """A file's entry in the manifest, and its content."""
        further = {UPSERTS: [field.name for field in self._fields], SUPPRESSIONS: [REASON]}
        columns = [*_KEYS, *further.get(name, [])]
        rows = [row.request for row in batch.rows if _FILE_OF[row.contact.operation] == name]
        content = _as_csv([columns, *rows])
        entry = {
            "name": name,
            "rows": len(rows),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "columns": columns,
        }
        return entry, content


def _folder_of(batch: Batch) -> str:
    """Sorts in the order of writing, also when an earlier day is exported later."""
    return f"run-{batch.run:06d}-{batch.number}_{batch.as_of}"


def _cell(value: str | None, kind: str) -> str:
    if value is None:
        return ""
    return f"'{value}" if kind == "text" and value.startswith(_FORMULA) else value


def _as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: lines end with CR LF, quotes only where they are needed, UTF-8."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
