"""The cut: the last look at consent and suppressions, after everything is rendered and joined. Nothing is added later.

It looks at the ledger as of this moment, whatever day the export is made for, and at all identifiers of a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection
from sqlalchemy import Connection

from personalization.ledger import Ledger, customer_consent
from personalization.ledger.token_key import require_current
from personalization.program.models import Purpose
from personalization.stages.export import cut_queries as queries

CONTACTS = pa.schema(
    [("key", pa.string()), ("purpose", pa.string()), ("customer_token", pa.string()), ("address_token", pa.string())]
)
ONE_BY_ONE = 100_000  # up to so many identifiers are looked up in the record of consent instead of reading all of it
FEW = 5_000  # up to so many contacts are looked at one by one at once
ERASED = "s1_"
"""How the tokens of erased people begin."""
BLOCKED = pa.schema([("key", pa.string()), ("reason", pa.string()), ("opted_out", pa.bool_())])


class Contact(NamedTuple):
    """One contact as the cut sees it.

    Attributes
    ----------
    key : str
        By which the answer names it.
    purpose : str
        For which it would be written to.
    identifiers : tuple of str
        Tokens that are known to belong to it: of its customer, of its address, perhaps of the address as an erased one.
    covered_by : tuple of str
        Tokens that are not its own, but whose opt-outs count for it: of the mailbox behind a `+tag` address.
    """

    key: str
    purpose: str
    identifiers: tuple[str, ...]
    covered_by: tuple[str, ...] = ()


Erased = Callable[[Collection[str]], Mapping[str, str]]
"""From suppression tokens of erased people to contacts, by key, whose address is of one of them, with that token.

To make such a token of each address takes longer than all the rest of a look; it is needed only when there are any.
"""


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
    identity : pyarrow.Table or callable
        `identifier_token`, `customer_token` of landed.identity; where there is a column `covers` that is true, the
        identifier is not the person's own, but its opt-outs count for the person (landed.identity_covers).
        Or what opens a new connection to a database that has the two as its tables or views `identity` and `covers`.
        Then nothing is copied, and the database must stay open as long as this.
    """

    def __init__(
        self, ledger: Ledger, purposes: Mapping[str, Purpose], identity: pa.Table | Callable[[], DuckDBPyConnection]
    ) -> None:
        self.ledger, self._purposes = ledger, purposes
        self._connect = _in_memory(identity).cursor if isinstance(identity, pa.Table) else identity
        self.engine = self._connect()
        with ledger.read():  # from here on the token key that it is under is known, and stays the same
            pass
        of_others = """
            select identifier_token from (from identity union all from covers)
            where starts_with(identifier_token, 't1_') and not starts_with(identifier_token, $current) limit 1
        """
        found = self.engine.execute(of_others, {"current": f"t1_{ledger.token_key}_"}).fetchall()
        require_current(ledger.token_key, (token for (token,) in found))

    def close(self) -> None:
        """Let go of the database that the identities are in."""
        self.engine.close()

    def blocked(
        self, contacts: Iterable[Contact], *, erased: Erased | None = None, snapshot: Connection | None = None
    ) -> dict[str, Block]:
        """The blocked ones among some contacts, by `key`.

        Parameters
        ----------
        erased : callable, optional
            Finds contacts whose addresses were erased, where that is not among their identifiers.
        snapshot : Connection, optional
            An open `Ledger.read` snapshot to look through; default: the ledger as of this call.

        Raises
        ------
        LedgerError
            Consent or suppressions can't be read: nothing may be sent.
        """
        contacts = list(contacts)
        if not contacts:
            return {}
        if snapshot is None:
            with self.ledger.read() as reader:
                return self.blocked(contacts, erased=erased, snapshot=reader)
        if erased is not None:
            known = self.ledger.suppressions.snapshot(connection=snapshot)["identifier_token"].to_pylist()
            contacts = with_erased(contacts, erased, {token for token in known if token.startswith(ERASED)})
        pairs = [(contact.key, token) for contact in contacts for token in contact.identifiers]
        own = _table(["key", "identifier_token"], pairs)
        pairs = [(contact.key, token) for contact in contacts for token in contact.covered_by]
        covering = _table(["key", "identifier_token"], pairs)
        wanted = _table(["key", "purpose"], [(contact.key, contact.purpose) for contact in contacts])
        return _by_key(self._judge(wanted, own, snapshot, covering))

    def stopped(self, contacts: pa.Table, *, snapshot: Connection | None = None) -> pa.Table:
        """`blocked` for any number of contacts.

        Parameters
        ----------
        contacts : pyarrow.Table
            Of the schema CONTACTS, each key once.

        Returns
        -------
        pyarrow.Table
            Of the schema BLOCKED, in no particular order.
        """
        if snapshot is None:
            with self.ledger.read() as reader:
                return self.stopped(contacts, snapshot=reader)
        contacts = contacts.select(CONTACTS.names)
        doubtful = self._doubtful(contacts, snapshot)
        own = pa.concat_tables(
            doubtful.select(["key", name]).rename_columns(["key", "identifier_token"])
            for name in ("customer_token", "address_token")
        )
        return self._judge(doubtful.select(["key", "purpose"]), own, snapshot)

    def opted_out(self, known: pa.Table, tokens: pa.ChunkedArray | None = None) -> pa.Table:
        """Contacts that a destination may still hold as opted in, though their people have opted out.

        Parameters
        ----------
        known : pyarrow.Table
            `Contacts.known` of the destination.
        tokens : pyarrow.ChunkedArray, optional
            Only people with one of these identifiers; default: with one of `said_out`.

        Returns
        -------
        pyarrow.Table
            `address_token`, `reason`; ordered.
        """
        with self.ledger.read() as snapshot:
            if tokens is None:
                tokens = self.said_out(pc.unique(known["purpose"]).to_pylist(), snapshot)
            found = self.stopped(self._not_retracted(known, tokens), snapshot=snapshot)
        found = found.filter(found["opted_out"]).sort_by("key")
        return pa.table({"address_token": found["key"], "reason": found["reason"]})

    def said_out(self, purposes: Iterable[str], snapshot: Connection) -> pa.ChunkedArray:
        """Identifiers that are suppressed, or by which somebody withdrew one of some purposes, at any time."""
        said = [self.ledger.suppressions.snapshot(connection=snapshot)["identifier_token"]]
        for purpose in purposes:
            opted_out = self.ledger.consent.ever_out(purpose, connection=snapshot)  # perhaps granted again since
            said.append(pa.chunked_array([opted_out]))
        return pa.chunked_array([chunk for column in said for chunk in column.chunks], pa.string())

    def person(self, customer: str, address: str) -> tuple[str, ...]:
        """All identifiers of the person behind a contact; the contact's own come first."""
        shared = self._shared
        if customer not in shared and address not in shared:
            return (customer, address)
        others = [token for own in (customer, address) for token in shared.get(own, ())]
        return tuple(dict.fromkeys((customer, address, *others)))

    def reached(self, contacts: str, tokens: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Rows of a table of contacts whose people have one of some identifiers.

        Parameters
        ----------
        contacts : str
            Name of a table of `engine` with the columns `customer_token` and `address_token`.
        """
        with self.tables(tokens=pa.table({"identifier_token": tokens})):
            return self.engine.sql(f"""
                with {queries.IDENTIFIERS}
                select * from {contacts} semi join identifiers on identifier_token = address_token
                union
                select * from {contacts} semi join identifiers on identifier_token = customer_token
            """).to_arrow_table()  # noqa: S608  (names of ours)

    def identifiers(self, tokens: pa.Array | pa.ChunkedArray) -> list[str]:
        """All identifiers of the people who have one of some, or whom one of them covers."""
        with self.tables(tokens=pa.table({"identifier_token": tokens})):
            found = self.engine.sql(f"with {queries.IDENTIFIERS} select identifier_token from identifiers order by all")  # noqa: S608
            return found.to_arrow_table()["identifier_token"].to_pylist()

    @contextmanager
    def tables(self, **tables: pa.Table) -> Iterator[None]:
        """Arrow tables as tables of `engine`, while the block runs."""
        for name, table in tables.items():
            self.engine.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self.engine.unregister(name)

    def _doubtful(self, contacts: pa.Table, snapshot: Connection) -> pa.Table:
        """Contacts that are not at once seen to be fine: the others are to be looked at one by one.

        A contact is fine when its customer token and its address are of one person, who granted the purpose by one of
        the two, and by no identifier ever withdrew it or is suppressed. That needs no order of statements and no list
        of identifiers, and it holds for nearly everybody whom an export is about to write to.
        """
        if contacts.num_rows <= FEW:
            return contacts
        suppressed = self.ledger.suppressions.snapshot(connection=snapshot)["identifier_token"]
        purposes = pc.unique(contacts["purpose"]).to_pylist()
        found = [contacts.slice(0, 0)]
        for purpose in purposes:
            these = contacts if len(purposes) == 1 else contacts.filter(pc.equal(contacts["purpose"], purpose))
            tokens = pa.chunked_array([*these["customer_token"].chunks, *these["address_token"].chunks], pa.string())
            granted = self.ledger.consent.ever_granted(purpose, tokens, connection=snapshot)
            withdrawn = self.ledger.consent.ever_out(purpose, connection=snapshot)
            out = pa.chunked_array([*suppressed.chunks, withdrawn], pa.string())
            with self.tables(granted=_column(granted), out=_column(out), these=these):
                found.append(self.engine.sql(queries.DOUBTFUL).to_arrow_table().cast(contacts.schema))
        return pa.concat_tables(found)

    @cached_property
    def _shared(self) -> dict[str, list[str]]:
        """By identifier the identifiers of its person, for people who have more than a customer id and an address."""
        query = """
            with people as (
                select customer_token, list(identifier_token) as identifiers from identity
                group by customer_token having count(*) > 2
            )
            select unnest(list_append(identifiers, customer_token)), identifiers from people
        """
        with self._connect() as engine:  # one of its own, because another thread may be using the other one
            return dict(engine.execute(query).fetchall())

    def _not_retracted(self, known: pa.Table, tokens: pa.ChunkedArray) -> pa.Table:
        """Contacts not yet retracted whose people have one of some identifiers: few, to be looked at one by one."""
        with self.tables(known=known.append_column("key", known["address_token"])):
            reached = self.reached("known", tokens)
        return reached.filter(pc.not_equal(reached["state"], "retracted"))

    def _judge(
        self, wanted: pa.Table, own: pa.Table, snapshot: Connection, covering: pa.Table | None = None
    ) -> pa.Table:
        """The blocked ones of contacts (`key`, `purpose`) with identifiers (`key`, `identifier_token`)."""
        if not wanted.num_rows:
            return BLOCKED.empty_table()
        identifiers = self._identifiers(own)
        covering = self._covering(own, covering)
        with self.tables(
            identifiers=pa.concat_tables([identifiers, covering]),
            suppressed=self.ledger.suppressions.snapshot(connection=snapshot),
        ):
            stopped = self.engine.sql(queries.STOPPED).to_arrow_table()
            with self.tables(stopped=stopped):
                asked = self.engine.sql(queries.ASKED).to_arrow_table()["token"]
        states = []
        for purpose in pc.unique(wanted["purpose"]).to_pylist():
            consent = self._consent(purpose, asked, snapshot)
            said = pa.concat_tables([self._about(consent, identifiers), self._withdrawn(consent, covering)])
            folded = customer_consent(said, identifiers)
            states.append(folded.append_column("purpose", pa.repeat(pa.scalar(purpose), len(folded))))
        without_asking = [purpose for purpose, known in self._purposes.items() if known.lawful_basis != "consent"]
        with self.tables(
            wanted=wanted,
            stopped=stopped,
            states=pa.concat_tables(states),
            unasked=pa.table({"purpose": pa.array(without_asking, pa.string())}),
        ):
            return self.engine.sql(queries.BLOCKED).to_arrow_table().cast(BLOCKED)

    def _consent(self, purpose: str, asked: pa.ChunkedArray, snapshot: Connection) -> pa.Table:
        """The snapshot of a purpose, at least of some identifiers: of few it is read one by one, of many as a whole."""
        if len(asked) > ONE_BY_ONE:
            return self.ledger.consent.snapshot(purpose, connection=snapshot)
        return self.ledger.consent.snapshot(purpose, subjects=asked.to_pylist(), connection=snapshot)

    def _about(self, consent: pa.Table, identifiers: pa.Table) -> pa.Table:
        """What was said under some identifiers: few, so that the rest of the work is small."""
        with self.tables(consent=consent, identifiers=identifiers):
            return (
                self.engine.sql(
                    "select * from consent where subject_token in (select identifier_token from identifiers)"
                    " or subject_token in (select customer_token from identifiers)"
                )
                .to_arrow_table()
                .cast(consent.schema)
            )

    def _withdrawn(self, consent: pa.Table, covering: pa.Table) -> pa.Table:
        """Withdrawals by identifiers that cover contacts, as if the contacts had said them."""
        with self.tables(consent=consent, covering=covering):
            return (
                self.engine.sql("""
                select k.customer_token as subject_token, c.* exclude (subject_token)
                from consent c join covering k on k.identifier_token = c.subject_token
                where c.state = 'withdrawn'
            """)
                .to_arrow_table()
                .cast(consent.schema)
            )

    def _covering(self, own: pa.Table, more: pa.Table | None) -> pa.Table:
        """Identifiers whose opt-outs cover the people behind contacts: as `_identifiers`, but not the people's own."""
        more = own.slice(0, 0) if more is None else more
        with self.tables(own=own, more=more):
            return self.engine.sql("""
                with people as (
                    select o.key, i.customer_token from own o join identity i using (identifier_token)
                    union
                    select key, identifier_token from own
                )
                select c.identifier_token, p.key as customer_token from people p join covers c using (customer_token)
                union
                select identifier_token, key from more
            """).to_arrow_table()

    def _identifiers(self, own: pa.Table) -> pa.Table:
        """All identifiers of the people behind contacts: `identifier_token`, and as customer the contact's key.

        A contact may have been written under a customer token that has since been merged into another one, so its
        person is looked up by every identifier it has.
        """
        with self.tables(own=own):
            return self.engine.sql("""
                with people as (
                    select o.key, i.customer_token from own o join identity i using (identifier_token)
                    union
                    select key, identifier_token from own
                )
                select i.identifier_token, p.key as customer_token from people p join identity i using (customer_token)
                union
                select identifier_token, key from own
            """).to_arrow_table()


def with_erased(contacts: list[Contact], erased: Erased, tokens: Collection[str]) -> list[Contact]:
    """Contacts, with the token of the address as an erased one where it is among some tokens."""
    found = erased(tokens) if tokens else {}
    return [
        contact._replace(identifiers=(*contact.identifiers, found[contact.key])) if contact.key in found else contact
        for contact in contacts
    ]


def _in_memory(identity: pa.Table) -> DuckDBPyConnection:
    """An engine of its own with a copy of the identities, for which the warehouse need not stay open."""
    if "covers" not in identity.column_names:
        identity = identity.append_column("covers", pa.repeat(pa.scalar(False), len(identity)))
    engine = duckdb.connect()
    engine.register("source", identity)
    for name, which in (("identity", "not covers"), ("covers", "covers")):
        engine.execute(f"create table {name} as select identifier_token, customer_token from source where {which}")  # noqa: S608
    engine.unregister("source")
    return engine


def _column(tokens: pa.Array | pa.ChunkedArray) -> pa.Table:
    return pa.table({"token": tokens})


def _table(names: list[str], rows: list[tuple[str, str]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})


def _by_key(found: pa.Table) -> dict[str, Block]:
    rows = zip(*(found[name].to_pylist() for name in BLOCKED.names), strict=True)
    return {key: Block(reason, opted_out) for key, reason, opted_out in rows}
