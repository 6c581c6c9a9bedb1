"""The plan of an export: the difference between what a destination should hold and what it acknowledged.

The same function plans for `personalization plan` and for the export itself, so both have the same plan hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from personalization.as_of import AsOf
from personalization.ledger.contacts import Contacts
from personalization.ledger.export_books import ExportBooks
from personalization.ledger.frequency import CAP, CHOICE, GAP, HOLDS, RELEASED, WIN_BACK
from personalization.ledger.rejections import Rejections
from personalization.ledger.schema import now as wall_time
from personalization.stages.export.adapters.registry import check_fields, destination_of, mapping_version
from personalization.stages.export.cut import Cut
from personalization.stages.export.desired import DECISIONS, DESIRED, create_desired, mark_doubles
from personalization.stages.export.frequency import Frequency, frequency_for
from personalization.stages.export.guard import HISTORY_DAYS, mass_change
from personalization.stages.export.links import link_table
from personalization.stages.export.same_links import keep_same_links
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.runtime import Runtime

IDENTITY, COVERS = "landed.identity", "landed.identity_covers"
SAMPLES = 5
MAILED = (RELEASED, GAP, CAP, CHOICE, WIN_BACK)  # reasons for which only those leave an audience who were mailed
_OPERATIONS = ("retract", "remove", "change", "add")
_STOPPED = ("suppressed", "invalid", "held")


@dataclass(frozen=True)
class Plan:
    """What an export would do.

    Attributes
    ----------
    rows : pyarrow.Table
        For the outbox, in the order in which they will be sent: `operation`, `customer_token`, `address_token`,
        `campaign`, `purpose`, `payload`, `row_hash`, `state` (planned, suppressed, invalid or held), `reason`.
    counts : dict
        Rows that would be sent by retract, remove, change, add; and those that would not: suppressed, invalid,
        and held: what the destination refused several times waits for its day (see `ledger.rejections`), and what
        would put people into an audience in their quiet hours waits for the next run.
    desired, unchanged, present : int
        Contacts that should be there, that are already as they should be, that are there.
    guard : str or None
        What the mass-change guard objects to.
    hash : str
        Over everything that would be done: equal plans have equal hashes.
    """

    destination: str
    platform: str
    as_of: AsOf
    rows: pa.Table
    counts: dict[str, int]
    desired: int
    unchanged: int
    present: int
    guard: str | None
    mapping_version: str
    hash: str

    @property
    def sends(self) -> bool:
        """Whether anything is to be sent."""
        return any(self.counts[operation] for operation in _OPERATIONS)

    @property
    def samples(self) -> dict[str, list[str]]:
        """A few customer tokens of each operation, and of rows that would not be sent with the reason."""
        found: dict[str, list[str]] = {}
        for name in (*_OPERATIONS, *_STOPPED):
            chosen = pc.equal(self.rows["state"], name if name in _STOPPED else "planned")
            if name in _OPERATIONS:
                chosen = pc.and_(chosen, pc.equal(self.rows["operation"], name))
            rows = self.rows.filter(chosen).slice(0, SAMPLES).select(["customer_token", "reason"]).to_pylist()
            found[name] = [": ".join(filter(None, (row["customer_token"], row["reason"]))) for row in rows]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The plan without its rows."""
        return {
            "destination": self.destination,
            "platform": self.platform,
            "as_of": self.as_of.key,
            **self.counts,
            "desired": self.desired,
            "unchanged": self.unchanged,
            "present": self.present,
            "guard": self.guard,
            "hash": self.hash,
            "samples": self.samples,
        }


def plan_destination(runtime: Runtime, name: str, as_of: AsOf, *, now: Callable[[], datetime] = wall_time) -> Plan:
    """Plan the export of a day to a destination. Nothing is sent and nothing is written.

    `now` gives the moment: who was mailed by others shortly before it is not mailed now.

    Raises
    ------
    ExportError
        There is no destination of this name.
    ProgramError
        Its fields can't be mapped.
    DataError
        There are no decisions.
    LedgerError
        What the destination acknowledged, or who opted out, can't be read.
    """
    destination = destination_of(runtime.program, name)
    check_fields(runtime.program, name)
    ledger = runtime.ledger
    with (
        runtime.warehouse.connect() as session,
        closing(Cut(ledger, runtime.program.purposes, lambda: _identities(session))) as cut,
        ThreadPoolExecutor(max_workers=1) as reader,  # the ledger is read while the warehouse works
    ):
        acknowledged = reader.submit(Contacts(ledger).known, name)
        judged = reader.submit(lambda: cut.opted_out(acknowledged.result()))
        create_desired(session, runtime.program, name, destination, as_of, link_table(session, runtime, name, as_of))
        known = acknowledged.result()
        mark_doubles(session, known)
        keep_same_links(session, runtime, name, destination, known)
        waiting = Rejections(runtime.ledger).waiting(name, as_of.day)
        with session.registered(_known=known, _opted_out=judged.result(), _waiting=waiting):
            rows = session.arrow(_DIFFERENCE)
            mailed = _mailed(session, rows, as_of)
            desired, present = session.rows(_TOTALS)[0]
        session.execute(f"drop table {DESIRED}")
        planned = len(rows.filter(pc.is_in(rows["operation"], value_set=pa.array(["add", "change"]))))
        frequency = frequency_for(session, runtime.ledger, runtime.program, name, as_of, now)
        rows = _stopped(rows, cut, frequency)
    counts = dict.fromkeys((*_OPERATIONS, *_STOPPED), 0)
    for row in rows.group_by(["operation", "state"]).aggregate([([], "count_all")]).to_pylist():
        counts[row["operation"] if row["state"] == "planned" else row["state"]] += row["count_all"]
    first_day = as_of.shift(-HISTORY_DAYS)
    guard = mass_change(
        destination.guard,
        desired=desired,
        present=present,
        removes=counts["remove"],
        mailed=mailed,
        adds=counts["add"],
        earlier_adds=ExportBooks(runtime.ledger).adds_since(name, first_day),
    )
    return Plan(
        destination=name,
        platform=destination.platform,
        as_of=as_of,
        rows=rows,
        counts=counts,
        desired=desired,
        unchanged=desired - planned,
        present=present,
        guard=guard,
        mapping_version=mapping_version(destination),
        hash=_hash(rows),
    )


def read_identity(session: Session) -> pa.Table:
    """`identifier_token`, `customer_token`, `covers`: what a `Cut` needs to know about identities."""
    query = f"select identifier_token, customer_token, false as covers from {IDENTITY}"  # noqa: S608
    if session.has_table(COVERS):
        query += f" union all select identifier_token, customer_token, true from {COVERS}"  # noqa: S608
    return session.arrow(query)


def _identities(session: Session) -> duckdb.DuckDBPyConnection:
    """What `read_identity` reads, left where it is: one more connection to the warehouse, for a `Cut`."""
    engine = session.raw.cursor()
    engine.execute("set enable_progress_bar = false")
    none = "select null::varchar as identifier_token, null::varchar as customer_token limit 0"
    for name, table in (("identity", IDENTITY), ("covers", COVERS)):
        rows = f"select identifier_token, customer_token from {table}" if session.has_table(table) else none  # noqa: S608
        engine.execute(f"create temp view {name} as {rows}")
    return engine


def _mailed(session: Session, rows: pa.Table, as_of: AsOf) -> int:
    """How many leave their campaign's audience because they have been mailed: that is how each mailing ends."""
    removed = rows.filter(pc.equal(rows["operation"], "remove")).select(["customer_token", "campaign"])
    if not removed.num_rows:
        return 0
    with session.registered(_removed=removed):
        query = f"""
            select count(*) from _removed join {DECISIONS} d using (customer_token, campaign)
            where d.as_of = $1 and d.reason in (select unnest($2))
        """  # noqa: S608  (a name of ours)
        return int(session.value(query, [as_of.day, list(MAILED)]))


def _stopped(rows: pa.Table, cut: Cut, frequency: Frequency | None) -> pa.Table:
    """Mark the rows that the cut would stop if it were now. When they are sent, it looks again."""
    written = pc.and_(
        pc.equal(rows["state"], "planned"), pc.is_in(rows["operation"], value_set=pa.array(["add", "change"]))
    )
    sent = rows.filter(written).select(["address_token", "customer_token", "purpose", "campaign"])
    found = cut.stopped(sent.append_column("key", sent["address_token"]))
    reasons = dict(zip(found["key"].to_pylist(), found["reason"].to_pylist(), strict=True))
    if frequency is not None:
        left = sent.filter(pc.invert(pc.is_in(sent["address_token"], value_set=pa.array(reasons, pa.string()))))
        reasons |= frequency.foresee(left.to_pylist(), cut)
    if not reasons:
        return rows
    stopped = pc.and_(written, pc.is_in(rows["address_token"], value_set=pa.array(sorted(reasons))))
    words = [
        reasons[address] if stop else None
        for address, stop in zip(rows["address_token"].to_pylist(), stopped.to_pylist(), strict=True)
    ]
    shown = pc.coalesce(pa.array(words, pa.string()), rows["reason"])
    waiting = pc.and_(stopped, pc.is_in(shown, value_set=pa.array(sorted(HOLDS))))
    states = pc.if_else(waiting, "held", pc.if_else(stopped, "suppressed", rows["state"]))
    names = rows.schema.names
    return rows.set_column(names.index("state"), "state", states).set_column(names.index("reason"), "reason", shown)


# Retractions first: an opt-out must never wait behind a campaign. An invalid row leaves what is there as it is.
_DIFFERENCE = f"""
    with compared as materialized (
        select d.*, k.address_token as known_address, k.state as known_state
        from {DESIRED} d
        full join (select address_token, state, row_hash from _known) k on k.address_token = d.address_token
        where d.problem is not null or k.state is distinct from 'present' or k.row_hash is distinct from d.row_hash
    ),
    wanted as (
        select
            case when d.known_state = 'present' then 'change' else 'add' end as operation,
            d.customer_token,
            d.address_token,
            d.campaign,
            d.purpose,
            d.payload,
            d.row_hash,
            case when d.problem is not null then 'invalid' when w.reason is not null then 'held' else 'planned' end
                as state,
            coalesce(d.problem, w.reason) as reason
        from compared d
        left join _waiting w on w.address_token = d.address_token and w.row_hash = d.row_hash
        where d.customer_token is not null
    ),
    leaving as (
        select 'retract' as operation, address_token from _opted_out
        union all
        select 'remove', known_address from compared
        where customer_token is null and known_state = 'present'
            and known_address not in (select address_token from _opted_out)
    ),
    unwanted as (
        select
            l.operation,
            k.customer_token,
            k.address_token,
            k.campaign,
            k.purpose,
            '{{}}' as payload,
            '' as row_hash,
            'planned' as state,
            null::varchar as reason
        from _known k
        join leaving l using (address_token)
    )
    select *
    from (from wanted union all from unwanted)
    order by
        list_position(['retract', 'remove', 'change', 'add'], operation),
        address_token nulls last, customer_token, campaign
"""  # noqa: S608

_TOTALS = f"select (select count(*) from {DESIRED}), (select count(*) from _known where state = 'present')"  # noqa: S608


def _hash(rows: pa.Table) -> str:
    """SHA-256 over a line for each row, with its values apart by a unit separator (U+001F), an empty one for null."""
    digest = hashlib.sha256()
    columns = ("operation", "state", "customer_token", "address_token", "row_hash", "reason")
    for batch in rows.select(list(columns)).to_batches(max_chunksize=100_000):
        values = [pc.coalesce(column, "") for column in batch.columns]
        lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*values, "\x1f"), "", "\n")
        digest.update(pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "")[0].as_buffer())
    return digest.hexdigest()
