"""What the cut asks the send ledger for: a slot for each contact that a destination is about to mail.

The decision has looked at frequency already, with what was known at the start of its day. The cut looks again, at this
moment, because another campaign, destination or run may have been quicker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
from sqlalchemy import Connection

from personalization.as_of import AsOf
from personalization.ledger import Ledger
from personalization.ledger.frequency import CHOICE, QUIET, Limit, PastMailing
from personalization.ledger.outbox import OutboxRow
from personalization.ledger.sends import Wanted
from personalization.program import Program
from personalization.program.mailing import mails
from personalization.program.models import Fatigue
from personalization.stages.decisions.fatigue import EVENTS_SCHEMA, named_events
from personalization.stages.export.frequency_limits import (
    Decided,
    Quiet,
    WinBack,
    limits,
    quiet_of,
    read_decided,
    win_back_of,
)
from personalization.warehouse import Session


class People(Protocol):
    """Knows which identifiers belong to one person."""

    def person(self, customer: str, address: str) -> tuple[str, ...]: ...


Choices = Callable[[Sequence[str], Connection], Mapping[str, tuple[int, int]]]
"""Own choices of people by any of their tokens: at most so many mails in so many days."""


def release_day(as_of: AsOf, moment: datetime, horizon: int) -> date:
    """The business day on which people are mailed by an export for `as_of` that runs at `moment`.

    That is the day of the moment, in the program's time zone. An export for a day longer ago than the longest rule
    looks replays the past (a demo, a test): it is taken as if it ran on its own day.
    """
    today = moment.astimezone(ZoneInfo(as_of.timezone)).date()
    return today if 0 <= (today - as_of.day).days <= max(horizon, 1) else as_of.day


@dataclass
class Frequency:
    """Reserves slots for one destination and day.

    Attributes
    ----------
    versions : mapping
        The campaigns that the destination mails, and the version of each. Others are only copied to it.
    decided : mapping
        What was decided with by customer token; who is absent gets the strictest limit of all.
    choices : callable, optional
        What people chose themselves; it only ever tightens the limit.
    win_back : WinBack, optional
        Caps win-back mails to people whom the sunset leaves alone.
    quiet : Quiet, optional
        When releases wait.
    """

    ledger: Ledger
    destination: str
    as_of: AsOf
    versions: Mapping[str, str]
    fatigue: Fatigue
    decided: Mapping[str, Decided]
    reported: pa.Table
    now: Callable[[], datetime]
    choices: Choices | None = None
    win_back: WinBack | None = None
    quiet: Quiet | None = None
    _limits: dict[str | None, Limit] = field(init=False)

    def __post_init__(self) -> None:
        self._limits = limits(self.fatigue)
        every = tuple(window for cap in self.fatigue.caps for window in cap.windows)
        self._strictest = Limit(self.fatigue.min_gap_days, every)
        self._engine = duckdb.connect()
        self._engine.register("source", self.reported)
        self._engine.execute("create table reported as from source")
        self._engine.unregister("source")

    @property
    def day(self) -> date:
        return self._day_of(self.now())

    def _day_of(self, moment: datetime) -> date:
        return release_day(self.as_of, moment, self._strictest.horizon)

    def _replays(self, moment: datetime) -> bool:
        """Whether an export at `moment` plays a day of the past, whose hours are gone: none of them is quiet."""
        return self._day_of(moment) != moment.astimezone(ZoneInfo(self.as_of.timezone)).date()

    def reserve(self, connection: Connection, rows: Sequence[OutboxRow], cut: People) -> dict[int, str]:
        """Reserve slots for the rows that put somebody into the audience of a mailing. See `Sends.reserve`."""
        asked = [
            (row.id, row.campaign or "", row.customer_token, row.address_token)
            for row in rows
            if row.operation in ("add", "change") and row.campaign in self.versions
        ]
        return self._ask(connection, asked, cut, write=True)

    def foresee(self, contacts: Sequence[Mapping[str, Any]], cut: People) -> dict[str, str]:
        """By address token why contacts of a plan would be refused if they were sent now."""
        asked = [
            (number, contact["campaign"], contact["customer_token"], contact["address_token"])
            for number, contact in enumerate(contacts)
            if contact["campaign"] in self.versions
        ]
        with self.ledger.read() as snapshot:
            refused = self._ask(snapshot, asked, cut, write=False)
        return {contacts[number]["address_token"]: reason for number, reason in refused.items()}

    def _ask(
        self, connection: Connection, asked: Sequence[tuple[int, str, str, str]], cut: People, *, write: bool
    ) -> dict[int, str]:
        moment = self.now()
        day = self._day_of(moment)
        people = {number: cut.person(customer, address) for number, _, customer, address in asked}
        chosen = (
            self.choices([token for person in people.values() for token in person], connection) if self.choices else {}
        )
        later = day > self.as_of.day
        quiet = self.quiet is not None and not self._replays(moment)
        wanted = []
        for number, campaign, customer, address in asked:
            own = [chosen[token] for token in people[number] if token in chosen] if chosen else ()
            known = self.decided.get(customer)
            limit = self._strictest if known is None else self._limits.get(known.tier, self._strictest)
            for choice in own:
                limit = limit.with_cap(CHOICE, choice)
            wanted.append(
                Wanted(
                    number,
                    campaign,
                    self.versions[campaign],
                    customer,
                    address,
                    people[number],
                    limit,
                    bool(own) or later,
                    self._waits(campaign, known, moment) if quiet else None,
                    self._among(campaign, known) if self.win_back else None,
                )
            )
        return self.ledger.sends.reserve(
            connection,
            wanted,
            destination=self.destination,
            day=day,
            as_of=self.as_of.key,
            reports=lambda tokens: self._reports(tokens, day),
            write=write,
        )

    def _waits(self, campaign: str, known: Decided | None, moment: datetime) -> str | None:
        held = self.quiet is not None and self.quiet.holds(campaign, known.zone if known else None, moment)
        return QUIET if held else None

    def _among(self, campaign: str, known: Decided | None) -> tuple[Limit, frozenset[str]] | None:
        if self.win_back is None or campaign not in self.win_back.campaigns or not (known and known.asleep):
            return None
        return self.win_back.limit, self.win_back.campaigns

    def _reports(self, tokens: Sequence[str], day: date) -> Mapping[str, Sequence[PastMailing]]:
        """What platforms reported of some people: up to the release's day, or to the day of a decision of the past."""
        if not tokens or not self.reported.num_rows:
            return {}
        live = day > self.as_of.day
        found: defaultdict[str, list[PastMailing]] = defaultdict(list)
        self._engine.register("asked", pa.table({"customer_token": pa.array(tokens, pa.string())}))
        rows: list[tuple[Any, ...]] = self._engine.execute(
            "select customer_token, event_day, campaign from reported semi join asked using (customer_token)"
            " where event_day < ? or (? and event_day <= ?)",
            [self.as_of.day, live, day],
        ).fetchall()
        self._engine.unregister("asked")
        for token, event_day, campaign in rows:
            found[token].append(PastMailing(event_day, campaign))
        return found


def frequency_for(
    session: Session,
    ledger: Ledger,
    program: Program,
    destination: str,
    as_of: AsOf,
    now: Callable[[], datetime],
) -> Frequency | None:
    """The `Frequency` of a destination, from the warehouse; None when it mails no campaign."""
    versions = mails(program, destination)
    if not versions:
        return None
    return frequency_of(session, ledger, program, destination, as_of, now, versions)


def frequency_of(
    session: Session,
    ledger: Ledger,
    program: Program,
    destination: str,
    as_of: AsOf,
    now: Callable[[], datetime],
    versions: Mapping[str, str],
) -> Frequency:
    """`frequency_for` for given campaigns and versions."""
    fatigue = program.settings.fatigue
    longest = [choice.days or 0 for choice in program.frequency.values()]
    horizon = max([*longest, *(limit.horizon for limit in limits(fatigue).values())])
    reported = EVENTS_SCHEMA.empty_table()
    if session.has_table("marts.email_events"):
        reported = named_events(session, program, since=as_of.shift(-horizon).day)
    return Frequency(
        ledger,
        destination,
        as_of,
        versions,
        fatigue,
        read_decided(session, as_of),
        reported,
        now,
        _choices(ledger, program),
        win_back_of(program),
        quiet_of(program),
    )


def _choices(ledger: Ledger, program: Program) -> Choices | None:
    """What people chose on the preference page; None when the program offers no choice that limits anything."""
    caps = {
        name: (choice.sends, choice.days)
        for name, choice in program.frequency.items()
        if choice.sends is not None and choice.days is not None
    }
    if not caps:
        return None

    def chosen(tokens: Sequence[str], connection: Connection) -> Mapping[str, tuple[int, int]]:
        names = ledger.preferences.frequency(tokens, connection=connection)
        return {token: caps[name] for token, name in names.items() if name in caps}

    return chosen
