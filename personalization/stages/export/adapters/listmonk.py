"""listmonk: one list of a self-hosted server. Why two ways to write: docs/decisions/0014-listmonk-two-ways.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import ListmonkDestination
from personalization.stages.export.adapters.base import (
    Batch,
    Clock,
    Contact,
    Holding,
    Limits,
    Prepared,
    Sent,
)
from personalization.stages.export.adapters.http import Answer
from personalization.stages.export.adapters.listmonk_imports import FILE_PREFIX, SINGLE_ROWS, Imports, Row
from personalization.stages.export.adapters.listmonk_results import ListmonkResults
from personalization.stages.export.adapters.listmonk_segments import ListmonkSegments
from personalization.stages.export.adapters.listmonk_server import LIST_HINT, Server
from personalization.stages.export.adapters.listmonk_shapes import (
    Subscriber,
    Wish,
    change,
    new_subscriber,
    subscriber,
    unfit,
    wish,
    words,
)
from personalization.stages.export.adapters.sending import Sending, in_parallel
from personalization.stages.export.adapters.traffic import Traffic

__all__ = ["SINGLE_ROWS", "ListmonkAdapter"]

LIMITS = Limits(rows=10_000, urgent_rows=500, open_batches=1, patience=1800.0)  # an import commits 10,000 rows at once
_NO_SUCH_ROUTE = (404, 405)  # 404 from version 4 on, also for a method; who is not there gets 400


class ListmonkAdapter:
    """Writes subscribers of one list.

    Parameters
    ----------
    destination : ListmonkDestination
    name : str
        Of the destination, for messages.
    base_url, api_user, api_token : str
        Resolved from the environment.
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
        Replaced in tests.
    """

    limits = LIMITS

    def __init__(
        self,
        destination: ListmonkDestination,
        name: str,
        *,
        base_url: str,
        api_user: str,
        api_token: str,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination, self._name = destination, name
        self._server = Server(
            destination, name, base_url=base_url, api_user=api_user, api_token=api_token, traffic=traffic, clock=clock
        )
        self._http = self._server.http
        self._imports = Imports(self._server, destination, name)

    def results(self) -> ListmonkResults:
        """The reader of what became of mailings."""
        return ListmonkResults(self._server)

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """See `Adapter.setup`. One request when the list is there; attributes need no setting up."""
        return self._server.find_list(known_fields)

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        prepared, misfits = [], []
        for contact in contacts:
            wanted = wish(self._destination, contact)
            problem = unfit(wanted)
            if problem:
                misfits.append(Outcome(contact.id, "invalid", problem))
            else:
                prepared.append(Prepared(contact, wanted))
        return prepared, misfits

    def send(self, batch: Batch) -> Sent:
        """Opt-outs first; then what goes by import, and the others one by one."""
        rows = self._with_subscribers(batch.rows, batch.deadline)
        sending = Sending()
        direct = self._opt_out(rows, batch, sending)
        receipt = self._imports.begin(direct, batch, sending)
        settled = {outcome.id for outcome in sending.outcomes}
        todo = [row for row in direct if row[0].contact.id not in settled and not self._imports.waits(receipt, row)]
        for outcome in in_parallel(partial(self._write_row, batch, sending), todo, self._http.connections):
            if self._imports.includes(receipt, outcome.id):
                if outcome.state == "acked":
                    continue  # has its values, and is acknowledged when the import has brought it onto the list
                self._imports.leave_out(outcome.id)
            sending.outcomes.append(outcome)
        return sending.sent(receipt)

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.collect`. listmonk tells of rows in a log only, so the subscribers themselves are read."""
        if self._server.importing(receipt):
            return None
        by_id = {row.contact.id: row for row in batch.rows}
        rows = self._with_subscribers([by_id[row_id] for row_id in self._imports.begun(receipt)])
        arrived = {row.contact.id: self._arrived(row, known) for row, known in rows}
        return self._imports.finish(receipt, rows, arrived)

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.reconcile`. While an import of ours runs, nothing can be told."""
        if self._server.importing(FILE_PREFIX):
            return None
        return [
            Outcome(row.contact.id, "acked" if self._arrived(row, known) else "planned")
            for row, known in self._with_subscribers(batch.rows)
        ]

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: what listmonk itself exports of a subscriber."""
        return self._server.exports([address.strip().lower() for address in addresses], external_ids)

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """See `Adapter.erase`. A later sign-up with the address is a new subscriber: listmonk keeps nothing."""
        return self._server.delete([address.strip().lower() for address in addresses], external_ids)

    def holdings(self) -> Iterator[Holding]:
        """See `Adapter.holdings`: the subscribers of the list."""
        names = [mapped.name for mapped in self._destination.fields]
        for shown in self._server.all_subscribers():
            known = subscriber(self._destination, self._server.list_id, shown)
            mailed = ("confirmed",) if self._server.double_optin else ("confirmed", "unconfirmed")
            active = known.status == "enabled" and known.on_list in mailed
            values = {name: "" if known.ours.get(name) is None else str(known.ours[name]) for name in names}
            yield Holding(str(shown["email"]), active, values)

    def segments(self) -> ListmonkSegments:
        """Queries, which are what listmonk has for segments."""
        return ListmonkSegments(self._server)

    def _with_subscribers(self, rows: Sequence[Prepared], deadline: float | None = None) -> list[Row]:
        found = self._server.look_up([row.request.address for row in rows], deadline)
        return [(row, found.get(row.request.address)) for row in rows]

    def _opt_out(self, rows: Sequence[Row], batch: Batch, sending: Sending) -> list[Row]:
        """Opt out all retractions in a call, two when some are off all lists, and read them again.

        Returns the rows with what is known now.
        """
        due = [(row, known) for row, known in rows if known and row.request.opts_out and self._in(row, known)]
        if not due:
            return list(rows)
        answers: dict[bool, Answer] = {}
        for of_all in (False, True):
            ids = [known.id for row, known in due if known and row.request.blocks is of_all]
            if ids:
                answers[of_all] = self._server.opt_out(ids, batch.deadline, of_all=of_all)
        read = {row.contact.id: (row, known) for row, known in self._with_subscribers([row for row, _ in due])}
        for row_id, (row, known) in read.items():
            if known and self._in(row, known):
                answer = answers[row.request.blocks]
                reason = self._http.redact(words(answer)) if not answer.ok else f"left {known.on_list} by listmonk"
                sending.outcomes.append(Outcome(row_id, "rejected", reason))
        return [read.get(row.contact.id, (row, known)) for row, known in rows]

    def _in(self, row: Prepared, known: Subscriber) -> bool:
        return not known.out(self._destination, of_all=row.request.blocks)

    def _write_row(self, batch: Batch, sending: Sending, pair: Row) -> Outcome:
        row, known = pair
        return sending.attempt(row.contact.id, lambda: self._written(row, known, batch.deadline))

    def _written(self, row: Prepared, known: Subscriber | None, deadline: float) -> Outcome:
        """Write one subscriber and judge what listmonk then shows of it."""
        row_id, wanted = row.contact.id, row.request
        if known is None and wanted.values is None:
            return Outcome(row_id, "acked")  # whoever is not there holds nothing of ours
        if known is not None and known.shows(wanted):
            return Outcome(row_id, "acked")
        if known is not None and not known.usable:
            if wanted.values is None:
                return Outcome(row_id, "acked")
            reason = f"the attribute '{self._destination.attribute}' holds something that is not ours"
            return Outcome(row_id, "rejected", f"{reason}: choose another name with `attribute`")
        if known is None:
            body = new_subscriber(self._destination, self._server.list_id, wanted)
            answer = self._http.call("POST", "/subscribers", body=body, deadline=deadline)
        else:
            body = change(self._destination, known, wanted)
            answer = self._http.call("PATCH", f"/subscribers/{known.id}", body=body, deadline=deadline)
        if known is not None and answer.status in _NO_SUCH_ROUTE:
            self._server.cannot_patch()
            return Outcome(row_id, "planned")
        if not answer.ok:
            return self._refused(row, known, answer)
        shown = subscriber(self._destination, self._server.list_id, answer.body["data"])
        if known is None and not shown.shows(wanted):
            return Outcome(row_id, "planned")  # somebody added them a moment before, and version 1 says no word of it
        if not shown.shows(wanted):
            return Outcome(row_id, "rejected", f"listmonk did not keep the attribute '{self._destination.attribute}'")
        if known is None and not shown.joined:
            return Outcome(row_id, "rejected", f"listmonk added them without the list: {LIST_HINT}")
        return Outcome(row_id, "acked")

    def _refused(self, row: Prepared, known: Subscriber | None, answer: Answer) -> Outcome:
        """What a refusal means: somebody may have added, or deleted, the subscriber meanwhile."""
        if row.request.opts_out:
            return Outcome(row.contact.id, "acked")  # opted out already: that must not fail because of a value
        now = self._server.look_up([row.request.address]).get(row.request.address)
        if (now is None) != (known is None):
            return Outcome(row.contact.id, "planned")
        return Outcome(row.contact.id, "rejected", self._http.redact(words(answer)))

    def _arrived(self, row: Prepared, known: Subscriber | None) -> bool:
        wanted: Wish = row.request
        if known is None:
            return wanted.values is None
        if wanted.opts_out and self._in(row, known):
            return False
        return known.shows(wanted) and (wanted.values is None or known.joined)
