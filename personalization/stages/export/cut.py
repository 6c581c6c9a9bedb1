"""The cut: the last look at consent and suppressions, after everything is rendered and joined. Nothing is added later.

It looks at the ledger as of this moment, whatever day the export is made for, and at all identifiers of a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from personalization.ledger import Ledger, customer_consent
from personalization.program.models import Purpose


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact as the cut sees it.

    Attributes
    ----------
    key : str
        By which the answer names it.
    purpose : str
        For which it would be written to.
    identifiers : tuple of str
        Tokens that are known to belong to it: of its customer, of its address, of the address as an erased one.
    """

    key: str
    purpose: str
    identifiers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Why a contact must not be written to. `opted_out`: by a person's or platform's word, not for want of consent."""

    reason: str
    opted_out: bool


class Cut:
    """Answers who must not be sent anything, now.

    Parameters
    ----------
    ledger : Ledger
    purposes : mapping
        Of the program; purposes that rest on consent need a grant, others only no withdrawal.
    identity : pyarrow.Table
        `identifier_token`, `customer_token` of landed.identity.
    """

    def __init__(self, ledger: Ledger, purposes: Mapping[str, Purpose], identity: pa.Table) -> None:
        self._ledger, self._purposes = ledger, purposes
        self._engine = duckdb.connect()
        self._engine.register("source", identity)
        self._engine.execute("create table identity as select identifier_token, customer_token from source")
        self._engine.unregister("source")

    def person(self, customer: str, address: str) -> tuple[str, ...]:
        """All identifiers of the person behind a contact; the contact's own come first."""
        others = [token for own in (customer, address) for token in self._shared.get(own, ())]
        return tuple(dict.fromkeys((customer, address, *others)))

    @cached_property
    def _shared(self) -> dict[str, list[str]]:
        """By identifier the identifiers of its person, for people who have more than a customer id and an address."""
        rows = self._engine.execute("""
            with people as (
                select customer_token, list(identifier_token) as identifiers from identity
                group by customer_token having count(*) > 2
            )
            select unnest(list_append(identifiers, customer_token)), identifiers from people
        """).fetchall()
        return dict(rows)

    def blocked(self, contacts: Iterable[Contact]) -> dict[str, Block]:
        """The blocked ones among some contacts, by `key`.

        Raises
        ------
        LedgerError
            Consent or suppressions can't be read: nothing may be sent.
        """
        contacts = list(contacts)
        if not contacts:
            return {}
        identifiers = self._identifiers(contacts)
        with self._ledger.read() as snapshot:
            suppressed = self._suppressed(identifiers, self._ledger.suppressions.snapshot(connection=snapshot))
            consent = {
                purpose: _states(self._ledger.consent.snapshot(purpose, connection=snapshot), identifiers)
                for purpose in sorted({contact.purpose for contact in contacts})
            }
        blocks = {
            contact.key: self._block(
                contact.purpose, suppressed.get(contact.key), consent[contact.purpose].get(contact.key)
            )
            for contact in contacts
        }
        return {key: block for key, block in blocks.items() if block}

    def opted_out(self, known: pa.Table) -> pa.Table:
        """Contacts that a destination may still hold as opted in, though their people have opted out.

        Parameters
        ----------
        known : pyarrow.Table
            `Contacts.known` of the destination.

        Returns
        -------
        pyarrow.Table
            `address_token`, `reason`; ordered.
        """
        with self._ledger.read() as snapshot:
            tokens = self._ledger.suppressions.snapshot(connection=snapshot)["identifier_token"].to_pylist()
            for purpose in pc.unique(known["purpose"]).to_pylist():
                consent = self._ledger.consent.snapshot(purpose, connection=snapshot)
                tokens += consent.filter(pc.equal(consent["state"], "withdrawn"))["subject_token"].to_pylist()
        candidates = self._with_identifiers(known, tokens)
        blocked = self.blocked(
            Contact(row["address_token"], row["purpose"], (row["address_token"], row["customer_token"]))
            for row in candidates.to_pylist()
        )
        found = sorted((key, block.reason) for key, block in blocked.items() if block.opted_out)
        return pa.table(
            {
                "address_token": pa.array([key for key, _ in found], pa.string()),
                "reason": pa.array([reason for _, reason in found], pa.string()),
            }
        )

    def _with_identifiers(self, known: pa.Table, tokens: list[str]) -> pa.Table:
        """Contacts not yet retracted whose people have one of some identifiers: few, to be looked at one by one."""
        self._engine.register("known", known)
        self._engine.register("tokens", pa.table({"identifier_token": pa.array(tokens, pa.string())}))
        try:
            return self._engine.sql("""
                with people as (select distinct customer_token from identity join tokens using (identifier_token)),
                identifiers as (
                    select identifier_token from identity join people using (customer_token)
                    union
                    select customer_token from people
                    union
                    select identifier_token from tokens
                )
                select address_token, customer_token, purpose
                from known
                where state <> 'retracted'
                    and (address_token in (from identifiers) or customer_token in (from identifiers))
            """).to_arrow_table()
        finally:
            self._engine.unregister("known")
            self._engine.unregister("tokens")

    def _identifiers(self, contacts: list[Contact]) -> pa.Table:
        """All identifiers of the people behind the contacts: `identifier_token`, and the contact's key.

        A contact may have been written under a customer token that has since been merged into another one, so its
        person is looked up by every identifier it has.
        """
        pairs = [(contact.key, token) for contact in contacts for token in contact.identifiers]
        own = pa.table(
            {
                "key": pa.array([key for key, _ in pairs], pa.string()),
                "identifier_token": pa.array([token for _, token in pairs], pa.string()),
            }
        )
        self._engine.register("own", own)
        try:
            return self._engine.sql("""
                with people as (
                    select o.key, i.customer_token from own o join identity i using (identifier_token)
                    union
                    select key, identifier_token from own
                )
                select i.identifier_token, p.key as customer_token from people p join identity i using (customer_token)
                union
                select identifier_token, key from own
            """).to_arrow_table()
        finally:
            self._engine.unregister("own")

    def _suppressed(self, identifiers: pa.Table, suppressions: pa.Table) -> dict[str, str]:
        self._engine.register("identifiers", identifiers)
        self._engine.register("suppressions", suppressions)
        try:
            return dict(
                self._engine.execute("""
                    select customer_token, min(reason)
                    from identifiers join suppressions using (identifier_token)
                    group by customer_token
                """).fetchall()
            )
        finally:
            self._engine.unregister("identifiers")
            self._engine.unregister("suppressions")

    def _block(self, purpose: str, suppressed: str | None, state: str | None) -> Block | None:
        if suppressed is not None:
            return Block(f"suppressed: {suppressed}", opted_out=True)
        if state == "withdrawn":
            return Block("withdrawn", opted_out=True)
        known = self._purposes.get(purpose)
        if state is None and (known is None or known.lawful_basis == "consent"):
            return Block("no_consent", opted_out=False)
        return None


def _states(snapshot: pa.Table, identifiers: pa.Table) -> dict[str, str]:
    folded = customer_consent(snapshot, identifiers)
    return dict(zip(folded["customer_token"].to_pylist(), folded["state"].to_pylist(), strict=True))
