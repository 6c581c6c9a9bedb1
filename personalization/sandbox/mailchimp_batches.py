"""Batch operations of the Mailchimp sandbox: queued, run step by step, results in a tar.gz behind a signed URL."""

from __future__ import annotations

import asyncio
import io
import json
import random
import secrets
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.answers import Answer, Problem, invalid, not_found
from personalization.sandbox.faults import Faults
from personalization.sandbox.mailchimp_account import Account

MAX_OPERATIONS = 1000
MAX_PENDING = 500
URL_SECONDS = 600  # a signed URL of results works for ten minutes; each GET of the batch gives a new one
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_STEP = 50  # operations between two looks at the other requests
_RESULTS_PER_FILE = 200
_KIND = "batches"


class Batches:
    """The batches of an account.

    Parameters
    ----------
    seconds : float
        How long a batch waits in the queue before it runs, and again while its results are compiled.
    """

    def __init__(self, account: Account, faults: Faults, seconds: float) -> None:
        self._account, self._faults, self._seconds = account, faults, seconds
        self._results: dict[str, bytes] = {}
        self._signatures: dict[str, tuple[str, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up the batches that an earlier server left unfinished."""
        for batch in list(self._account.store.all(_KIND).values()):
            if batch["status"] != "finished":
                self._run_later(batch["id"])

    def submit(self, body: Any) -> Answer:
        operations = body.get("operations") if isinstance(body, dict) else None
        try:
            if not isinstance(operations, list) or not operations:
                raise invalid(_SCHEMA, [("operations", "Schema describes array, another type found instead")])
            if len(operations) > MAX_OPERATIONS:
                raise invalid(_SCHEMA, [("operations", f"At most {MAX_OPERATIONS} operations can be sent at once")])
            for number, operation in enumerate(operations):
                _check(number, operation)
            waiting = sum(batch["status"] != "finished" for batch in self._account.store.all(_KIND).values())
            if waiting >= MAX_PENDING:
                raise Problem(429, "Too Many Requests", f"You have more than {MAX_PENDING} pending batches.")
        except Problem as problem:
            return problem.answer
        batch: dict[str, Any] = {
            "id": secrets.token_hex(5),
            "status": "pending",
            "total_operations": len(operations),
            "finished_operations": 0,
            "errored_operations": 0,
            "submitted_at": _now(),
            "completed_at": "",
            "operations": operations,
        }
        self._account.store.put(_KIND, batch["id"], batch)
        self._run_later(batch["id"])
        return Answer(200, self._shown(batch, ""))

    def page(self, count: int, offset: int) -> Answer:
        newest = list(self._account.store.all(_KIND).values())[::-1]
        page = [self._shown(batch, "") for batch in newest[offset : offset + count]]
        return Answer(200, {"batches": page, "total_items": len(newest)})

    def get(self, key: str, base: str) -> Answer:
        batch = self._account.store.get(_KIND, key)
        if batch is None:
            return not_found().answer
        url = ""
        if batch["status"] == "finished" and key in self._results:
            signature = secrets.token_hex(16)
            self._signatures[signature] = (key, time.monotonic() + URL_SECONDS)
            url = f"{base}/_results/{signature}/{key}-response.tar.gz"
        return Answer(200, self._shown(batch, url))

    def delete(self, key: str) -> Answer:
        """Stop a batch; operations that ran already stay."""
        if self._account.store.get(_KIND, key) is None:
            return not_found().answer
        self._account.store.delete(_KIND, key)
        return Answer(204)

    def results(self, signature: str) -> bytes | None:
        """The tar.gz behind a signed URL; None when the URL has expired or never was."""
        key, until = self._signatures.get(signature, ("", 0.0))
        return self._results.get(key) if time.monotonic() < until else None

    def _run_later(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str) -> None:
        await asyncio.sleep(self._seconds / 2)
        if not self._advance(key, status="preprocessing"):
            return
        await asyncio.sleep(self._seconds / 2)
        batch = self._account.store.get(_KIND, key)
        if not self._advance(key, status="started"):
            return
        operations = list(batch["operations"])
        random.Random(key).shuffle(operations)  # nothing may depend on their order
        results: list[dict[str, Any]] = []
        for start in range(0, len(operations), _STEP):
            with self._account.store.together():
                results += [self._apply(operation) for operation in operations[start : start + _STEP]]
            failed = sum(result["status_code"] >= 400 for result in results)
            if not self._advance(key, finished_operations=len(results), errored_operations=failed):
                return
            await asyncio.sleep(0)
        self._results[key] = _archive(key, results)
        self._advance(key, status="finalizing")
        await asyncio.sleep(self._seconds / 2)
        self._advance(key, status="finished", completed_at=_now(), operations=[])

    def _advance(self, key: str, **changes: Any) -> bool:
        """False when the batch was deleted meanwhile."""
        batch = self._account.store.get(_KIND, key)
        if batch is None:
            return False
        self._account.store.put(_KIND, key, {**batch, **changes})
        return True

    def _apply(self, operation: dict[str, Any]) -> dict[str, Any]:
        method, path = operation["method"], "/" + operation["path"].lstrip("/")
        answer = None
        fault = self._faults.next(method, path, inside=True)
        if fault:
            answer = Answer(fault.status, fault.body)
        else:
            try:
                body = json.loads(operation["body"]) if operation.get("body") else None
            except ValueError:
                answer = Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.").answer
            else:
                query = {name: str(value) for name, value in (operation.get("params") or {}).items()}
                answer = self._account.handle(method, path, query if method == "GET" else {}, body)
        return {
            "status_code": answer.status,
            "operation_id": operation.get("operation_id", ""),
            "response": "" if answer.body is None else json.dumps(answer.body),
        }

    def _shown(self, batch: dict[str, Any], url: str) -> dict[str, Any]:
        shown = {name: value for name, value in batch.items() if name != "operations"}
        return {**shown, "response_body_url": url}


_SCHEMA = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."


def _check(number: int, operation: Any) -> None:
    if not isinstance(operation, dict):
        raise invalid(_SCHEMA, [(f"operations.{number}", "Schema describes object, another type found instead")])
    if operation.get("method") not in _METHODS:
        raise invalid(_SCHEMA, [(f"operations.{number}.method", f"Value must be one of: {', '.join(_METHODS)}")])
    if not isinstance(operation.get("path"), str):
        raise invalid(_SCHEMA, [(f"operations.{number}.path", "Required fields were not provided: path")])
    if not isinstance(operation.get("body", ""), str):
        raise invalid(_SCHEMA, [(f"operations.{number}.body", "Schema describes string, another type found instead")])


def _archive(key: str, results: list[dict[str, Any]]) -> bytes:
    """The results as JSON lists in several files of a tar.gz, below an entry for the folder itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, part in _files(key, results):
            content = json.dumps(part).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _files(key: str, results: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for start in range(0, len(results), _RESULTS_PER_FILE):
        yield f"./{key}-{start // _RESULTS_PER_FILE}.json", results[start : start + _RESULTS_PER_FILE]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
