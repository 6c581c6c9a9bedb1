"""Answers requests: a copy of everything for who asked for access, erasure for who asked for that."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from personalization.errors import DataError
from personalization.ledger.requests import APPROVED, STARTED, Request
from personalization.privacy import receipt
from personalization.privacy.access import gather
from personalization.privacy.erase import erase
from personalization.privacy.pages import access_page
from personalization.privacy.person import find_person

if TYPE_CHECKING:
    from personalization.runtime import Runtime

DATA, PAGE = "data.json", "index.html"


@dataclass(frozen=True)
class Copy:
    """A copy that was made: its folder holds data.json and index.html, readable by their owner only.

    `not_read` names destinations that could not be asked, and why: then the request stays open.
    """

    request: Request
    folder: Path
    rows: int
    not_read: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Worked:
    """What became of an open request: `outcome`, or why it was left (`waits`)."""

    request: Request
    outcome: str | None = None
    waits: str | None = None


def make_copy(
    runtime: Runtime, asked: str, *, at: datetime, manner: str = "command line", request_id: str | None = None
) -> Copy:
    """Make the copy that a person may ask for, in var/privacy/<request>, and note it as the answer.

    Parameters
    ----------
    asked : str
        E-mail address, telephone number, customer id, or identifier token.
    request_id : str, optional
        The request it answers; default: the open one of the person, or a new one.

    Raises
    ------
    DataError
        What was given can't be an identifier, or the request is not one for access.
    """
    requests = runtime.ledger.requests
    person = find_person(runtime, asked)
    known = request_id or requests.find_open("access", person.tokens)
    request = requests.get(known or requests.open("access", person.tokens[0], manner, at))
    if request.kind != "access":
        raise DataError(f"{request.request_id} asks for {request.kind}, not for a copy")
    document = gather(runtime, person, request, at)
    folder = runtime.workspace.privacy / request.request_id
    receipt.write(folder / DATA, json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n")
    receipt.write(folder / PAGE, access_page(document))
    tables = {name: found for part in ("ledger", "files", "warehouse") for name, found in document[part].items()}
    rows = sum(len(found) for name, found in tables.items() if name != "privacy_requests")
    rows += len(document["vault"]) + len(document["consent"]) + len(document["messages"])
    rows += sum(len(records) for records in document["held_by_platforms"].values())
    if request.is_open and not document["not_read"]:
        outcome = "copy made" if rows else "nothing was held"
        requests.answer(request.request_id, outcome, at, rows=rows)
    return Copy(requests.get(request.request_id), folder, rows, document["not_read"])


def ready(runtime: Runtime) -> list[Request]:
    """Open requests that can be answered without a person: see `work_off`."""
    automatic = runtime.program.settings.privacy.erasure == "automatic"
    return [
        request
        for request in runtime.ledger.requests.all()
        if request.is_open
        and (
            request.kind == "access"
            or (request.kind == "erasure" and (automatic or request.status in (APPROVED, STARTED)))
        )
    ]


def work_off(runtime: Runtime, at: datetime) -> list[Worked]:
    """Answer what can be answered: access at once, erasure at once or after approval, as program.yaml says.

    Returns
    -------
    list of Worked
        One for each request that was open.
    """
    able = {request.request_id for request in ready(runtime)}
    done = []
    for request in runtime.ledger.requests.all():
        if not request.is_open:
            continue
        if request.kind == "access":
            copy = make_copy(runtime, request.subject_token, at=at, request_id=request.request_id)
            if copy.not_read:
                done.append(Worked(copy.request, waits=f"could not be read: {', '.join(copy.not_read)}"))
            else:
                done.append(Worked(copy.request, outcome=f"copy in {copy.folder}"))
        elif request.kind == "opt_out_sale":
            done.append(Worked(request, waits="answer it where the data were sold or shared"))
        elif request.request_id in able:
            erased = erase(runtime, request.subject_token, at=at, request_id=request.request_id)
            done.append(Worked(erased.request, outcome=f"erased, receipt {erased.receipt}"))
        else:
            done.append(Worked(request, waits="waits for approval: personalization privacy approve"))
    return done


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
