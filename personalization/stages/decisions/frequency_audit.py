"""Looks for people who are mailed too often by another way than the decision's: person by person, in plain Python.

It reads the events of platforms and the rows of the send ledger themselves, and knows nothing of the decision's SQL.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from personalization.as_of import AsOf
from personalization.ledger.frequency import PastMailing, unreported
from personalization.program import Program
from personalization.stages.decisions.activity import ACTS
from personalization.stages.decisions.candidates import columns_of
from personalization.stages.decisions.decide import DECISIONS
from personalization.stages.decisions.fatigue import SENDS, TIERS, horizon_days, named_events
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger


MOST_PEOPLE = 50_000
"""Of more people than this a lot decides who is looked at: the same ones whenever the same day is looked at."""


def too_often(session: Session, ledger: Ledger, program: Program, as_of: AsOf) -> list[str]:
    """Sends within the gap, beyond a cap of the tier or of the person, of people asleep, or of a paused campaign."""
    sent = session.arrow(
        f"""
        select customer_token, campaign from {DECISIONS} where as_of = ? and outcome = 'send'
        order by hash(customer_token), campaign limit {MOST_PEOPLE}
        """,  # noqa: S608
        [as_of.day],
    )
    if not len(sent) or not session.has_table(TIERS):
        return []
    with session.registered(_sent=sent):
        people = _People(session, ledger, program, as_of)
    findings = []
    for row in sorted(sent.to_pylist(), key=lambda row: (row["customer_token"], row["campaign"])):
        token, campaign = row["customer_token"], row["campaign"]
        findings += [f"{campaign}: {token} is sent {finding}" for finding in people.findings(token, campaign)]
    return findings + _governed(session, program, as_of)


class _People:
    """Everything on record about the people in the table `_sent`, who are to be mailed."""

    def __init__(self, session: Session, ledger: Ledger, program: Program, as_of: AsOf) -> None:
        self.program, self.as_of = program, as_of
        since = as_of.shift(-horizon_days(program)).day
        theirs = "customer_token in (select customer_token from _sent)"
        person_of = dict(session.rows(f"select identifier_token, customer_token from {IDENTITY} where {theirs}"))  # noqa: S608
        self.reported: defaultdict[str, list[PastMailing]] = defaultdict(list)
        for row in named_events(session, program, since=since, before=as_of.day).to_pylist():
            self.reported[row["customer_token"]].append(PastMailing(row["event_day"], row["campaign"]))
        self.released: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in ledger.sends.releases(as_of.day, since=since, campaigns=program.campaigns).to_pylist():
            token = person_of.get(row["customer_token"]) or person_of.get(row["address_token"]) or row["customer_token"]
            self.released[token].append(row)
        asleep = "asleep" if "asleep" in columns_of(session, TIERS) else "false"
        query = f"select customer_token, tier, {asleep} from {TIERS} where as_of = ? and {theirs}"  # noqa: S608
        self.tiers = {token: (tier, bool(sleeps)) for token, tier, sleeps in session.rows(query, [as_of.day])}
        self.choices = self._read_choices(ledger, person_of)
        self.acts = self._read_acts(session)
        first = f"select customer_token, min(event_day) from {SENDS} where {theirs} and event = 'sent'"  # noqa: S608
        self.first = dict(session.rows(f"{first} and event_day < ? group by all", [as_of.day]))
        self.agreed = self._read_agreed(ledger, person_of)

    def _read_choices(self, ledger: Ledger, person_of: dict[str, str]) -> dict[str, str]:
        from personalization.ledger.preferences import FREQUENCY

        rows = ledger.preferences.snapshot(FREQUENCY, effective_before=self.as_of.instant).to_pylist()
        latest = sorted(rows, key=lambda row: (row["effective_at"], row["seq"]))
        return {person_of.get(row["subject_token"], row["subject_token"]): row["value"] for row in latest}

    def _read_agreed(self, ledger: Ledger, person_of: dict[str, str]) -> dict[tuple[str, str], date]:
        """By person and purpose the day of consents that stand and are young enough to count as an act."""
        sunset = self.program.settings.sunset
        found: dict[tuple[str, str], date] = {}
        if sunset is None:
            return found
        long_ago = self.as_of.shift(-sunset.inactive_days).instant
        for purpose in sorted({campaign.purpose for campaign in self.program.campaigns.values()}):
            snapshot = ledger.consent.snapshot(purpose, effective_before=self.as_of.instant)
            recent = snapshot.filter(pc.greater_equal(snapshot["effective_at"], pa.scalar(long_ago))).to_pylist()
            for row in recent:
                if row["state"] == "granted" and row["subject_token"] in person_of:
                    day = row["effective_at"].astimezone(ZoneInfo(self.as_of.timezone)).date()
                    key = (person_of[row["subject_token"]], purpose)
                    found[key] = max(day, found.get(key, day))
        return found

    def _read_acts(self, session: Session) -> dict[str, date]:
        sunset = self.program.settings.sunset
        if sunset is None or sunset.when is not None:
            return {}
        rows = session.rows(
            "select customer_token, event, max(event_day) from marts.customer_day"
            " where event_day < ? and customer_token in (select customer_token from _sent) group by all",
            [self.as_of.day],
        )
        found: dict[str, date] = {}
        for token, event, day in rows:
            if event in ACTS:
                found[token] = max(day, found.get(token, day))
        return found

    def findings(self, token: str, campaign: str) -> list[str]:
        days = self._mailings(token, campaign)
        fatigue, age = self.program.settings.fatigue, {day: (self.as_of.day - day).days for day in days}
        found = []
        if days and min(age.values()) <= fatigue.min_gap_days:
            found.append(f"{min(age.values())} days after the last mail")
        tier, asleep = self.tiers.get(token, (None, False))
        windows = [(f"tier '{cap.tier}'", w) for cap in fatigue.caps if cap.tier == tier for w in cap.windows]
        choice = self.program.frequency.get(self.choices.get(token, ""))
        if choice is not None and choice.sends is not None and choice.days is not None:
            windows.append(("the person's own choice", (choice.sends, choice.days)))
        for whose, (most, length) in windows:
            count = sum(age[day] <= length for day in days)
            if count >= most:
                found.append(f"mail {count + 1} of {most} in {length} days, the cap of {whose}")
        if asleep != self._asleep(token, campaign, days):
            found.append(f"as if {'in' if asleep else ''}active, but the days of mails and acts say otherwise")
        if asleep and not self.program.campaigns[campaign].win_back:
            found.append("though the sunset leaves the person alone")
        return found

    def _asleep(self, token: str, campaign: str, days: list[date]) -> bool:
        """Whether nothing came back for long enough."""
        sunset = self.program.settings.sunset
        if sunset is None:
            return False
        if sunset.when is not None:  # a rule of the program's own: the rules have an oracle of their own
            return self.tiers.get(token, (None, False))[1]
        long_ago = self.as_of.day - timedelta(days=sunset.inactive_days)
        first = min([*days, self.first.get(token, self.as_of.day)])
        agreed = self.agreed.get((token, self.program.campaigns[campaign].purpose), date.min)
        return max(agreed, self.acts.get(token, date.min)) < long_ago and first <= long_ago

    def _mailings(self, token: str, campaign: str) -> list[date]:
        """Days of what counts: reported mailings, and releases without a report, but not the campaign's own."""
        reported = self.reported[token]
        released = self.released[token]
        open_ones = unreported((PastMailing(_day(row), row["campaign"]) for row in released), reported)
        version = str(self.program.campaigns[campaign].version)
        own = {
            (_day(row), row["campaign"])
            for row in released
            if row["campaign"] == campaign and row["version"] == version and row["ended_day"] is None
        }
        counted = [mailing.day for mailing in open_ones if (mailing.day, mailing.campaign) not in own]
        return [mailing.day for mailing in reported] + counted


def _day(row: dict[str, Any]) -> date:
    return date.fromisoformat(row["day"])


def _governed(session: Session, program: Program, as_of: AsOf) -> list[str]:
    """Campaigns of which more people are mailed than the governor keeps."""
    if program.settings.governor is None or not session.has_table("decisions.governor"):
        return []
    rows = session.rows(
        f"""
        select g.campaign, g.kept, count(*)
        from decisions.governor g join {DECISIONS} d using (as_of, campaign)
        where as_of = ? and g.kept is not null and d.outcome = 'send'
        group by all having count(*) > g.kept order by all
        """,  # noqa: S608
        [as_of.day],
    )
    return [f"{name}: {number} people are sent, the governor keeps {kept}" for name, kept, number in rows]
