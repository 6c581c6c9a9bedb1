"""Bulk imports of the ActiveCampaign sandbox: checked as a whole, worked on later, told by contact id and address."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.activecampaign_account import Account, is_address
from personalization.sandbox.answers import Answer
from personalization.sandbox.faults import Faults
from personalization.sandbox.store import Store

MAX_CONTACTS, MAX_BYTES = 250, 400_000
_RATE = (
    "Up to 100 imports may be requested per minute.Please batch contacts into larger requests, or retry this request "
    "in a minute."
)
_INVALID = (
    "JSON payload did not pass validation. Please fix failure Reasons and retry. The import was not queued for "
    "processing."
)


class Imports:
    """The queue of an account.

    Parameters
    ----------
    seconds : float
        How long a job waits before it is worked on.
    """

    def __init__(self, account: Account, store: Store, faults: Faults, seconds: float) -> None:
        self._account, self._store, self._faults, self._seconds = account, store, faults, seconds
        self._begun: deque[float] = deque(maxlen=100)
        self._tasks: set[asyncio.Task[None]] = set()
        self.per_minute = 100

    def submit(self, body: Any, size: int) -> Answer:
        now = time.monotonic()
        recent = [begun for begun in self._begun if begun > now - 60]
        if len(recent) >= self.per_minute:
            return _failed("Rate limit exceeded.", [_RATE])
        contacts = body.get("contacts") if isinstance(body, dict) else None
        if not isinstance(contacts, list) or not contacts:
            return _failed(_INVALID, ["'contacts' is a required field."])
        if size > MAX_BYTES:
            return _failed(_INVALID, ["The request body is larger than 400KB."])
        if len(contacts) > MAX_CONTACTS:
            return _failed(_INVALID, [f"Up to {MAX_CONTACTS} contacts may be imported at once."])
        quiet = body.get("exclude_automations", False)
        if not isinstance(quiet, bool):
            return _failed(_INVALID, ["'exclude_automations' must be a boolean."])
        reasons = [
            {"contact": number, "failureReason": reason}
            for number, contact in enumerate(contacts)
            if (reason := _problem(contact))
        ]
        if reasons:
            return _failed(_INVALID, reasons)
        self._begun.append(now)
        key = str(uuid.uuid4())
        job = {"status": "waiting", "success": [], "failure": [], "contacts": contacts, "day": _today()}
        self._store.put("imports", key, {**job, "automations": not quiet})
        self._run_later(key)
        message = "Contact import queued"
        return Answer(200, {"Success": 1, "queued_contacts": len(contacts), "batchId": key, "message": message})

    def info(self, key: str) -> Answer:
        if not key:
            return Answer(400, {"success": 0, "message": "'batchId' is a required field."})
        job = self._store.get("imports", key)
        if job is None:
            return Answer(400, {"success": 0, "message": f"Batch {key} was not found."})
        return Answer(200, {name: job[name] for name in ("status", "success", "failure")})

    def overview(self) -> Answer:
        """Batches and contacts by day, not by name."""
        counts: dict[str, dict[str, list[int]]] = {"outstanding": {}, "recentlyCompleted": {}}
        for job in self._store.all("imports").values():
            kind = "outstanding" if job["status"] == "waiting" else "recentlyCompleted"
            entry = counts[kind].setdefault(job["day"], [0, 0])
            entry[0] += 1
            entry[1] += len(job["contacts"])
        shown = {
            kind: [{"forDate": day, "batches": str(b), "contacts": str(c)} for day, (b, c) in days.items()]
            for kind, days in counts.items()
        }
        return Answer(200, shown)

    def starting_automations(self) -> int:
        """How many contacts came by imports that let the account's automations start."""
        return sum(len(job["contacts"]) for job in self._store.all("imports").values() if job["automations"])

    def start(self) -> None:
        for key, job in list(self._store.all("imports").items()):
            if job["status"] == "waiting":
                self._run_later(key)

    def _run_later(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str) -> None:
        await asyncio.sleep(self._seconds)
        job = self._store.get("imports", key)
        if job is None:
            return  # the account was emptied meanwhile
        lost = self._faults.next("IMPORT", key, inside=True)
        if lost:
            self._store.put("imports", key, {**job, "status": "interrupted"})
            return
        success: list[str] = []
        failure: list[str] = []
        with self._store.together():
            for contact in job["contacts"]:
                done = self._apply(contact)
                (success if done else failure).append(done or contact["email"])
            self._store.put("imports", key, {**job, "status": "completed", "success": success, "failure": failure})

    def _apply(self, contact: dict[str, Any]) -> str | None:
        """The contact's id, or None when the address turns out to be none after all."""
        local, _, domain = contact["email"].partition("@")
        if "." not in domain or "'" in local:
            return None
        written, _ = self._account.upsert(contact["email"], contact.get("fields") or [])
        for entry in contact.get("unsubscribe") or []:
            self._account.set_list(written["id"], str(entry["listid"]), "2")
        for entry in contact.get("subscribe") or []:
            self._account.join(written["id"], str(entry["listid"]))
        return str(written["id"])


def _problem(contact: Any) -> str | None:
    if not isinstance(contact, dict) or not is_address(contact.get("email")):
        return "Field 'email' incorrect format"
    for field in contact.get("fields") or []:
        if not isinstance(field, dict) or not isinstance(field.get("id"), int):
            return "Field 'fields' incorrect format: 'id' must be an integer"
        if not isinstance(field.get("value"), str):
            return "Field 'fields' incorrect format: 'value' must be a string"
    return None


def _failed(message: str, reasons: list[Any]) -> Answer:
    return Answer(400, {"success": 0, "message": message, "failureReasons": reasons})


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
