"""ActiveCampaign (API v3): one list. New contacts and many changes by bulk import, all else contact by contact.

Requests and answers are those of the published OpenAPI documents (bulk import, contacts, fields, lists) and of
https://developers.activecampaign.com/reference/rate-limits. Nothing of it was tried with a live account. Not in the
documents: whether an import clears a value with an empty text (so it is not asked to), whether a `failureReason`
counts contacts from 0 or 1 (so both are tried), and `include=fieldValues` when contacts are listed (third parties use
it; the audit says so when it does not work).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import ActiveCampaignDestination
from personalization.stages.export.adapters.activecampaign_calls import CONNECTIONS, Calls
from personalization.stages.export.adapters.activecampaign_results import ActiveCampaignResults
from personalization.stages.export.adapters.activecampaign_shapes import (
    IMPORT_CONTACTS,
    UNSUBSCRIBED,
    Wish,
    chunks,
    differing,
    field_values,
    held,
    imported,
    suspects,
    wish,
    words,
)
from personalization.stages.export.adapters.base import (
    Batch,
    Clock,
    Contact,
    DestinationError,
    Holding,
    Limits,
    Lost,
    Postponed,
    Prepared,
    Sent,
)
from personalization.stages.export.adapters.http import Answer
from personalization.stages.export.adapters.sending import Sending, in_parallel
from personalization.stages.export.adapters.traffic import Traffic

SYNC_ROWS = 10  # "if less than that, then contact/sync api request should be used"
READ_ROWS = 50  # contacts that are read before the exporter keeps its lease: twenty seconds at five requests a second
LIMITS = Limits(rows=IMPORT_CONTACTS, urgent_rows=50, open_batches=10, patience=3600.0)


class ActiveCampaignAdapter:
    """Writes contacts of one list.

    Parameters
    ----------
    destination : ActiveCampaignDestination
    name : str
        Of the destination, for messages.
    base_url, api_token : str
        Resolved from the environment.
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
        Replaced in tests.
    """

    limits = LIMITS

    def __init__(
        self,
        destination: ActiveCampaignDestination,
        name: str,
        *,
        base_url: str,
        api_token: str,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination, self._name = destination, name
        self._calls = Calls(destination, name, base_url=base_url, api_token=api_token, traffic=traffic, clock=clock)
        self._http = self._calls.http
        self._queued: dict[str, list[Prepared]] = {}
        self._read: dict[int, Outcome] = {}

    def results(self) -> ActiveCampaignResults:
        """The reader of what became of mailings."""
        return ActiveCampaignResults(self._destination, self._calls)

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        return self._calls.setup(known_fields)

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        return [Prepared(contact, wish(self._destination, contact)) for contact in contacts], []

    def send(self, batch: Batch) -> Sent:
        """Opt-outs and whatever clears a value contact by contact; what is new, or many changes, by import."""
        sending = Sending()
        bulk = [row for row in batch.rows if row.request.brings and not row.request.clears]
        changes = [row for row in bulk if row.request.operation == "change"]
        if len(bulk) < SYNC_ROWS:  # a sync puts nobody on the list, so it is for those who were brought before
            bulk = [row for row in bulk if row not in changes]
        importing = {row.contact.id for row in bulk}
        single = [row for row in batch.rows if row.contact.id not in importing]
        single.sort(key=lambda row: row.request.operation != "retract")
        work = partial(self._written_or_not, batch, sending)
        sending.outcomes += in_parallel(work, single, CONNECTIONS)
        jobs = self._queue(bulk, batch, sending) if not sending.refused else self._left(bulk, sending)
        return sending.sent(",".join(jobs) or None)

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.collect`. A receipt names the jobs of a batch."""
        jobs = {key: self._calls.job(key) for key in receipt.split(",")}
        if not all(job.done for job in jobs.values()):
            return None
        outcomes = []
        for key, job in jobs.items():
            rows = self._queued.pop(key)
            whole = job.completed and not job.failure and len(set(job.success)) == len(rows)
            written = {row.request.address for row in rows} if whole else self._calls.addresses(job.success)
            for row in rows:
                unclear = Outcome(row.contact.id, "uncertain", "ActiveCampaign's import does not mention the contact")
                outcomes.append(_told(row, written, job.failure) or unclear)
        return outcomes

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.reconcile`. Imports that are known by name tell; all other contacts are read.

        An import that is still queued would overwrite newer values later, and imports that are under way are counted,
        not named. So as long as any is unfinished, nothing can be told.
        """
        if self._calls.importing():
            return None
        jobs = [self._calls.job(key) for key in batch.receipt.split(",")] if batch.receipt else []
        written = self._calls.addresses([key for job in jobs for key in job.success])
        failure = {address for job in jobs for address in job.failure}
        told = {row.contact.id: _told(row, written, failure) for row in batch.rows}
        unclear = [row for row in batch.rows if not told[row.contact.id] and row.contact.id not in self._read]
        for outcome in in_parallel(self._looked_at, unclear[:READ_ROWS], CONNECTIONS):
            self._read[outcome.id] = outcome
        if len(unclear) > READ_ROWS:
            return None  # go on in a moment: two requests a contact take a while, and the lease has to be kept
        return [told[row.contact.id] or self._read.pop(row.contact.id) for row in batch.rows]

    def holdings(self) -> Iterator[Holding]:
        """See `Adapter.holdings`: the contacts of the list, whatever their status on it."""
        names = [mapped.name for mapped in self._destination.fields]
        active = {str(contact["id"]) for contact, _ in self._calls.on_list(1)}
        for contact, answer in self._calls.on_list(-1, with_values=True):
            if "fieldValues" not in answer:
                raise DestinationError(
                    "ActiveCampaign does not show field values together with contacts",
                    hint="contacts can be exported to it, but not be audited",
                )
            own = {"fieldValues": [v for v in answer["fieldValues"] if str(v["contact"]) == str(contact["id"])]}
            shown = held(own, self._calls.ids)
            values = {name: shown.get(name, "") for name in names}
            yield Holding(str(contact["email"]), str(contact["id"]) in active, values)

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: contacts with their lists and field values."""
        keys = [self._calls.find(address) for address in sorted({one.strip().lower() for one in addresses})]
        return [found for key in keys if key is not None and (found := self._calls.show(key)) is not None]

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """See `Adapter.erase`: deletes contacts with all that belongs to them.

        https://developers.activecampaign.com/reference/delete-contact
        """
        deleted = 0
        for address in sorted({address.strip().lower() for address in addresses}):
            key = self._calls.find(address)
            if key is not None:
                answer = self._http.call("DELETE", f"/contacts/{key}")
                if answer.status != 404:
                    self._calls.expect(answer, "delete a contact")
                    deleted += 1
        return deleted

    def _queue(self, rows: list[Prepared], batch: Batch, sending: Sending) -> list[str]:
        """Queue contacts for import, in as many jobs as their size asks for. Returns the jobs' names."""
        entries = [imported(row.request, self._calls.ids, self._destination.list_id) for row in rows]
        pairs = list(zip(rows, entries, strict=True))
        jobs: list[str] = []
        try:
            for part in chunks(entries):
                self._queue_part(pairs[part], jobs, batch.deadline, sending)
        except (Postponed, DestinationError) as problem:
            if isinstance(problem, Postponed):
                sending.waits.append(problem.retry_after)
            else:
                sending.refused = problem
            gone = {row.contact.id for key in jobs for row in self._queued[key]}
            gone |= {outcome.id for outcome in sending.outcomes}
            self._left([row for row in rows if row.contact.id not in gone], sending)
        return jobs

    def _queue_part(
        self, pairs: list[tuple[Prepared, dict[str, Any]]], jobs: list[str], deadline: float, sending: Sending
    ) -> None:
        """Queue one import. If some contacts are wrong, none is queued: these are tried alone, the others again."""
        if not pairs:
            return
        try:
            answer = self._calls.start_import([entry for _, entry in pairs], deadline)
        except Lost as lost:
            sending.outcomes += [Outcome(row.contact.id, "uncertain", lost.reason) for row, _ in pairs]
            return
        if answer.ok:
            key = str(answer.body["batchId"])
            self._queued[key] = [row for row, _ in pairs]
            jobs.append(key)
            return
        doubtful = suspects(answer, len(pairs))
        if not doubtful:
            raise DestinationError(f"ActiveCampaign would not take an import: {self._http.redact(words(answer))}")
        if len(pairs) == 1:
            sending.outcomes.append(Outcome(pairs[0][0].contact.id, "rejected", self._http.redact(words(answer))))
            return
        for place in doubtful:
            self._queue_part([pairs[place]], jobs, deadline, sending)
        rest = [pair for place, pair in enumerate(pairs) if place not in doubtful]
        self._queue_part(rest, jobs, deadline, sending)

    @staticmethod
    def _left(rows: Sequence[Prepared], sending: Sending) -> list[str]:
        """Rows that were not sent: no job."""
        sending.outcomes += [Outcome(row.contact.id, "planned", "not sent") for row in rows]
        return []

    def _written_or_not(self, batch: Batch, sending: Sending, row: Prepared) -> Outcome:
        return sending.attempt(row.contact.id, lambda: self._written(row, batch.deadline))

    def _written(self, row: Prepared, deadline: float) -> Outcome:
        """Write one contact, and judge what ActiveCampaign then shows of it."""
        row_id, wanted = row.contact.id, row.request
        if wanted.operation == "change" and not wanted.clears:
            return self._judged(row, self._sync(wanted, deadline))
        key = self._calls.find(wanted.address, deadline)
        if key is None:
            if wanted.brings:  # gone meanwhile: to be brought as a new one, without the values that are to be cleared
                return self._judged(row, self._sync(wanted, deadline))
            return Outcome(row_id, "acked")  # whoever is not there holds nothing of ours
        if wanted.operation == "retract":
            answer = self._calls.unsubscribe(key, deadline)
            if not answer.ok:
                return Outcome(row_id, "rejected", self._http.redact(words(answer)))
            status = str((answer.body.get("contactList") or {}).get("status"))
            if status != UNSUBSCRIBED:
                return Outcome(row_id, "rejected", f"ActiveCampaign left the contact's status at {status}")
        body = {"contact": {"fieldValues": field_values(wanted, self._calls.ids)}}
        answer = self._http.call("PUT", f"/contacts/{key}", body=body, deadline=deadline)
        if wanted.operation == "retract" or (answer.status == 404 and not wanted.brings):
            return Outcome(row_id, "acked")  # opted out: that must not fail because of a value
        return self._judged(row, answer)

    def _sync(self, wanted: Wish, deadline: float) -> Answer:
        contact = {"email": wanted.address, "fieldValues": field_values(wanted, self._calls.ids)}
        return self._http.call("POST", "/contact/sync", body={"contact": contact}, deadline=deadline)

    def _judged(self, row: Prepared, answer: Answer) -> Outcome:
        if not answer.ok:
            return Outcome(row.contact.id, "rejected", self._http.redact(words(answer)))
        wrong = differing(row.request, held(answer.body, self._calls.ids))
        if wrong:
            return Outcome(row.contact.id, "rejected", f"ActiveCampaign did not keep {', '.join(wrong)}")
        return Outcome(row.contact.id, "acked")

    def _looked_at(self, row: Prepared) -> Outcome:
        wanted = row.request
        key = self._calls.find(wanted.address)
        shown = self._calls.show(key) if key else None
        if shown is None:
            return Outcome(row.contact.id, "planned" if wanted.brings else "acked")
        lists = {str(entry["list"]): str(entry["status"]) for entry in shown.get("contactLists") or []}
        status = lists.get(str(self._destination.list_id))
        arrived = not differing(wanted, held(shown, self._calls.ids))
        if wanted.operation == "retract":
            arrived = arrived and status in (None, UNSUBSCRIBED)
        if wanted.operation == "add":
            arrived = arrived and status is not None
        return Outcome(row.contact.id, "acked" if arrived else "planned")


def _told(row: Prepared, written: set[str], failure: set[str]) -> Outcome | None:
    """What finished imports tell about a row; None when they don't mention it."""
    if row.request.address in written:
        return Outcome(row.contact.id, "acked")
    if row.request.address in failure:
        reason = "ActiveCampaign's import could not write the contact; it gives no reason"
        return Outcome(row.contact.id, "rejected", reason)
    return None
