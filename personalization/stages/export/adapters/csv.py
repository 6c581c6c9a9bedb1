"""CSV: each run with a difference leaves one complete folder of upserts, removals, suppressions and a manifest.

A folder appears under its final name only when everything in it is on the disk, so whoever picks it up sees all or
nothing. Its name comes from the run, so that after a crash the same run is found, or made again, in the same place.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import CsvDestination
from personalization.stages.export.adapters import csv_erasure
from personalization.stages.export.adapters.base import (
    Batch,
    Contact,
    DestinationError,
    Holding,
    Limits,
    Prepared,
    Sent,
)

LIMITS = Limits(rows=50_000, consistency=0.0)
MANIFEST = "manifest.json"
UPSERTS, REMOVALS, SUPPRESSIONS = "upserts.csv", "removals.csv", "suppressions.csv"
_FILE_OF = {"add": UPSERTS, "change": UPSERTS, "remove": REMOVALS, "retract": SUPPRESSIONS}
_KEYS = ("email", "external_id")
REASON = "reason"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvAdapter:
    """Writes difference files below one folder.

    Parameters
    ----------
    destination : CsvDestination
        Its fields become columns after `email` and `external_id`.
    name : str
        Of the destination, for the manifest.
    folder : Path
        Where the folders of runs go.
    """

    limits = LIMITS

    def __init__(self, destination: CsvDestination, name: str, folder: Path) -> None:
        self._fields = destination.fields
        self._name, self._folder = name, folder

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """Make the folder, readable by its owner only: the files hold addresses."""
        if self._folder.is_dir():
            return []
        try:
            self._folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise DestinationError(
                f"the folder {self._folder} can't be made: {error.strerror}", hint="set `folder` in destinations.yaml"
            ) from None
        return [f"folder {self._folder}"]

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
        final = self._folder_of(batch)
        unfinished = final.with_name(f".{final.name}.unfinished")
        try:
            self.setup(frozenset())
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            files = [self._write(unfinished, name, batch) for name in (UPSERTS, REMOVALS, SUPPRESSIONS)]
            manifest = {
                "destination": self._name,
                "as_of": batch.as_of,
                "run": batch.run,
                "batch": batch.number,
                "plan_hash": batch.plan_hash,
                "files": files,
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            _write_through(unfinished / MANIFEST, text.encode())
            _sync_folder(unfinished)
            os.rename(unfinished, final)
            _sync_folder(self._folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise DestinationError(
                f"the files for '{self._name}' can't be written to {self._folder}: {error.strerror}",
                hint="is there space on the disk, and may this user write there? Then run again",
            ) from None
        return Sent([Outcome(row_id, "acked") for row_id in batch.ids])

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """Nothing is worked on later."""
        return []

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """A folder under its final name is complete; without it nothing arrived."""
        final = self._folder_of(batch)
        state = "acked" if (final / MANIFEST).exists() else "planned"
        shutil.rmtree(final.with_name(f".{final.name}.unfinished"), ignore_errors=True)
        return [Outcome(row_id, state) for row_id in batch.ids]

    def holdings(self) -> Iterator[Holding]:
        """What somebody holds who imported all files in the order they were written."""
        names = [field.name for field in self._fields]
        held: dict[str, Holding] = {}
        for folder in sorted(self._folder.glob("run-*")):
            for file, active in ((UPSERTS, True), (REMOVALS, True), (SUPPRESSIONS, False)):
                with (folder / file).open(encoding="utf-8", newline="") as lines:
                    for row in csv.DictReader(lines):
                        values = {name: row.get(name, "").removeprefix("'") for name in names}
                        held[row["email"]] = Holding(row["email"], active, values)
        yield from held.values()

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: their rows in every file written so far."""
        wanted, ids = {address.casefold() for address in addresses}, set(external_ids)
        found = []
        for path in sorted(self._folder.glob("run-*/*.csv")):
            with path.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    if row["email"].casefold() in wanted or row["external_id"] in ids:
                        found.append({"file": f"{path.parent.name}/{path.name}", **row})
        return found

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """Take people out of every file written so far. Who imported a file has to delete them there."""
        return csv_erasure.erase(sorted(self._folder.glob("run-*")), set(addresses), set(external_ids))

    def _folder_of(self, batch: Batch) -> Path:
        """Sorts in the order of writing, also when an earlier day is exported later."""
        return self._folder / f"run-{batch.run:06d}-{batch.number}_{batch.as_of}"

    def _write(self, folder: Path, name: str, batch: Batch) -> dict[str, Any]:
        """Write one file; returns its entry in the manifest."""
        further = {UPSERTS: [field.name for field in self._fields], SUPPRESSIONS: [REASON]}
        columns = [*_KEYS, *further.get(name, [])]
        rows = [row.request for row in batch.rows if _FILE_OF[row.contact.operation] == name]
        content = _as_csv([columns, *rows])
        _write_through(folder / name, content)
        return {
            "name": name,
            "rows": len(rows),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "columns": columns,
        }


def _cell(value: str | None, kind: str) -> str:
    if value is None:
        return ""
    return f"'{value}" if kind == "text" and value.startswith(_FORMULA) else value


def _as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: lines end with CR LF, quotes only where they are needed, UTF-8."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


def _write_through(path: Path, content: bytes) -> None:
    """The file is on the disk when this returns, and only its owner can read it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
