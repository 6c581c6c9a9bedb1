"""Mailchimp Marketing API 3.0: one list (audience). Why batches of PUTs: docs/decisions/0005-mailchimp-batches.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import MailchimpDestination
from personalization.stages.export.adapters.base import (
    Batch,
    Clock,
    Contact,
    Holding,
    Limits,
    Lost,
    Postponed,
    Prepared,
    Sent,
)
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.mailchimp_results import MailchimpResults
from personalization.stages.export.adapters.mailchimp_segments import MailchimpSegments
from personalization.stages.export.adapters.mailchimp_setup import Setup, expect
from personalization.stages.export.adapters.mailchimp_shapes import (
    OUT,
    MemberCall,
    batch_answers,
    batch_body,
    data_centre_url,
    differing_fields,
    member_call,
    subscriber_hash,
    words,
)
from personalization.stages.export.adapters.mailchimp_tags import MailchimpTags
from personalization.stages.export.adapters.sending import UNKNOWN_FORM, Sending, in_parallel, unknown_form
from personalization.stages.export.adapters.traffic import Traffic

CONNECTIONS = 8  # Mailchimp allows 10 at once for an account, and other programs may use it too
DIRECT_ROWS = 50  # up to this many, single requests are answered sooner than a batch is taken from the queue
LIMITS = Limits(rows=500, urgent_rows=DIRECT_ROWS, open_batches=20, text_bytes=255, patience=1800.0)
PAGE = 1000  # the most members Mailchimp gives at once
REACHABLE = ("subscribed", "pending")
KEY_HINT = "check the key: Mailchimp, Account & billing, Extras, API keys; then the variable that holds it"


class MailchimpAdapter:
    """Writes members of one list.

    Parameters
    ----------
    destination : MailchimpDestination
    name : str
        Of the destination, for messages.
    api_key : str
        Resolved from the environment.
    base_url : str, optional
        Default: the data centre at the end of the key.
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
        Replaced in tests.
    """

    limits = LIMITS

    def __init__(
        self,
        destination: MailchimpDestination,
        name: str,
        *,
        api_key: str,
        base_url: str | None = None,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination, self._name = destination, name
        self._list = f"/lists/{destination.list_id}"
        self._http = Http(
            "Mailchimp",
            base_url or data_centre_url(api_key),
            auth=("personalization", api_key),
            connections=CONNECTIONS,
            key_hint=KEY_HINT,
            bare_403_slows=True,
            traffic=traffic,
            clock=clock,
        )

    def results(self) -> MailchimpResults:
        """The reader of what became of mailings."""
        return MailchimpResults(self._destination, self._http)

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """See `Adapter.setup`. Two requests when nothing is missing."""
        return Setup(self._destination, self._name, self._http).run(known_fields)

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        return [Prepared(contact, member_call(self._destination, contact)) for contact in contacts], []

    def send(self, batch: Batch) -> Sent:
        """Few rows go one by one, many in a batch that Mailchimp works on later."""
        if len(batch.rows) <= DIRECT_ROWS:
            return self._send_directly(batch)
        body = batch_body([(str(row.contact.id), row.request) for row in batch.rows])
        answer = self._http.call("POST", "/batches", body=body, repeatable=False, deadline=batch.deadline)
        return Sent(receipt=str(expect(self._http, answer, "take a batch").body["id"]))

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.collect`. Raises `Lost` when there are no results any more: Mailchimp keeps them seven days."""
        answer = self._http.call("GET", f"/batches/{receipt}")
        if answer.status == 404:
            raise Lost(f"Mailchimp does not know the batch {receipt} any more")
        state = expect(self._http, answer, "show a batch").body
        if state["status"] != "finished":
            return None
        answers = batch_answers(self._http.download(state["response_body_url"]), receipt)
        return [self._collected(row, answers.get(str(row.contact.id))) for row in batch.rows]

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.reconcile`.

        An upsert that is still queued would overwrite newer values later. So as long as a batch that could be ours
        is unfinished, nothing can be told.
        """
        if batch.receipt:
            try:
                return self.collect(batch.receipt, batch)
            except Lost:
                pass  # the results are gone; the members themselves still tell
        elif not self._queue_is_empty():
            return None
        return in_parallel(self._look_at, batch.rows, CONNECTIONS)

    def holdings(self) -> Iterator[Holding]:
        """See `Adapter.holdings`: the members of the list, page by page."""
        names = [field.name for field in self._destination.fields]
        offset = 0
        while True:
            query: dict[str, str | int] = {
                "count": PAGE,
                "offset": offset,
                "fields": "members.email_address,members.status,members.merge_fields",
            }
            answer = expect(
                self._http, self._http.call("GET", f"{self._list}/members", query=query), "show the members"
            )
            members: list[dict[str, Any]] = answer.body["members"]
            for member in members:
                shown = member.get("merge_fields") or {}
                values = {name: "" if shown.get(name) is None else str(shown[name]) for name in names}
                yield Holding(member["email_address"], member["status"] in REACHABLE, values)
            if len(members) < PAGE:
                return
            offset += PAGE

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: the members with their newest activity."""
        found = []
        for address in sorted({address.lower() for address in addresses}):
            path = f"{self._list}/members/{subscriber_hash(address)}"
            answer = self._http.call("GET", path, query={"exclude_fields": "_links"})
            if answer.status == 404:
                continue
            member = dict(expect(self._http, answer, "show a member").body)
            if str(member["email_address"]).lower() != address:
                raise Lost("Mailchimp showed another member than the one that was asked for")
            activity = self._http.call(
                "GET", f"{path}/activity-feed", query={"count": PAGE, "exclude_fields": "_links"}
            )
            found.append({**member, "activity": activity.body.get("activity", []) if activity.ok else []})
        return found

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """See `Adapter.erase`: deletes members permanently. Mailchimp never takes the address back through its API.

        https://mailchimp.com/developer/marketing/api/list-members/delete-list-member/
        """
        deleted = 0
        for address in sorted({address.lower() for address in addresses}):
            path = f"{self._list}/members/{subscriber_hash(address)}/actions/delete-permanent"
            answer = self._http.call("POST", path)
            if answer.status == 404:
                continue  # never there, or deleted before
            expect(self._http, answer, "delete a member permanently")
            if answer.status != 204:  # the only yes there is
                raise Lost(f"Mailchimp did not confirm that a member was deleted (status {answer.status})")
            deleted += 1
        return deleted

    def segments(self) -> MailchimpSegments:
        """The list's own segments."""
        return MailchimpSegments(self._http, self._destination.list_id)

    def tags(self) -> MailchimpTags:
        """The list's tags."""
        return MailchimpTags(self._http, self._destination.list_id)

    def _send_directly(self, batch: Batch) -> Sent:
        sending = Sending()

        def write(row: Prepared) -> Outcome:
            return sending.attempt(row.contact.id, lambda: self._written(row, batch.deadline))

        sending.outcomes += in_parallel(write, batch.rows, CONNECTIONS)
        return sending.sent()

    def _written(self, row: Prepared, deadline: float) -> Outcome:
        call: MemberCall = row.request
        if call.cleans and self._is_out(call):
            call = call.only_fields
        answer = self._http.call(call.method, call.path, body=call.body, deadline=deadline)
        return self._outcome(Prepared(row.contact, call), answer)

    def _is_out(self, call: MemberCall) -> bool:
        """Whether a member gets no mail any more."""
        answer = self._http.call("GET", call.path)
        return bool(answer.ok and answer.body.get("status") in OUT)

    def _collected(self, row: Prepared, answer: Answer | None) -> Outcome:
        if answer is None:
            return Outcome(row.contact.id, "uncertain", "Mailchimp's results do not mention it")
        return self._outcome(row, answer)

    def _queue_is_empty(self) -> bool:
        """Whether no batch of the account is unfinished."""
        query: dict[str, str | int] = {"count": 1000, "fields": "batches.id,batches.status"}
        answer = expect(self._http, self._http.call("GET", "/batches", query=query), "list its batches")
        return all(batch["status"] == "finished" for batch in answer.body["batches"])

    def _look_at(self, row: Prepared) -> Outcome:
        """Compare a member with what was to be sent: what is not there as it should be is sent again."""
        call: MemberCall = row.request
        try:
            arrived = self._judged(row, self._http.call("GET", call.path)).state == "acked"
        except (Postponed, Lost) as problem:
            return Outcome(row.contact.id, "uncertain", problem.reason)
        except UNKNOWN_FORM as error:
            return Outcome(row.contact.id, "uncertain", unknown_form(error))
        return Outcome(row.contact.id, "acked" if arrived else "planned")

    def _outcome(self, row: Prepared, answer: Answer) -> Outcome:
        """The outcome of a call. An opt-out that failed because of a merge field is sent again alone."""
        outcome = self._judged(row, answer)
        call: MemberCall = row.request
        if outcome.state != "rejected" or not call.opts_out:
            return outcome
        alone = call.only_opt_out
        try:
            answer = self._http.call(alone.method, alone.path, body=alone.body)
        except (Postponed, Lost) as problem:
            return Outcome(row.contact.id, "uncertain", problem.reason)
        return self._judged(Prepared(row.contact, alone), answer)

    def _judged(self, row: Prepared, answer: Answer) -> Outcome:
        """What an answer about a member means: acked only when the member shows what was sent."""
        row_id, call = row.contact.id, row.request
        if answer.status == 404 and call.method == "PATCH":
            return Outcome(row_id, "acked")  # whoever is not on the list holds nothing of ours
        if answer.status == 429 or answer.status >= 500:
            return Outcome(row_id, "uncertain", f"Mailchimp failed (status {answer.status})")
        if not answer.ok:
            return Outcome(row_id, "rejected", self._http.redact(words(answer)))
        if not isinstance(answer.body, dict) or "status" not in answer.body or "merge_fields" not in answer.body:
            return Outcome(row_id, "uncertain", "Mailchimp's answer shows no member")
        if call.opts_out and answer.body.get("status") not in OUT:
            return Outcome(row_id, "rejected", f"Mailchimp left the contact {answer.body.get('status')}")
        differing = differing_fields(call.stored, answer.body)
        if differing:
            return Outcome(row_id, "rejected", f"Mailchimp did not keep {', '.join(differing)}")
        return Outcome(row_id, "acked")
