"""HubSpot: contacts by our own unique property, opt-outs by address. Why: docs/decisions/0012-hubspot-contacts.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.program.models import HubspotDestination
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
from personalization.stages.export.adapters.http import Bearer, Http, Pace
from personalization.stages.export.adapters.hubspot_consent import Consent
from personalization.stages.export.adapters.hubspot_crm import Crm
from personalization.stages.export.adapters.hubspot_results import HubspotResults
from personalization.stages.export.adapters.hubspot_rows import Rows
from personalization.stages.export.adapters.hubspot_segments import HubspotSegments
from personalization.stages.export.adapters.hubspot_setup import Setup
from personalization.stages.export.adapters.hubspot_shapes import MOST, Paths, Record, special, wanted
from personalization.stages.export.adapters.traffic import Traffic

BASE_URL = "https://api.hubapi.com"
CONNECTIONS = 8
# a string property takes 65,536 characters (knowledge base); the rows of one cut go out as batches of 100 side by side
LIMITS = Limits(rows=CONNECTIONS * MOST, urgent_rows=MOST, text_bytes=65_536, patience=900.0)
KEY_HINT = "check the token: HubSpot, Settings, Integrations, Private apps; then the variable that holds it"


class HubspotAdapter:
    """Writes contacts of one account.

    Parameters
    ----------
    destination : HubspotDestination
    name : str
        Of the destination, for messages.
    token : str
        Resolved from the environment.
    base_url : str, optional
        Default: HubSpot's.
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
        Replaced in tests.
    """

    limits = LIMITS

    def __init__(
        self,
        destination: HubspotDestination,
        name: str,
        *,
        token: str,
        base_url: str | None = None,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination = destination
        self._http = Http(
            "HubSpot",
            base_url or BASE_URL,
            auth=Bearer(token),
            secrets=[token],
            connections=CONNECTIONS,
            pace=Pace(destination.requests_per_10_seconds, 10.0),
            special=special,
            key_hint=KEY_HINT,
            traffic=traffic,
            clock=clock,
        )
        paths = Paths(destination.api_version)
        self._consent = consent = Consent(
            self._http, paths, destination.legal_basis, destination.legal_basis_explanation
        )
        self._crm = Crm(self._http, paths, destination.id_property)
        self._setup = Setup(destination, name, self._http, paths, consent)
        self._rows = Rows(destination, self._http, paths, self._crm, consent)

    def results(self) -> HubspotResults:
        """The reader of what became of mailings."""
        return HubspotResults(self._destination, self._http)

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """See `Adapter.setup`. Two requests when nothing is missing, and one for each list."""
        made = self._setup.properties(known_fields)
        self._setup.subscriptions()
        self._rows.lists, lists = self._setup.lists(known_fields)
        return made + lists

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        """A customer is one contact: a second row with the same id would move it to and fro between two addresses."""
        prepared, unfit, seen = [], [], set()
        for contact in contacts:
            if contact.operation in ("add", "change"):
                if contact.external_id in seen:
                    unfit.append(Outcome(contact.id, "invalid", "the customer has another row with another address"))
                    continue
                seen.add(contact.external_id)
            prepared.append(Prepared(contact, wanted(self._destination, contact)))
        return prepared, unfit

    def send(self, batch: Batch) -> Sent:
        """Who leaves first: an address that one customer leaves may be another's new one."""
        leaving = [row for row in batch.rows if row.contact.operation in ("remove", "retract")]
        coming = [row for row in batch.rows if row.contact.operation in ("add", "change")]
        sent = [
            *self._chunks(leaving, lambda rows: self._rows.take_away(rows, batch.deadline)),
            *self._chunks(coming, lambda rows: self._rows.bring(rows, batch.deadline)),
        ]
        waits = [one.retry_after for one in sent if one.retry_after is not None]
        refusals = [one.refused for one in sent if one.refused]
        outcomes = [outcome for one in sent for outcome in one.outcomes]
        return Sent(outcomes, retry_after=max(waits, default=None), refused=refusals[0] if refusals else None)

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """HubSpot answers at once: nothing is worked on later."""
        return []

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """See `Adapter.reconcile`. What is not there as it should be is sent again: that twice is that once."""
        chunks = [batch.rows[first : first + MOST] for first in range(0, len(batch.rows), MOST)]
        return [outcome for chunk in chunks for outcome in self._rows.look_at(chunk)]

    def holdings(self) -> Iterator[Holding]:
        """See `Adapter.holdings`. Whether HubSpot would mail a contact is in properties that follow its opt-outs.

        How soon they follow is not documented.
        """
        names = [field.name for field in self._destination.fields]
        opt_outs = ["hs_email_optout", *(f"hs_email_optout_{one}" for one in self._destination.subscription_ids)]
        try:
            for page in self._crm.pages(["email", *names, *opt_outs]):
                for record in page:
                    if record.address:
                        active = not any(record.holds(name).lower() == "true" for name in opt_outs)
                        yield Holding(record.address, active, {name: record.holds(name) for name in names})
        except (Lost, Postponed) as problem:
            raise DestinationError(problem.reason, hint="only read; try again when it is up") from None

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """See `Adapter.shown`: contacts with every property that has a value, and what their addresses opted out of."""
        records = self._records(addresses, external_ids, self._setup.all_properties())
        found: list[dict[str, Any]] = [
            {"id": record.id, "properties": {name: value for name, value in record.properties.items() if value}}
            for record in records
        ]
        for address in sorted({record.address for record in records if record.address}):
            found.append({"address": address, "opted_out_of": sorted(map(str, self._consent.opt_outs(address)))})
        return found

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """See `Adapter.erase`. HubSpot's deletion for the GDPR, which can't be undone."""
        return sum(self._crm.delete_for_good(record) for record in self._records(addresses, external_ids, ["email"]))

    def _records(self, addresses: Sequence[str], external_ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """Contacts by address and by our own id, each once."""
        records: dict[str, Record] = {}
        by_customer = self._setup.has_id_property()  # else nothing was ever exported
        for first in range(0, max(len(addresses), len(external_ids)), MOST):
            chunk = slice(first, first + MOST)
            found = self._crm.read(addresses[chunk], names, "email")
            if by_customer:
                found += self._crm.read(external_ids[chunk], names, self._destination.id_property)
            records |= {record.id: record for record in found}
        return list(records.values())

    def segments(self) -> HubspotSegments:
        """The account's active lists."""
        return HubspotSegments(self._http, Paths(self._destination.api_version))

    def _chunks(self, rows: Sequence[Prepared], work: Callable[[Sequence[Prepared]], Sent]) -> list[Sent]:
        """Work on batches of 100 at the same time."""
        chunks = [rows[first : first + MOST] for first in range(0, len(rows), MOST)]
        if len(chunks) < 2:
            return [work(chunk) for chunk in chunks]
        with ThreadPoolExecutor(max_workers=min(CONNECTIONS, len(chunks))) as pool:
            return list(pool.map(work, chunks))
