"""Erases a person truly: suppressed first, then forgotten everywhere, then searched for byte by byte, with a receipt.

Killed anywhere and called again it completes: what it has to know is sealed on the disk before anything is destroyed,
and every step may be done again. docs/privacy.md says what is kept and why.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalization import __version__
from personalization.crash_points import crash_point
from personalization.errors import DataError, PrivacyError
from personalization.ledger import tombstones
from personalization.ledger.requests import Request
from personalization.ledger.tombstones import Tombstone
from personalization.privacy import receipt
from personalization.privacy.erase_destinations import erase_everywhere
from personalization.privacy.erase_files import rewrite_parquet, scrub
from personalization.privacy.erase_ledger import compact, erase_bodies, erase_rows, left_in_ledger
from personalization.privacy.erase_warehouse import erase_rows as erase_warehouse_rows
from personalization.privacy.needles import TOKEN
from personalization.privacy.person import Person, find_person
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.scan import Hit, scan
from personalization.privacy.sources import sources_inside, sources_that_name
from personalization.privacy.work import Work

if TYPE_CHECKING:
    from personalization.runtime import Runtime

RECEIPT = "receipt.json"
KIND = "erasure receipt"

Counts = dict[str, int]


@dataclass(frozen=True)
class Erased:
    """What an erasure did.

    Attributes
    ----------
    receipt : Path
        The signed receipt.
    steps : dict
        By step, what was changed, over all attempts.
    sources : list of str
        Source files that still name the person: they are the company's own, and the next sync reads them again.
    """

    request: Request
    receipt: Path
    steps: dict[str, Counts]
    sources: list[str]


def erase(
    runtime: Runtime,
    asked: str,
    *,
    at: datetime,
    manner: str = "command line",
    request_id: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Erased:
    """Carry out an erasure from the request to the receipt.

    Parameters
    ----------
    asked : str
        E-mail address, telephone number, customer id, or identifier token.
    at : datetime
        Now.
    request_id : str, optional
        The request it answers; default: the open one of the person, or a new one.
    on_progress : callable, optional
        Called with the name of each step as it begins.

    Raises
    ------
    PrivacyError
        Something of the person is left, which is named; or a destination could not be cleared. Run it again.
    """
    from personalization.run_lock import only_run

    with only_run(runtime):
        return _Erasure(runtime, at, on_progress or (lambda step: None)).run(asked, manner, request_id)


def finish_begun(runtime: Runtime, at: datetime) -> list[str]:
    """Complete erasures that were begun: killed ones, and those of a ledger that was restored from a backup since.

    Called before anything else works with the data. A destination that can't be reached does not stop it.

    Returns
    -------
    list of str
        The requests that are still not complete.
    """
    if not runtime.workspace.tombstones.exists():
        return []
    incomplete = []
    open_requests = {request.request_id for request in runtime.ledger.requests.all() if request.is_open}
    for tombstone in tombstones.read(runtime.workspace.tombstones):
        if tombstone.request_id not in open_requests:
            continue
        open_requests.discard(tombstone.request_id)
        asked = (*tombstone.identifier_tokens, *tombstone.suppression_tokens)[0]
        try:
            _Erasure(runtime, at, lambda step: None).run(asked, "", tombstone.request_id)
        except PrivacyError:
            incomplete.append(tombstone.request_id)
    return incomplete


class _Erasure:
    def __init__(self, runtime: Runtime, at: datetime, progress: Callable[[str], None]) -> None:
        self._runtime, self._at, self._progress = runtime, at, progress
        self._state = runtime.workspace.state
        self._failed: dict[str, str] = {}

    def run(self, asked: str, manner: str, request_id: str | None) -> Erased:
        runtime, requests = self._runtime, self._runtime.ledger.requests
        person = find_person(runtime, asked)
        known = request_id or requests.find_open("erasure", person.tokens) or self._begun(person)
        request = requests.get(known or requests.open("erasure", person.tokens[0], manner, self._at))
        if request.kind != "erasure":
            raise DataError(f"{request.request_id} asks for {request.kind}, not for erasure")
        folder = runtime.workspace.privacy / request.request_id
        work = self._begin(request, person, folder)
        requests.start(request.request_id, self._at)
        crash_point("erase.begun")
        for name, step in self._steps(request, folder):
            self._progress(name)
            counts = {key: number for key, number in step(work).items() if number}
            requests.log("step", {"step": name, "counts": counts}, at=self._at, request_id=request.request_id)
            crash_point(f"erase.{name}")
        return self._end(request, work, folder)

    def _begun(self, person: Person) -> str | None:
        """The open erasure that was interrupted when the links between the person's identifiers were gone already."""
        asked = {*person.tokens, *Work.of(self._runtime, person).suppression_tokens}
        requests = {request.request_id: request for request in self._runtime.ledger.requests.all()}
        return next(
            (
                tombstone.request_id
                for tombstone in tombstones.read(self._runtime.workspace.tombstones)
                if asked & set(tombstone.tokens) and requests[tombstone.request_id].is_open
            ),
            None,
        )

    def _begin(self, request: Request, person: Person, folder: Path) -> Work:
        """Seal what has to be known, then bury the person: from here on there is no way back and no mail."""
        runtime = self._runtime
        work = Work.of(runtime, person)
        earlier = Work.load(folder, runtime.keys) if folder.exists() else None
        for tombstone in tombstones.read(runtime.workspace.tombstones):
            if tombstone.request_id == request.request_id:
                work = work.joined(_known_from(runtime, tombstone))
        if earlier:
            work = work.joined(earlier)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        work.save(folder, runtime.keys)
        crash_point("erase.sealed")
        tombstone = Tombstone(
            request_id=request.request_id,
            at=self._at.isoformat(),
            suppression_tokens=work.suppression_tokens,
            identifier_tokens=work.tokens,
            value_tokens=work.value_tokens,
            request={
                "kind": request.kind,
                "subject_token": request.subject_token,
                "manner": request.manner,
                "received_at": request.received_at.isoformat(),
                "due_at": request.due_at.isoformat(),
            },
        )
        known = runtime.ledger.requests.entries(kind="tombstone", request_id=request.request_id)
        if not any(set(entry.content["identifier_tokens"]) >= set(work.tokens) for entry in known):
            tombstones.keep(runtime.workspace.tombstones, tombstone)
            crash_point("erase.tombstone_kept")
            with runtime.ledger.begin() as connection:
                tombstones.bury(connection, runtime.ledger, tombstone, self._at)
        return work

    def _steps(self, request: Request, folder: Path) -> list[tuple[str, Callable[[Work], Counts]]]:
        return [
            ("vault", self._vault),
            ("inbox", lambda work: erase_bodies(self._runtime, work)),
            ("landing", lambda work: self._parquet(self._runtime.workspace.landing, work)),
            ("history", lambda work: self._parquet(self._runtime.workspace.history, work)),
            ("destinations", self._destinations),
            ("warehouse", lambda work: erase_warehouse_rows(self._runtime.warehouse, work.tokens)),
            ("copies", lambda work: self._copies(work, folder)),
            ("files", lambda work: self._files(work, folder)),
            ("compaction", lambda work: compact(self._runtime)),
        ]

    def _vault(self, work: Work) -> Counts:
        vault = self._runtime.ledger.vault(self._runtime.keys)
        erased = vault.erase(work.tokens, work.value_tokens)
        return {"data_keys": erased.subjects, "values": erased.items}

    def _parquet(self, folder: Path, work: Work) -> Counts:
        # a row of the history links two identifiers: without one of them it says nothing
        whole = folder == self._runtime.workspace.history
        files, rows = rewrite_parquet(folder, work.tokens, rows_of_others=whole) if folder.exists() else (0, 0)
        return {"files": files, "rows": rows}

    def _destinations(self, work: Work) -> Counts:
        """While no export runs: a contact that is under way would be there again a moment later."""
        runtime = self._runtime
        with ExitStack() as leases:
            for name in runtime.program.destinations:
                leases.enter_context(runtime.ledger.leases.held(f"export:{name}"))
            deleted, self._failed = erase_everywhere(runtime, work)
            crash_point("erase.deleted_at_destinations")
            rows = erase_rows(runtime.ledger, work) if not self._failed else {}
        return {**deleted, **{f"rows of {table}": count for table, count in rows.items()}}

    def _copies(self, work: Work, folder: Path) -> Counts:
        """Copies that were made when the person asked for access: they hold everything."""
        removed = 0
        for request in self._runtime.ledger.requests.all():
            made = self._runtime.workspace.privacy / request.request_id
            if request.kind == "access" and request.subject_token in work.tokens and made.exists():
                shutil.rmtree(made)
                removed += 1
        return {"copies": removed}

    def _files(self, work: Work, folder: Path) -> Counts:
        needles = [*work.plain_needles, *work.token_needles]
        return scrub(self._state, needles, without=self._not_searched(folder, handled=True))

    def _not_searched(self, folder: Path, *, handled: bool) -> list[Path]:
        """What is not ours to change or holds proof; with `handled` also what other steps have cleared."""
        workspace = self._runtime.workspace
        own = [workspace.keys, self._runtime.keys.path, workspace.tombstones, folder / "work.sealed"]
        own += sources_inside(self._runtime)
        if handled:
            own += [workspace.landing, workspace.history, workspace.warehouse, *self._ledger_files()]
        return own

    def _ledger_files(self) -> list[Path]:
        path = self._state / "ledger.sqlite"
        return [path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))]

    def _left(self, work: Work, folder: Path) -> tuple[list[Hit], Counts]:
        """Look for every value in every file, and for every token in every file but the ledger's proof."""
        # reading the ledger's file drops the locks of connections to it in this process: there must be none meanwhile
        self._runtime.ledger.close()
        needles = [*work.plain_needles, *work.token_needles]
        found = scan(self._state, needles, without=self._not_searched(folder, handled=False))
        proof = {path.name for path in self._ledger_files()}
        hits = {hit for hit in found.hits if hit.kind != TOKEN or hit.path not in proof}
        left = sorted({*hits, *left_in_ledger(self._runtime.ledger, work)})
        return left, {"files": found.files, "bytes": found.bytes}

    def _end(self, request: Request, work: Work, folder: Path) -> Erased:
        runtime, requests = self._runtime, self._runtime.ledger.requests
        self._progress("byte scan")
        left, looked_at = self._left(work, folder)
        sources = sources_that_name(runtime, work.plain_needles)
        steps = self._counted(request)
        complete = not left and not self._failed
        document = receipt.signed(
            {
                "document": KIND,
                "request": request.request_id,
                "received_at": request.received_at.isoformat(),
                "erased_at": self._at.isoformat(),
                "complete": complete,
                "identifiers": len(work.tokens),
                "steps": steps,
                "scan": {**looked_at, "values": len(work.values), "left": [asdict(hit) for hit in left]},
                "destinations_not_cleared": self._failed,
                "sources_that_name_the_person": sources,
                "kept": {name: place.why for name, place in LEDGER.items() if place.fate is Fate.KEPT},
                "suppressed": len(work.suppression_tokens) + len(work.tokens),
                "privacy_log": asdict(requests.state()),
                "software": __version__,
            },
            runtime.keys,
        )
        receipt.write(folder / RECEIPT, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        content = {"document": KIND, "complete": complete, "signature": document["signature"]["value"]}
        requests.log("receipt", content, at=self._at, request_id=request.request_id)
        crash_point("erase.receipt")
        if not complete:
            raise _incomplete(request, left, self._failed, folder / RECEIPT)
        outcome = "erased" if any(steps.values()) else "nothing was held; suppressed"
        requests.answer(request.request_id, outcome, self._at)
        Work.forget(folder)
        return Erased(requests.get(request.request_id), folder / RECEIPT, steps, sources)

    def _counted(self, request: Request) -> dict[str, Counts]:
        """What all attempts changed together."""
        total: dict[str, Counter[str]] = {}
        for entry in self._runtime.ledger.requests.entries(kind="step", request_id=request.request_id):
            total.setdefault(entry.content["step"], Counter()).update(entry.content["counts"])
        return {step: dict(sorted(counts.items())) for step, counts in total.items()}


def _known_from(runtime: Runtime, tombstone: Tombstone) -> Work:
    """What a tombstone knows when the vault knows nothing any more: tokens only."""
    external = {
        name: tuple(runtime.ledger.kept.external_ids(runtime.keys, name, tombstone.identifier_tokens))
        for name in runtime.program.destinations
    }
    return Work(tombstone.identifier_tokens, tombstone.value_tokens, (), (), external, tombstone.suppression_tokens)


def _incomplete(request: Request, left: list[Hit], failed: dict[str, str], path: Path) -> PrivacyError:
    found: list[Any] = [f"{name} could not be cleared: {why}" for name, why in failed.items()]
    found += left[:20]
    more = f"\n  and {len(left) - 20} more, see {path}" if len(left) > 20 else ""
    listing = "".join(f"\n  {entry}" for entry in found)
    return PrivacyError(
        f"{request.request_id}: the person is suppressed, but not everything is erased:{listing}{more}",
        hint="remove the cause and run the same command again: it goes on where something is left",
    )
