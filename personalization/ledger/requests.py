"""Privacy requests: who asked for what when, by when it must be answered, and what the answer was.

A request is never changed: its status is the last entry about it in the log. The record is kept for good, which is
longer than the 24 months of CCPA section 7101, and holds tokens only.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select

from personalization.errors import DataError, LedgerError, did_you_mean
from personalization.ledger.consent_chain import ChainState
from personalization.ledger.engine import location
from personalization.ledger.privacy_log import Entry, append, entries, log_state, request_content, verify_log
from personalization.ledger.requests_schema import KINDS, privacy_requests
from personalization.ledger.schema import now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

RECEIVED, APPROVED, STARTED, ANSWERED, DENIED = "received", "approved", "started", "answered", "denied"
CLOSED = (ANSWERED, DENIED)
STATUSES = (RECEIVED, APPROVED, STARTED, *CLOSED)


@dataclass(frozen=True)
class Request:
    """A request and where it stands.

    Attributes
    ----------
    kind : str
        `access`, `erasure` or `opt_out_sale`.
    subject_token : str
        An identifier token of the person.
    manner : str
        How it was received, e.g. `preference page`.
    due_at : datetime
        By when it must be answered, extensions included.
    status : str
        received, approved, started, answered or denied.
    outcome : str, optional
        The nature of the answer, e.g. `erased`.
    basis : str, optional
        Why it was denied.
    """

    request_id: str
    kind: str
    subject_token: str
    manner: str
    received_at: datetime
    due_at: datetime
    status: str = RECEIVED
    answered_at: datetime | None = None
    outcome: str | None = None
    basis: str | None = None
    extended_because: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status not in CLOSED

    def is_overdue(self, at: datetime) -> bool:
        """Whether it was, or is at that moment, answered too late."""
        return (self.answered_at or at) > self.due_at


class Requests:
    """The privacy requests of a ledger. See `Ledger.requests`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def open(
        self, kind: str, subject_token: str, manner: str, at: datetime, *, connection: Connection | None = None
    ) -> str:
        """Note a request. Asking again for the same while it is open changes nothing and gives the same id.

        Parameters
        ----------
        kind : str
            `access`, `erasure` or `opt_out_sale` (of the sale or sharing of personal data).
        subject_token : str
            Any identifier token of the person.
        manner : str
            How it was received.
        at : datetime
            When, with a time zone; the deadline counts from then.
        connection : Connection, optional
            An open `Ledger.begin` transaction; default: one of its own.

        Returns
        -------
        str
            The request's id.
        """
        if kind not in KINDS:
            raise DataError(f"there is no privacy request of the kind '{kind}'", hint=did_you_mean(kind, KINDS))
        if at.tzinfo is None:
            raise DataError(f"the privacy request was received at {at.isoformat()} without a time zone")
        at = at.astimezone(UTC)
        with self._writer(connection) as writer:
            for known in self._fold(writer, subject_token=subject_token):
                if known.kind == kind and known.is_open:
                    return known.request_id
            row: dict[str, Any] = {
                "request_id": f"{kind.replace('_', '-')}-{at:%Y%m%d}-{secrets.token_hex(4)}",
                "kind": kind,
                "subject_token": subject_token,
                "manner": manner,
                "received_at": at,
                "due_at": due(kind, at),
            }
            writer.execute(insert(privacy_requests).values(**row, recorded_at=now()))
            append(writer, "request", request_content(row), at=at, request_id=row["request_id"])
        return str(row["request_id"])

    def get(self, request_id: str) -> Request:
        """One request. Raises `LedgerError` when there is none of that id."""
        with self._ledger.read() as connection:
            found = self._fold(connection, request_id=request_id)
            if not found:
                known: list[str] = list(connection.execute(select(privacy_requests.c.request_id)).scalars())
                raise LedgerError(f"there is no privacy request '{request_id}'", hint=did_you_mean(request_id, known))
        return found[0]

    def all(self, *, up_to_seq: int | None = None, connection: Connection | None = None) -> list[Request]:
        """Every request as of the log's entry `up_to_seq` (default: now), those that came first at the top."""
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            return self._fold(reader, up_to_seq=up_to_seq)

    def find_open(self, kind: str, subjects: Sequence[str]) -> str | None:
        """The open request of a kind that came first under any of some identifiers; None when there is none."""
        wanted = set(subjects)
        return next(
            (
                request.request_id
                for request in self.all()
                if request.is_open and request.kind == kind and request.subject_token in wanted
            ),
            None,
        )

    def approve(self, request_id: str, who: str, at: datetime) -> None:
        """Somebody looked at the request and lets it be worked off."""
        self._change(request_id, at, {"status": APPROVED, "actor": who})

    def start(self, request_id: str, at: datetime) -> None:
        """Work on it begins; saying so again changes nothing."""
        if self.get(request_id).status != STARTED:
            self._change(request_id, at, {"status": STARTED})

    def answer(self, request_id: str, outcome: str, at: datetime, **details: Any) -> None:
        """The request is answered; `outcome` says how."""
        self._change(request_id, at, {"status": ANSWERED, "outcome": outcome, **details})

    def deny(self, request_id: str, basis: str, at: datetime) -> None:
        """The request is refused; `basis` says on what ground, and is kept as the law demands."""
        if not basis.strip():
            raise DataError("a refusal needs its reason", hint="say on what ground of the law it is refused")
        self._change(request_id, at, {"status": DENIED, "basis": basis})

    def extend(self, request_id: str, until: datetime, reason: str, at: datetime) -> None:
        """Put the deadline off, by at most two months (GDPR 12.3); the person has to be told why."""
        request = self.get(request_id)
        latest = add_months(request.received_at, 3)
        if not request.due_at < until <= latest:
            raise DataError(
                f"the deadline of {request_id} can be put off to a day after {request.due_at:%Y-%m-%d} and up to "
                f"{latest:%Y-%m-%d}, not to {until:%Y-%m-%d}"
            )
        self._change(request_id, at, {"due_at": until.isoformat(), "because": reason})

    def log(
        self,
        kind: str,
        content: Mapping[str, Any],
        *,
        at: datetime,
        request_id: str | None = None,
        connection: Connection | None = None,
    ) -> int:
        """Add an entry to the privacy log: a step, tombstone, receipt, audit or rotation. Returns its number."""
        with self._writer(connection) as writer:
            return append(writer, kind, content, at=at, request_id=request_id)

    def entries(
        self, *, kind: str | None = None, request_id: str | None = None, up_to_seq: int | None = None
    ) -> list[Entry]:
        """Entries of the privacy log in their order."""
        with self._ledger.read() as connection:
            return entries(connection, kind=kind, request_id=request_id, up_to_seq=up_to_seq)

    def state(self) -> ChainState:
        """How long the privacy log is, and the hash of its last entry."""
        with self._ledger.read() as connection:
            return log_state(connection)

    def verify(self) -> ChainState:
        """Recompute the log's chain. Raises `LedgerError` naming the first entry that is wrong, missing or moved."""
        with self._ledger.read() as connection:
            return verify_log(connection, location(self._ledger.engine))

    def _writer(self, connection: Connection | None) -> Any:
        return nullcontext(connection) if connection is not None else self._ledger.begin()

    def _change(self, request_id: str, at: datetime, content: Mapping[str, Any]) -> None:
        with self._ledger.begin() as connection:
            found = self._fold(connection, request_id=request_id)
            if not found:
                raise LedgerError(f"there is no privacy request '{request_id}'")
            if not found[0].is_open:
                raise LedgerError(f"the privacy request {request_id} is closed already: {found[0].status}")
            append(connection, "status", content, at=at, request_id=request_id)

    def _fold(
        self,
        connection: Connection,
        *,
        request_id: str | None = None,
        subject_token: str | None = None,
        up_to_seq: int | None = None,
    ) -> list[Request]:
        columns = privacy_requests.c
        query = select(privacy_requests).order_by(columns.received_at, columns.request_id)
        if request_id is not None:
            query = query.where(columns.request_id == request_id)
        if subject_token is not None:
            query = query.where(columns.subject_token == subject_token)
        rows = connection.execute(query).all()
        if not rows:
            return []
        about: dict[str, list[Entry]] = defaultdict(list)
        only = rows[0].request_id if len(rows) == 1 else None
        for entry in entries(connection, request_id=only, up_to_seq=up_to_seq):
            if entry.kind in ("request", "status") and entry.request_id:
                about[entry.request_id].append(entry)
        return [
            _as_of(
                Request(row.request_id, row.kind, row.subject_token, row.manner, row.received_at, row.due_at),
                about[row.request_id],
            )
            for row in rows
            if about[row.request_id]
        ]


def due(kind: str, received: datetime) -> datetime:
    """By when the law wants an answer: one month (GDPR 12.3), 15 business days for an opt-out of sale (CCPA 7026)."""
    if kind != "opt_out_sale":
        return add_months(received, 1)
    day, left = received, 15
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < 5
    return day


def add_months(moment: datetime, months: int) -> datetime:
    """The same day some months later, or the last of that month when it has no such day."""
    first = (moment.month - 1 + months) % 12 + 1
    year = moment.year + (moment.month - 1 + months) // 12
    for day in range(moment.day, 27, -1):
        try:
            return moment.replace(year=year, month=first, day=day)
        except ValueError:
            continue
    return moment.replace(year=year, month=first)


def _as_of(request: Request, log: list[Entry]) -> Request:
    for entry in log:
        content = entry.content
        if entry.kind != "status":
            continue
        if "due_at" in content:
            due_at = datetime.fromisoformat(content["due_at"])
            request = replace(request, due_at=due_at, extended_because=content["because"])
        else:
            closed = content["status"] in CLOSED
            request = replace(
                request,
                status=content["status"],
                answered_at=entry.at if closed else None,
                outcome=content.get("outcome"),
                basis=content.get("basis"),
            )
    return request
