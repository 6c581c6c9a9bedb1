"""The send ledger: who was released to which mailing of which campaign, and when. Each at most once, for ever.

A slot is reserved in the transaction that cuts a batch, so whatever runs beside it sees it or waits for it. It is
freed when nothing was sent or the platform refused, and kept when the platform confirmed or when nobody knows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, case, delete, exists, or_, select, update

from personalization.ledger.engine import insert_alike, one_of
from personalization.ledger.export_schema import outbox
from personalization.ledger.frequency import RELEASED, Limit, PastMailing, refusal, unreported
from personalization.ledger.schema import now, to_micros
from personalization.ledger.sends_schema import sends

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

CHUNK = 5_000

RELEASES = pa.schema(
    [(name, pa.string()) for name in ("customer_token", "address_token", "campaign", "version", "day", "ended_day")]
)
Reports = Callable[[Sequence[str]], Mapping[str, Sequence[PastMailing]]]
"""Mailings that platforms reported, by customer token."""


class Wanted(NamedTuple):
    """A release that is asked for.

    Attributes
    ----------
    outbox_id : int
        The row that is about to leave.
    version : str
        Of the campaign's content.
    person : tuple of str
        All customer and address tokens of the person, also of records that were merged into it.
    limit : Limit
        What the person's mailings must keep.
    always_count : bool
        Look at what platforms reported even when the ledger has no release of the person: needed where the limit is
        another than the one of the decision.
    waits : str or None
        Why a new release has to wait, whatever the limit says. A contact that is in the audience already is no new one.
    among : (Limit, campaigns) or None
        A limit that the releases to some campaigns must keep among themselves.
    """

    outbox_id: int
    campaign: str
    version: str
    customer_token: str
    address_token: str
    person: tuple[str, ...]
    limit: Limit
    always_count: bool = False
    waits: str | None = None
    among: tuple[Limit, frozenset[str]] | None = None

    @property
    def horizon(self) -> int:
        """Days before and after the release within which others matter."""
        return max(self.limit.horizon, self.among[0].horizon if self.among else 0)


@dataclass(slots=True, eq=False)  # told apart by identity: there is one object a slot
class _Slot:
    id: int | None
    campaign: str
    version: str
    address_token: str
    destination: str
    day: date
    ended: bool


class Sends:
    """The send ledger. See `Ledger.sends`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def reserve(
        self,
        connection: Connection,
        wanted: Sequence[Wanted],
        *,
        destination: str,
        day: date,
        as_of: str,
        reports: Reports,
        write: bool = True,
    ) -> dict[int, str]:
        """Reserve a slot for each release that is allowed, inside the transaction of the cut.

        A contact that is in the audience of the same mailing already keeps its slot: to change its fields is no new
        mailing.

        Parameters
        ----------
        connection : Connection
            An open `Ledger.begin` transaction; a `Ledger.read` one when nothing is to be written.
        day : date
            The business day of the release.
        as_of : str
            The day of the decision, YYYY-MM-DD.
        write : bool
            False only asks what would be refused.

        Returns
        -------
        dict
            By outbox id why a release is refused: `already_mailed`, `fatigue_gap`, `fatigue_cap`, `own_frequency` or
            `win_back_cap`; or why it has to wait: `quiet_hours`.
        """
        if not wanted:
            return {}
        known = self._slots(connection, wanted, day)
        reported = reports(_whose_reports(wanted, known))
        repeated = _repeated(wanted)
        refused: dict[int, str] = {}
        rows: defaultdict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
        moved: list[tuple[int, int]] = []
        unmailed = cache(lambda limit: refusal(day, (), limit))  # of nearly everybody, and there are few limits
        nobody: set[_Slot] = set()
        for each in wanted:
            slots = {slot for token in each.person if token in known for slot in known[token]} if known else nobody
            own = [slot for slot in slots if (slot.campaign, slot.version) == (each.campaign, each.version)]
            if own:
                here = [
                    slot for slot in own if (slot.destination, slot.address_token) == (destination, each.address_token)
                ]
                if not here or here[0].ended:
                    refused[each.outbox_id] = RELEASED
                elif here[0].id is not None:
                    moved.append((here[0].id, each.outbox_id))
                continue
            past = [mailing for token in each.person for mailing in reported.get(token, ())] if reported else []
            if slots or past:
                open_ones = unreported((PastMailing(slot.day, slot.campaign) for slot in slots), past)
                reason = refusal(day, [mailing.day for mailing in (*past, *open_ones)], each.limit)
            else:
                reason = unmailed(each.limit)
            if reason is None and each.among:
                limit, campaigns = each.among
                reason = refusal(day, [slot.day for slot in slots if slot.campaign in campaigns], limit)
            reason = reason or each.waits  # the last to be asked: what is refused anyway need not wait
            if reason:
                refused[each.outbox_id] = reason
                continue
            again = [token for token in each.person if token in repeated] if repeated else ()
            if again:  # the person is asked for once more
                slot = _Slot(None, each.campaign, each.version, each.address_token, destination, day, ended=False)
                for token in again:
                    known[token].append(slot)
            rows[each.campaign, each.version].append((each.customer_token, each.address_token, each.outbox_id))
        if write:
            common = {"destination": destination, "day": day.isoformat(), "as_of": as_of, "state": "reserved"}
            for (campaign, version), slots_of in rows.items():
                same = {"campaign": campaign, "version": version, **common, "reserved_at": to_micros(now())}
                insert_alike(connection, sends, same, ("customer_token", "address_token", "outbox_id"), slots_of)
            _hand_over(connection, moved)
        return refused

    def releases(
        self, before: date, *, since: date, campaigns: Iterable[str] = (), tokens: Sequence[str] | None = None
    ) -> pa.Table:
        """Releases of days in [since, before), and all earlier ones of some campaigns.

        `tokens`: only those to people with one of these identifiers.

        Returns
        -------
        pyarrow.Table
            Of the schema RELEASES: one row a slot; `ended_day` is null while the contact is in the audience, and
            when it left it on `before` or later.
        """
        columns = sends.c
        query = (
            select(*(columns[name] for name in RELEASES.names))
            .where(
                columns.day < before.isoformat(),
                or_(columns.day >= since.isoformat(), columns.campaign.in_(sorted(set(campaigns)))),
            )
            .order_by(columns.id)
        )
        with self._ledger.read() as connection:
            if tokens is not None:
                places = (
                    one_of(connection, column, tokens) for column in (columns.customer_token, columns.address_token)
                )
                query = query.where(or_(*places))
            found = connection.execute(query).fetchall()
        if not found:
            return RELEASES.empty_table()
        *same, ended = (list(values) for values in zip(*found, strict=True))
        ended = [day if day is not None and day < before.isoformat() else None for day in ended]
        return pa.table([pa.array(values, pa.string()) for values in (*same, ended)], schema=RELEASES)

    def _slots(self, connection: Connection, wanted: Sequence[Wanted], day: date) -> defaultdict[str, list[_Slot]]:
        """By token the slots that matter: of the campaigns at hand, and of days near enough to count."""
        found: defaultdict[str, list[_Slot]] = defaultdict(list)
        once: dict[int, _Slot] = {}
        columns = sends.c
        if not connection.execute(select(exists(select(columns.id)))).scalar():
            return found
        horizon = timedelta(days=max(each.horizon for each in wanted))
        near = columns.day.between((day - horizon).isoformat(), (day + horizon).isoformat())
        matters = or_(near, columns.campaign.in_(sorted({each.campaign for each in wanted})))
        names = ("id", "campaign", "version", "address_token", "destination", "day", "ended_day", "customer_token")
        query = select(*(columns[name] for name in names)).where(matters)
        tokens = sorted({token for each in wanted for token in each.person})
        for start in range(0, len(tokens), CHUNK):
            chunk = tokens[start : start + CHUNK]
            for column in (columns.customer_token, columns.address_token):
                for row in connection.execute(query.where(one_of(connection, column, chunk))).all():
                    if row.id in once:
                        continue
                    once[row.id] = slot = _Slot(
                        row.id,
                        row.campaign,
                        row.version,
                        row.address_token,
                        row.destination,
                        date.fromisoformat(row.day),
                        row.ended_day is not None,
                    )
                    for token in {row.customer_token, row.address_token}:
                        found[token].append(slot)
        return found


def _repeated(wanted: Sequence[Wanted]) -> set[str]:
    """Tokens of people for whom more than one release is asked."""
    tokens = [token for each in wanted for token in each.person]
    if len(set(tokens)) == len(tokens):
        return set()
    return {token for token, times in Counter(tokens).items() if times > 1}


def _whose_reports(wanted: Sequence[Wanted], known: Mapping[str, Sequence[_Slot]]) -> list[str]:
    """Tokens of the people of whom reported mailings must be counted: where the decision did not do it already."""
    return sorted(
        {
            token
            for each in wanted
            if each.always_count or (known and any(token in known for token in each.person))
            for token in each.person
        }
    )


def _hand_over(connection: Connection, moved: Sequence[tuple[int, int]]) -> None:
    """A slot that nothing has left for belongs to the row that is about to leave now."""
    if not moved:
        return
    holders = dict(moved)
    for chunk in _chunks(sorted(holders)):
        reserved = select(sends.c.id, sends.c.outbox_id).where(
            one_of(connection, sends.c.id, chunk), sends.c.state == "reserved"
        )
        for row in connection.execute(reserved).all():
            holder = holders[row.id]
            if row.outbox_id != holder:
                connection.execute(update(sends).where(sends.c.id == row.id).values(outbox_id=holder))


def free(connection: Connection, outbox_ids: Sequence[int]) -> int:
    """Nothing of these rows has arrived anywhere: give back the slots they reserved. Returns how many."""
    freed = 0
    for chunk in _chunks(outbox_ids):
        freed += connection.execute(
            delete(sends).where(one_of(connection, sends.c.outbox_id, chunk), sends.c.state == "reserved")
        ).rowcount
    return freed


def keep(connection: Connection, outbox_ids: Sequence[int]) -> None:
    """These rows arrived, or may have: their slots are taken for good."""
    for chunk in _chunks(outbox_ids):
        connection.execute(
            update(sends)
            .where(one_of(connection, sends.c.outbox_id, chunk), sends.c.state == "reserved")
            .values(state="kept")
        )


def elsewhere(connection: Connection, outbox_ids: Sequence[int]) -> dict[str, str | None]:
    """Contacts of acked rows that hold a slot of another audience than the row's, and the row's campaign: see `end`."""
    rows = outbox.c
    written = rows.operation.in_(("add", "change"))
    query = (
        select(rows.address_token, case((written, rows.campaign)).label("campaign"))
        .join_from(outbox, sends, sends.c.address_token == rows.address_token)
        .where(
            one_of(connection, rows.id, outbox_ids),
            sends.c.destination == rows.destination,
            sends.c.ended_day.is_(None),
            sends.c.state == "kept",
            or_(~written, rows.campaign.is_(None), rows.campaign != sends.c.campaign),
        )
        .distinct()
    )
    return {row.address_token: row.campaign for row in connection.execute(query)}


def end(connection: Connection, destination: str, left: Mapping[str, str | None], day: str) -> None:
    """Contacts are in no audience, or only in that of one campaign, any more.

    Parameters
    ----------
    left : mapping
        By address token the campaign whose audience the contact is in now, or None.
    day : str
        Business day, YYYY-MM-DD.
    """
    columns = sends.c
    by_campaign: defaultdict[str | None, list[str]] = defaultdict(list)
    for address, campaign in left.items():
        by_campaign[campaign].append(address)
    for campaign, addresses in by_campaign.items():
        statement = update(sends).where(
            columns.destination == destination,
            columns.ended_day.is_(None),
            columns.state == "kept",
            one_of(connection, columns.address_token, addresses),
        )
        if campaign is not None:
            statement = statement.where(columns.campaign != campaign)
        connection.execute(statement.values(ended_day=day))


def _chunks(values: Sequence[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(values), CHUNK):
        yield list(values[start : start + CHUNK])
