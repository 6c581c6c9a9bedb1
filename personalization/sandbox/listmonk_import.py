"""The CSV importer of the listmonk sandbox: one at a time, rows that don't fit are told in a log and nowhere else."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.listmonk_data import SUBSCRIPTIONS, Data, default_name, sanitised

COMMIT_ROWS = 10_000
SPLIT_FLAGS, NEEDS_LISTS, FORGETS = (6, 0), (6, 0), (3, 0)
"""The first versions that know `overwrite_userinfo`, refuse an import onto no list, and need no clearing."""
_COLUMNS = ("email", "name", "attributes")


class NotStarted(Exception):
    """An import that listmonk refuses, with the status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class _Unreadable(Exception):
    """A file that is no CSV, or not one of subscribers."""


class Importer:
    """listmonk's importer.

    Parameters
    ----------
    seconds : float
        How long an import takes at least.
    """

    def __init__(self, data: Data, seconds: float) -> None:
        self._data, self._seconds = data, seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._round = 0
        self.version = (0, 0)
        self.forget()

    def forget(self) -> None:
        self._round += 1  # what is still under way writes nothing any more
        self.stats: dict[str, Any] = {"name": "", "total": 0, "imported": 0, "status": "none"}
        self._log: list[str] = []

    @property
    def log(self) -> str:
        return "".join(self._log)

    def begin(self, raw_params: str, file: tuple[str, bytes] | None) -> dict[str, Any]:
        """Check an import and start it. Raises `NotStarted`."""
        if self.stats["status"] == "importing":
            raise NotStarted(400, "An import is already running. Wait for it to finish or stop it before trying again.")
        try:
            params = json.loads(raw_params)
            if not isinstance(params, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise NotStarted(400, f"Invalid params: {error}") from None
        known = {entry["id"] for entry in self._data.lists()}
        params["lists"] = [key for key in params.get("lists") or [] if key in known]
        if not params["lists"] and params.get("mode") != "blocklist" and self.version >= NEEDS_LISTS:
            raise NotStarted(403, "Permission denied: lists")
        if params.get("mode") not in ("subscribe", "blocklist"):
            raise NotStarted(400, "Invalid mode")
        if not params.get("subscription_status"):
            params["subscription_status"] = "unconfirmed" if params["mode"] == "subscribe" else "unsubscribed"
        if params["subscription_status"] not in SUBSCRIPTIONS:
            raise NotStarted(400, "Invalid subscription status")
        if len(str(params.get("delim", ""))) != 1:
            raise NotStarted(400, "`delim` should be a single character")
        if file is None:
            raise NotStarted(400, "Invalid file: http: no such file")
        if self.stats["status"] == "stopping" or (self.stats["status"] != "none" and self.version < FORGETS):
            raise NotStarted(500, "Error starting import: an import is already running")
        name, content = file
        if not name.lower().endswith(".csv"):
            content = self._unpacked(content)
        self.stats = {"name": name, "total": 0, "imported": 0, "status": "importing"}
        self._log = []
        self._say(f"processing '{name}'")
        task = asyncio.get_running_loop().create_task(self._run(params, content, self._round))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return dict(self.stats)

    def _unpacked(self, content: bytes) -> bytes:
        """The first CSV file of a ZIP."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                found = [name for name in packed.namelist() if name.lower().endswith(".csv")]
                if found:
                    return packed.read(found[0])
                problem = "no CSV files found in the ZIP"
        except zipfile.BadZipFile:
            problem = "zip: not a valid zip file"
        self.stats["status"] = "failed"
        raise NotStarted(500, f"Error processing ZIP file: {problem}")

    def stop(self) -> None:
        """Stop a running import, or clear what is known of a finished one."""
        if self.stats["status"] == "importing":
            self.stats["status"] = "stopping"
        elif self.stats["status"] != "stopping":
            self.stats = {"name": "", "total": 0, "imported": 0, "status": "none"}

    async def _run(self, params: dict[str, Any], content: bytes, begun: int) -> None:
        await asyncio.sleep(self._seconds)
        if self._round != begun:
            return
        if self.stats["status"] == "stopping":
            self._say("stop request received")
            self.stats["status"] = "finished"
            return
        written = 0
        try:
            rows = self._rows(content.decode(), str(params["delim"]))
            for start in range(0, len(rows), COMMIT_ROWS):
                written = 0
                with self._data.together():
                    for email, name, attribs in rows[start : start + COMMIT_ROWS]:
                        self._write(params, email, name, attribs)
                        written += 1
                self.stats["imported"] += written
        except (_Unreadable, UnicodeDecodeError) as error:
            # listmonk also leaves a transaction open that locks what it wrote, until it is started again
            self._say(str(error))
            self.stats["status"] = "failed"
            return
        except (ValueError, sqlite3.IntegrityError) as error:
            self._say(f"error executing insert: {error}")
            if written:  # a row that fails as the first of its transaction is no failure to listmonk
                self._say("error committing to DB: sql: transaction has already been committed or rolled back")
                self.stats["status"] = "failed"
                return
        self.stats["status"] = "finished"
        self._say("imported finished")

    def _rows(self, text: str, delimiter: str) -> list[tuple[str, str, dict[str, Any]]]:
        self.stats["total"] = max(0, text.count("\n") - 1)
        lines = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(lines, [])]
        for unknown in (name for name in header if name not in _COLUMNS):
            self._say(f"ignoring unknown header '{unknown}'")
        if "email" not in header:
            raise _Unreadable(f"'email' column not found in '{self.stats['name']}'")
        rows = []
        for number, cells in enumerate(_readable(lines), start=1):
            if len(cells) != len(header):
                self._say(f"skipping line {number}. record on line {number + 1}: wrong number of fields")
                continue
            row = dict(zip(header, cells, strict=True))
            email = sanitised(row["email"])
            if email is None:
                if self.version >= SPLIT_FLAGS:
                    self._say(f"skipping line {number}: Invalid e-mail.: [{' '.join(cells)}]")
                else:
                    self._say(f"skipping line {number}: {row['email']}: Invalid e-mail.")
                continue
            name = row.get("name", "").strip() or default_name(email, self.version)
            if not name:
                self._say(f'skipping line {number}: invalid or empty name ""')
                continue
            attribs: dict[str, Any] = {}
            if row.get("attributes"):
                try:
                    attribs = json.loads(row["attributes"])
                except ValueError as error:
                    self._say(f"skipping invalid attributes JSON on line {number} for '{email}': {error}")
            rows.append((email, name, attribs))
        return rows

    def _write(self, params: dict[str, Any], email: str, name: str, attribs: dict[str, Any]) -> None:
        if "\x00" in json.dumps(attribs) or "\\u0000" in json.dumps(attribs):
            raise ValueError("unsupported Unicode escape sequence")  # PostgreSQL keeps no NUL
        if params["mode"] == "blocklist":
            self._data.blocklist_address(email, name, attribs)
            return
        both, split = bool(params.get("overwrite")), self.version >= SPLIT_FLAGS
        self._data.upsert(
            email,
            name,
            attribs,
            params["lists"],
            params["subscription_status"],
            both or (split and bool(params.get("overwrite_userinfo"))),
            both or (split and bool(params.get("overwrite_subscription_status"))),
        )

    def _say(self, text: str) -> None:
        self._log.append(f"{datetime.now(UTC):%Y/%m/%d %H:%M:%S.%f} importer.go:1: {text}\n")


def _readable(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from (cells for cells in lines if cells)
    except csv.Error as error:
        raise _Unreadable(f"error reading CSV '{error}'") from None
