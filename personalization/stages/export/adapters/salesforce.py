"""Salesforce Marketing Cloud Engagement: one data extension by REST, opt-outs in All Subscribers by SOAP.

Why: docs/decisions/0013-salesforce-rows.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import SalesforceDestination
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
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.salesforce_results import SalesforceResults
from personalization.stages.export.adapters.salesforce_rows import AT_ONCE, LATER, DataExtension
from personalization.stages.export.adapters.salesforce_segments import SalesforceSegments
from personalization.stages.export.adapters.salesforce_setup import Setup
from personalization.stages.export.adapters.salesforce_shapes import Row, differing, special, wanted, words
from personalization.stages.export.adapters.salesforce_soap import Soap, by_address
from personalization.stages.export.adapters.salesforce_soap import special as soap_special
from personalization.stages.export.adapters.salesforce_token import KEY_HINT, Token
from personalization.stages.export.adapters.traffic import Traffic

LIMITS = Limits(rows=LATER, urgent_rows=AT_ONCE, open_batches=5, text_bytes=4_000, patience=1800.0)
CONNECTIONS = 4


class SalesforceAdapter:
    """Writes rows of one data extension.

    Parameters
    ----------
    destination : SalesforceDestination
    name : str
        Of the destination, for messages.
    client_id, client_secret : str
        Of the installed package, resolved from the environment.
    base_url : str, optional
        Instead of the three addresses that the subdomain makes.
    token_file : Path, optional
        Where a token is kept for the next process.
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
        Replaced in tests.
    """

    limits = LIMITS

    def __init__(
        self,
        destination: SalesforceDestination,
        name: str,
        *,
        client_id: str,
        client_secret: str,
        base_url: str | None = None,
        token_file: Path | None = None,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        def url(service: str) -> str:
            return base_url or f"https://{destination.subdomain}.{service}.marketingcloudapis.com"

        self._destination = destination
        self._token = Token(
            url("auth"),
            client_id,
            client_secret,
            account_id=destination.account_id,
            keep=token_file,
            traffic=traffic,
            clock=clock,
        )
        self._http = Http(
            "Salesforce",
            url("rest"),
            auth=self._token,
            secrets=[client_id, client_secret],
            connections=CONNECTIONS,
            special=special,
            renew=self._token.renew,
            plain="OK",  # so it says that a query was started
            key_hint=f"{KEY_HINT}; and the scopes that docs/export.md lists",
            traffic=traffic,
            clock=clock,
        )
        soap_http = Http(
            "Salesforce",
            url("soap"),
            auth=self._token,
            secrets=[client_id, client_secret],
            connections=CONNECTIONS,
            special=soap_special,
            key_hint=KEY_HINT,
            traffic=traffic,
            clock=clock,
        )
        for http in (self._http, soap_http):
            self._token.hidden_by(http)
        self._soap = Soap(soap_http, self._token)
        self._rows = DataExtension(self._http, destination.data_extension, destination.address_column)
        self._setup = Setup(destination, name, self._http)
        self._first_looked: dict[tuple[int, int], float] = {}

    def results(self) -> SalesforceResults:
        """The reader of what became of mailings."""
        return SalesforceResults(self._soap)

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """See `Adapter.setup`. Two requests when nothing is missing."""
        return self._setup.run(known_fields)

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        return [Prepared(contact, wanted(self._destination, contact)) for contact in contacts], []

    def send(self, batch: Batch) -> Sent:
        """Opt-outs first; then few rows at once, many by a request that Salesforce works on later."""
        leaving = [row for row in batch.rows if row.contact.operation == "retract"]
        others = [row for row in batch.rows if row.contact.operation != "retract"]
        outcomes: list[Outcome] = []
        retry_after: float | None = None
        for first in range(0, len(leaving), AT_ONCE):
            outcomes += self._opt_out(leaving[first : first + AT_ONCE], batch.deadline)
        try:
            if len(others) <= AT_ONCE:
                outcomes += self._at_once(others, batch.deadline)
            else:
                receipt = self._rows.write_later([(_key(row), _row(row)) for row in others], batch.deadline)
                return Sent(outcomes, receipt=receipt)
        except Lost as lost:
            if not leaving:
                raise
            outcomes += [Outcome(row.contact.id, "uncertain", lost.reason) for row in others]
        except Postponed as postponed:
            if not leaving:
                raise
            outcomes += [Outcome(row.contact.id, "planned", postponed.reason) for row in others]
            retry_after = postponed.retry_after
        return Sent(outcomes, retry_after=retry_after)

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.collect`.

        A request without errors is Salesforce's word about all of its rows. With errors it does not say which rows
        they are about; so the rows are read back, and who is not there as sent was refused.
        """
        rows = [row for row in batch.rows if row.contact.operation != "retract"]
        state = self._rows.state(receipt)
        if state is None:
            return None
        if state:
            return [Outcome(row.contact.id, "acked") for row in rows]
        said = "; ".join(self._rows.objections(receipt)[:3]) or "no reason given"
        held = self._rows.read([_key(row) for row in rows])
        refused = f"Salesforce refused rows of the request: {said}"
        return [
            Outcome(row.contact.id, "acked") if _arrived(row, held) else Outcome(row.contact.id, "rejected", refused)
            for row in rows
        ]

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.reconcile`. A request for later that may still be under way would overwrite newer values.

        One whose answer was lost can't be asked for; after `settle_seconds` it is taken not to have arrived.
        """
        if batch.receipt:
            try:
                if self._rows.state(batch.receipt) is None:
                    return None
            except Lost:
                pass  # Salesforce has forgotten it; the rows still tell
        held = self._rows.read([_key(row) for row in batch.rows])
        leaving = [_key(row) for row in batch.rows if row.contact.operation == "retract"]
        subscribers = by_address(self._soap.subscribers(leaving)) if leaving else {}
        outcomes = []
        for row in batch.rows:
            arrived = _arrived(row, held)
            if row.contact.operation == "retract":
                known = subscribers.get(_key(row).lower(), [])
                arrived &= bool(known) and not any(one.reachable for one in known)
            outcomes.append(Outcome(row.contact.id, "acked" if arrived else "planned"))
        later = len(batch.rows) > AT_ONCE and not batch.receipt
        if later and any(outcome.state == "planned" for outcome in outcomes):
            now = self._http.clock.monotonic()
            if now - self._first_looked.setdefault((batch.run, batch.number), now) < self._destination.settle_seconds:
                return None
        return outcomes

    def holdings(self) -> Iterator[Holding]:
        """See `Adapter.holdings`: all rows, and what All Subscribers says about their addresses."""
        names = [field.name for field in self._destination.fields]
        opt_out = self._destination.opt_out_column.lower()
        column = self._destination.address_column.lower()
        try:
            for page in self._rows.pages():
                known = by_address(self._soap.subscribers([row[column] for row in page.values()]) if page else [])
                for key, row in page.items():
                    active = row.get(opt_out, "").lower() not in ("true", "1")
                    active &= all(one.reachable for one in known.get(key, []))
                    yield Holding(row[column], active, {name: row.get(name.lower(), "") for name in names})
        except (Lost, Postponed) as problem:
            raise DestinationError(problem.reason, hint="only read; try again when it is up") from None

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: rows of the data extension, and entries of All Subscribers."""
        rows: list[dict[str, Any]] = [dict(row) for row in self._rows.read(addresses).values()]
        entries = self._soap.subscribers(addresses)
        return rows + [{"SubscriberKey": e.key, "EmailAddress": e.address, "Status": e.status} for e in entries]

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """See `Adapter.erase`: their rows go, and Contact Delete, if it is enabled, takes the contacts out of the rest.

        Salesforce works on deletions of contacts for up to weeks.
        """
        keys = {one.key for one in self._soap.subscribers(addresses)} | {address.lower() for address in addresses}
        deleted = self._soap.delete_rows(self._destination.data_extension, self._destination.address_column, addresses)
        body = {"values": sorted(keys), "DeleteOperationType": "ContactAndAttributes"}
        answer = self._http.call("POST", "/contacts/v1/contacts/actions/delete", query={"type": "keys"}, body=body)
        if not answer.ok:
            raise DestinationError(
                f"Salesforce would not delete contacts: {self._http.redact(words(answer.body))}",
                hint="enable Contact Delete in Contact Builder; the rows of the data extension are gone already",
            )
        if answer.body.get("operationInitiated") is not True or answer.body.get("hasErrors"):
            raise Lost("Salesforce did not confirm that it will delete contacts")
        return deleted

    def segments(self) -> SalesforceSegments:
        """Query activities."""
        return SalesforceSegments(self._http, self._soap, self._destination)

    def _at_once(self, rows: Sequence[Prepared], deadline: float) -> list[Outcome]:
        problems = self._rows.write([(_key(row), _row(row)) for row in rows], deadline)
        return [
            Outcome(row.contact.id, "rejected", problem) if problem else Outcome(row.contact.id, "acked")
            for row, problem in zip(rows, problems, strict=True)
        ]

    def _opt_out(self, rows: Sequence[Prepared], deadline: float) -> list[Outcome]:
        """All Subscribers counts; an opt-out does not fail because of a column."""
        problems = self._soap.opt_out([_key(row) for row in rows])
        cleared = {outcome.id: outcome for outcome in self._at_once(rows, deadline)}
        outcomes = []
        for row in rows:
            problem = problems[_key(row)]
            if problem:
                said = f"Salesforce did not confirm the opt-out: {problem}"
                outcomes.append(Outcome(row.contact.id, "rejected", said))
            elif cleared[row.contact.id].state == "rejected":
                outcomes.append(Outcome(row.contact.id, "acked"))
            else:
                outcomes.append(cleared[row.contact.id])
        return outcomes


def _key(row: Prepared) -> str:
    return row.contact.address


def _row(row: Prepared) -> Row:
    made: Row = row.request
    return made


def _arrived(row: Prepared, held: dict[str, dict[str, str]]) -> bool:
    """Whether a row is there as it should be. Who is not there at all holds nothing of ours."""
    found = held.get(_key(row).lower())
    if found is None:
        return row.contact.operation in ("remove", "retract")
    return not differing(_row(row), found)
