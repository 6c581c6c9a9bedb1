"""Many days in a row: each is decided by the real code, mails are released through the real send ledger, people answer.

Everything happens in a copy. What is not simulated: features and scores stay those of the first day, but for those of
mails, answers and purchases; purchases repeat those of as many days before. Every campaign that runs on the first day
runs on, with new content (a new version) every few days, since nobody is mailed one version twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from personalization.as_of import AsOf
from personalization.ledger import ConsentEvent
from personalization.ledger import sends as send_ledger
from personalization.ledger.frequency import HOLDS
from personalization.ledger.outbox import OutboxRow
from personalization.program import Program
from personalization.stages.decisions.campaigns import runs_on
from personalization.stages.decisions.decide import DECISIONS, decide_day
from personalization.stages.decisions.fatigue import TIERS
from personalization.stages.decisions.governed import GOVERNOR
from personalization.stages.export.frequency import Frequency, frequency_of
from personalization.warehouse import Session
from personalization.what_if.days_data import add_answers, begin, next_day, past, tier_sizes
from personalization.what_if.days_record import Act, DayTotals, Mail, Record
from personalization.what_if.response import ResponseModel

if TYPE_CHECKING:
    from personalization.ledger import Ledger

DESTINATION = "simulation"
_ACTS = ("opened", "clicked", "converted")


@dataclass(frozen=True)
class Plan:
    """How to simulate.

    Attributes
    ----------
    days : int
    hours : tuple of int
        Hours of the program's day at which an export runs; what one holds, the next one may release.
    new_content_days : int
        Days after which every campaign has a new version.
    model : ResponseModel
    """

    days: int = 90
    hours: tuple[int, ...] = (4, 10)
    new_content_days: int = 7
    model: ResponseModel = field(default_factory=ResponseModel)


def simulate_days(
    session: Session,
    ledger: Ledger,
    program: Program,
    start: AsOf,
    plan: Plan,
    *,
    on_day: Callable[[int, int], None] | None = None,
) -> Record:
    """Simulate days from `start` on. Session and ledger are written to: give it copies.

    The profile of `start` must be there. `on_day` is called with the number of each finished day, and of all.
    """
    record = Record(start.day, program)
    record.people = begin(session, start, plan.days)
    record.mails, record.acts, record.choices = past(session, ledger, program, start)
    simulation = _Simulation(session, ledger, program, start, plan, record)
    for number in range(plan.days):
        simulation.day(number)
        if on_day:
            on_day(number + 1, plan.days)
    return record


class _Simulation:
    def __init__(
        self, session: Session, ledger: Ledger, program: Program, start: AsOf, plan: Plan, record: Record
    ) -> None:
        self.session, self.ledger, self.program = session, ledger, program
        self.start, self.plan, self.record = start, plan, record
        self.running = [name for name, campaign in program.campaigns.items() if runs_on(campaign, start)]
        self.audience: dict[str, str] = {}
        self.moment = start.instant
        self.rows = 0

    def day(self, number: int) -> None:
        as_of, program = self.start.shift(number), self._program(number)
        next_day(self.session, program, as_of)
        if number % 7 == 0:
            sizes = tier_sizes(self.session, program, as_of)
            self.record.tier_sizes |= {(number // 7 + 1, tier): size for tier, size in sizes.items()}
        decided = decide_day(self.session, self.ledger, program, as_of)
        wanted = self._wanted(as_of)
        self._leave(wanted, as_of)
        released: list[Mail] = []
        held = refused = 0
        versions = {name: str(campaign.version) for name, campaign in program.campaigns.items()}
        frequency = frequency_of(self.session, self.ledger, program, DESTINATION, as_of, lambda: self.moment, versions)
        for hour in self.plan.hours:
            self.moment = datetime.combine(as_of.day, time(hour), ZoneInfo(as_of.timezone))
            mails, held, refused = self._export(frequency, as_of, wanted)
            released += mails
        answers = self._answer(program, released, as_of, number)
        self.record.mails += released
        self.record.days.append(
            DayTotals(
                as_of.day,
                _reasons(decided.summary),
                len(released),
                held,
                refused,
                dict(sorted(Counter(kind for _, kind in answers).items())),
                self._kept_share(as_of),
            )
        )

    def _program(self, number: int) -> Program:
        """The program of a day: what runs on the first day runs on, with a new version every few days."""
        more = number // self.plan.new_content_days
        campaigns = {
            name: campaign.model_copy(update={"version": campaign.version + more, "starts": None, "ends": None})
            for name, campaign in self.program.campaigns.items()
            if name in self.running
        }
        return replace(self.program, campaigns=campaigns)

    def _wanted(self, as_of: AsOf) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.session.arrow(
            f"""
            select d.customer_token, d.email_token, d.campaign, t.tier, t.zone
            from {DECISIONS} d join {TIERS} t using (as_of, customer_token)
            where d.as_of = ? and d.outcome = 'send' order by all
            """,  # noqa: S608
            [as_of.day],
        ).to_pylist()
        return found

    def _leave(self, wanted: Sequence[Mapping[str, Any]], as_of: AsOf) -> None:
        """Whoever is in no audience any more gives the place back, as a platform acknowledges it."""
        now_in = {row["email_token"]: row["campaign"] for row in wanted}
        left: dict[str, str | None] = {
            address: now_in.get(address)
            for address, campaign in self.audience.items()
            if now_in.get(address) != campaign
        }
        if left:
            with self.ledger.begin() as connection:
                send_ledger.end(connection, DESTINATION, left, as_of.key)
        for address in left:
            del self.audience[address]

    def _export(
        self, frequency: Frequency, as_of: AsOf, wanted: Sequence[dict[str, Any]]
    ) -> tuple[list[Mail], int, int]:
        """Release who may be released at this moment: mails, how many are held, how many are refused."""
        waiting = [row for row in wanted if self.audience.get(row["email_token"]) != row["campaign"]]
        rows = {self.rows + index: row for index, row in enumerate(waiting, 1)}
        self.rows += len(waiting)
        asked = [_row(number, row) for number, row in rows.items()]
        with self.ledger.begin() as connection:
            stopped = frequency.reserve(connection, asked, _Alone())
            allowed = [number for number in rows if number not in stopped]
            send_ledger.keep(connection, allowed)
        mails = []
        for number in allowed:
            row = rows[number]
            self.audience[row["email_token"]] = row["campaign"]
            mails.append(Mail(row["customer_token"], as_of.day, row["campaign"], row["tier"], self.moment, row["zone"]))
        held = sum(reason in HOLDS for reason in stopped.values())
        return mails, held, len(stopped) - held

    def _answer(self, program: Program, mails: Sequence[Mail], as_of: AsOf, number: int) -> list[tuple[Mail, str]]:
        since = as_of.day - timedelta(days=28)
        persons = {mail.person for mail in mails}
        before = Counter(m.person for m in self.record.mails if m.person in persons and m.day >= since)
        answers = [
            (mail, kind)
            for mail in mails
            for kind in self.plan.model.answers(mail.person, mail.campaign or "", number, before[mail.person])
        ]
        add_answers(self.session, as_of, [(m.person, m.campaign or "", "sent") for m in mails])
        add_answers(self.session, as_of, [(m.person, m.campaign or "", kind) for m, kind in answers])
        self.record.acts += [Act(mail.person, as_of.day) for mail, kind in answers if kind in _ACTS]
        noon = as_of.instant + timedelta(hours=12)
        self.ledger.consent.append(
            ConsentEvent(
                event_id=f"simulated-{as_of.key}-{mail.person}-{mail.campaign}",
                subject_token=mail.person,
                purpose=program.campaigns[mail.campaign or ""].purpose,
                action="withdraw",
                effective_at=noon,
                source=DESTINATION,
            )
            for mail, kind in answers
            if kind == "unsubscribed"
        )
        complained = [mail.person for mail, kind in answers if kind == "complained"]
        if complained:
            self.ledger.suppressions.add(complained, "complained", DESTINATION)
        return answers

    def _kept_share(self, as_of: AsOf) -> float:
        if not self.session.has_table(GOVERNOR):
            return 1.0
        share = self.session.value(f"select min(kept_share) from {GOVERNOR} where as_of = ?", [as_of.day])  # noqa: S608
        return 1.0 if share is None else float(share)


class _Alone:
    """In a simulation nobody has more identifiers than the two of the decision."""

    def person(self, customer: str, address: str) -> tuple[str, ...]:
        return customer, address


def _row(number: int, row: Mapping[str, Any]) -> OutboxRow:
    return OutboxRow(
        id=number,
        operation="add",
        customer_token=row["customer_token"],
        address_token=row["email_token"],
        campaign=row["campaign"],
        purpose="",
        payload="{}",
        row_hash="",
        state="planned",
        attempt=0,
        batch=None,
    )


def _reasons(summary: Sequence[tuple[str, str, str, int]]) -> dict[str, int]:
    """Decisions by first reason, over all campaigns; who lost to another campaign counts as one."""
    found: Counter[str] = Counter()
    for _, _, reason, customers in summary:
        found[reason.partition(":")[0]] += customers
    return dict(sorted(found.items()))
