"""Up to 100 rows at HubSpot: brought, taken away, looked at. Each step's failures stay with the rows of that step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from personalization.ledger.outbox import Outcome
from personalization.program.models import HubspotDestination
from personalization.stages.export.adapters.base import Prepared, Sent
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.hubspot_consent import Consent
from personalization.stages.export.adapters.hubspot_crm import Crm, Input, Verdict
from personalization.stages.export.adapters.hubspot_shapes import MOVED_FROM, Paths, Record, Refusal, Wanted, words
from personalization.stages.export.adapters.hubspot_steps import Steps


class Rows:
    """Applies rows to contacts.

    Attributes
    ----------
    lists : dict
        The id of each campaign's static list.
    """

    def __init__(self, destination: HubspotDestination, http: Http, paths: Paths, crm: Crm, consent: Consent) -> None:
        self._id_property = destination.id_property
        self._names = [field.name for field in destination.fields]
        self._subscriptions = destination.subscription_ids
        self._http, self._list_path, self._crm, self._consent = http, paths.lists, crm, consent
        self.lists: dict[str, str] = {}

    def bring(self, rows: Sequence[Prepared], deadline: float) -> Sent:
        """Write values. A known contact is changed by its record id, without its address; a new one is created."""
        steps = Steps(rows, self._crm)
        found = steps.read(lambda: self._find(rows))
        if found is None:
            return steps.sent
        settled = [one for one in found if one.settled]
        steps.run([one.row for one in settled], lambda: self._update(settled, deadline))
        for one in found:
            if not one.settled:
                steps.run([one.row], partial(self._move, one, deadline))
        known = {one.row.contact.id for one in found}
        new = [row for row in rows if row.contact.id not in known]
        steps.run(new, lambda: self._create(new, deadline))
        return steps.sent

    def take_away(self, rows: Sequence[Prepared], deadline: float) -> Sent:
        """Opt out, and clear our fields. An opt-out counts whatever becomes of the fields."""
        steps = Steps(rows, self._crm)
        leaving = [row for row in rows if row.contact.operation == "retract"]
        refused: dict[str, str | None] = {}
        if leaving:

            def opt_out() -> list[Outcome]:
                refused.update(self._consent.opt_out([row.contact.address for row in leaving], self._subscriptions))
                return []

            if not steps.run(leaving, opt_out):
                return steps.sent
        steps.run(rows, lambda: self._clear(rows, refused, deadline))
        return steps.sent

    def look_at(self, rows: Sequence[Prepared]) -> list[Outcome]:
        """Whether rows have arrived: `acked`, or `planned`."""
        names = ["email", self._id_property, MOVED_FROM, *self._names]
        records = self._by_address(rows, names)
        outcomes = []
        for row in rows:
            record, wanted = records.get(row.contact.address.lower()), _wanted(row)
            arrived = not self.lists  # who is on a list is not read: putting them there again does no harm
            if row.contact.operation in ("add", "change"):
                arrived &= record is not None and not record.differs(wanted.properties) and not record.holds(MOVED_FROM)
            else:
                arrived &= record is None or not record.differs(wanted.properties)
            if row.contact.operation == "retract":
                arrived &= set(self._subscriptions) <= self._consent.opt_outs(row.contact.address)
            outcomes.append(Outcome(row.contact.id, "acked" if arrived else "planned"))
        return outcomes

    def _find(self, rows: Sequence[Prepared]) -> list[_Found]:
        """The contact of each row, where there is one: who has its address, else who has its customer's id."""
        names = ["email", self._id_property, MOVED_FROM]
        external = [row.contact.external_id for row in rows]
        customers = {r.holds(self._id_property): r for r in self._crm.read(external, names, self._id_property)}
        elsewhere = [row for row in rows if not _is_at(row, customers.get(row.contact.external_id))]
        addresses = self._by_address(elsewhere, names)
        found = []
        for row in rows:
            customer, at_address = customers.get(row.contact.external_id), addresses.get(row.contact.address.lower())
            if at_address:
                found.append(_Found(row, at_address, customer))
            elif customer:
                found.append(_Found(row, customer, None))
        return found

    def _update(self, found: Sequence[_Found], deadline: float) -> list[Outcome]:
        inputs = [Input(str(one.row.contact.id), one.record.id, _wanted(one.row).properties) for one in found]
        return self._listed([one.row for one in found], self._crm.update(inputs, deadline))

    def _create(self, rows: Sequence[Prepared], deadline: float) -> list[Outcome]:
        """Create contacts. HubSpot may know an address as an additional one of a contact: that one is changed."""
        inputs = [
            Input(
                str(row.contact.id),
                row.contact.external_id,
                {"email": row.contact.address, **_wanted(row).properties},
            )
            for row in rows
        ]
        verdicts = self._crm.upsert(inputs, deadline)
        conflicts = {row.contact.id: verdicts[str(row.contact.id)] for row in rows}
        known = {i: v.existing for i, v in conflicts.items() if isinstance(v, Refusal) and v.existing}
        records = {r.id: r for r in self._crm.read(list(known.values()), ["email", self._id_property])}
        again = []
        for row in rows:
            record = records.get(known.get(row.contact.id, ""))
            if record and record.holds(self._id_property) in ("", row.contact.external_id):
                again.append(Input(str(row.contact.id), record.id, _wanted(row).properties))
            elif record:
                words = "HubSpot has this address as an additional one of another customer's contact"
                verdicts[str(row.contact.id)] = Refusal(words)
        verdicts |= self._crm.update(again, deadline)
        return self._listed(rows, verdicts)

    def _move(self, found: _Found, deadline: float) -> list[Outcome]:
        """Bring a row to a contact that has another address, or whose customer has another contact.

        Opt-outs belong to the address, so whoever has opted out under the former one would be subscribed again by
        the new one. So they go to the new address before the contact does, and once more after it, for who opts out
        in between; the former address stays noted on the contact until that is done, also through a crash.
        """
        row, record = found.row, found.record
        trace, address, former = str(row.contact.id), row.contact.address, record.holds(MOVED_FROM)
        if not _is_at(row, record):
            former = record.address
            problem = self._carry(record.holds(MOVED_FROM), address) or self._carry(former, address)
            verdict = None if problem else self._move_contact(trace, record, address, former, deadline)
            if problem or not isinstance(verdict, Record):
                return [_problem_of(row, problem) if problem else self._outcome(row, verdict)]
        problem = self._carry(former, address)
        if problem:
            return [_problem_of(row, problem)]
        if found.other:  # the customer's id is unique: it goes from the other contact first, and our values with it
            cleared = {self._id_property: "", **dict.fromkeys(self._names, "")}
            verdict = self._crm.update([Input(trace, found.other.id, cleared)], deadline)[trace]
            if not isinstance(verdict, Record):
                return [self._outcome(row, verdict)]
        properties = {**_wanted(row).properties, MOVED_FROM: ""}
        return self._listed([row], self._crm.update([Input(trace, record.id, properties)], deadline))

    def _move_contact(self, trace: str, record: Record, address: str, former: str, deadline: float) -> Verdict:
        return self._crm.update([Input(trace, record.id, {"email": address, MOVED_FROM: former})], deadline)[trace]

    def _carry(self, former: str, address: str) -> str | None:
        """Opt an address out of all that a former one has opted out of. Returns why it failed."""
        if not former or former.lower() == address.lower():
            return None
        opt_outs = self._consent.opt_outs(former)
        return self._consent.carry(opt_outs, address) if opt_outs else None

    def _clear(self, rows: Sequence[Prepared], refused: Mapping[str, str | None], deadline: float) -> list[Outcome]:
        records = self._by_address(rows, ["email"])
        there = [(row, records[row.contact.address.lower()]) for row in rows if row.contact.address.lower() in records]
        inputs = [Input(str(row.contact.id), record.id, _wanted(row).properties) for row, record in there]
        cleared = {o.id: o for o in self._listed([row for row, _ in there], self._crm.update(inputs, deadline))}
        outcomes = []
        for row in rows:
            # whoever is not there holds nothing of ours
            outcome = cleared.get(row.contact.id, Outcome(row.contact.id, "acked"))
            if row.contact.operation == "retract":
                problem = refused[row.contact.address]
                outcome = Outcome(row.contact.id, "rejected", problem) if problem else outcome
                if outcome.state == "rejected" and not problem:
                    outcome = Outcome(row.contact.id, "acked")
            outcomes.append(outcome)
        return outcomes

    def _by_address(self, rows: Sequence[Prepared], names: Sequence[str]) -> dict[str, Record]:
        return {r.address: r for r in self._crm.read([row.contact.address for row in rows], names, "email")}

    def _listed(self, rows: Sequence[Prepared], verdicts: Mapping[str, Verdict]) -> list[Outcome]:
        """Outcomes of written rows, once their contacts are on their campaign's list and on no other."""
        outcomes = {row.contact.id: self._outcome(row, verdicts[str(row.contact.id)]) for row in rows}
        members: dict[str | None, dict[str, int]] = defaultdict(dict)
        for row in rows:
            verdict = verdicts[str(row.contact.id)]
            if isinstance(verdict, Record) and outcomes[row.contact.id].state == "acked":
                members[_wanted(row).campaign][verdict.id] = row.contact.id
        for campaign, list_id in self.lists.items() if any(members.values()) else ():
            joining = members.get(campaign, {})
            body = {
                "recordIdsToAdd": list(joining),
                "recordIdsToRemove": [one for c, ids in members.items() if c != campaign for one in ids],
            }
            answer = self._http.call("PUT", f"{self._list_path}/{list_id}/memberships/add-and-remove", body=body)
            missing = joining if not answer.ok else (answer.body or {}).get("recordIdsMissing") or []
            said = "HubSpot would not put it on its campaign's list" + ("" if answer.ok else f": {words(answer.body)}")
            for record_id in missing:
                row_id = joining.get(str(record_id))
                if row_id is not None:
                    outcomes[row_id] = Outcome(row_id, "rejected", self._http.redact(said))
        return list(outcomes.values())

    def _outcome(self, row: Prepared, verdict: Verdict) -> Outcome:
        if verdict is None:
            return Outcome(row.contact.id, "uncertain", "HubSpot's answer does not mention it")
        if isinstance(verdict, Refusal):
            return Outcome(row.contact.id, "rejected", self._http.redact(verdict.words))
        differing = verdict.differs(_wanted(row).properties)
        if differing:
            return Outcome(row.contact.id, "rejected", f"HubSpot did not keep {', '.join(differing)}")
        return Outcome(row.contact.id, "acked")


@dataclass(frozen=True)
class _Found:
    """The contact that a row is about. `other` is a second one, with the customer's id and another address."""

    row: Prepared
    record: Record
    other: Record | None

    @property
    def settled(self) -> bool:
        """Whether the contact can just be changed: it has the row's address, and nothing is left of a move."""
        return _is_at(self.row, self.record) and self.other is None and not self.record.holds(MOVED_FROM)


def _is_at(row: Prepared, record: Record | None) -> bool:
    return record is not None and record.address == row.contact.address.lower()


def _wanted(row: Prepared) -> Wanted:
    made: Wanted = row.request
    return made


def _problem_of(row: Prepared, problem: str) -> Outcome:
    text = f"its address has changed, and the opt-out of the former one did not come along: {problem}"
    return Outcome(row.contact.id, "rejected", text)
