"""What consent events add up to, per identifier and per person. One rule, in SQL, for every question about consent.

The latest event counts; at the same moment an opt-out beats an opt-in. As a maximum it does not depend on the order
of events, on repetition, or on folding in parts.

A grant that waits for its confirmation is no event for this rule until it is confirmed in time; then it counts from
the moment it was said. So a confirmation can't revive what was withdrawn since, however often it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, or_, select, text, type_coerce

from personalization.ledger.consent_event import CONFIRM_BY, DOUBLE_OPT_IN_ID, OPT_OUT
from personalization.ledger.engine import fetch_columns, fetch_texts, one_of
from personalization.ledger.schema import OPTED_OUT, consent_events

GRANTED, WITHDRAWN = "granted", "withdrawn"

_STATE = [("state", pa.string()), ("effective_at", pa.timestamp("us", tz="UTC")), ("event_id", pa.string())]
SNAPSHOT = pa.schema([("subject_token", pa.string()), *_STATE])
_SAID = pa.schema(
    [
        ("subject_token", pa.string()),
        ("action", pa.string()),
        ("effective_at", pa.timestamp("us", tz="UTC")),
        ("event_id", pa.string()),
        ("evidence", pa.string()),
    ]
)
CUSTOMERS = pa.schema([("customer_token", pa.string()), *_STATE])


def read_events(
    connection: Connection,
    purpose: str,
    *,
    after_seq: int = 0,
    up_to_seq: int | None = None,
    effective_before: int | None = None,
    subjects: Sequence[str] | None = None,
) -> pa.Table:
    """The events of a purpose as rows of the schema SNAPSHOT: what each of them would make of its subject's state.

    Grants that wait for a confirmation are there when they are confirmed, and confirmations never.

    Parameters
    ----------
    after_seq, up_to_seq : int
        Only events numbered above the first and not above the second. With a confirmation comes the grant that it
        confirms, also when that has a smaller number.
    effective_before : int, optional
        Only events effective before this microsecond since 1970 UTC.
    subjects : sequence of str, optional
        Only events of these identifier tokens.
    """
    columns = consent_events.c
    query = select(
        columns.subject_token,
        case((columns.action.in_(OPT_OUT), 1), else_=0).label("withdrawn"),
        _EFFECTIVE_AT.label("effective_at"),
        columns.event_id,
        case((_IN_TWO_STEPS, 1), else_=0).label("in_two_steps"),
    ).where(columns.purpose == purpose, columns.seq > after_seq)
    until = [] if up_to_seq is None else [columns.seq <= up_to_seq]
    if effective_before is not None:
        until.append(effective_before > _EFFECTIVE_AT)
    if subjects is not None:
        query = query.where(one_of(connection, columns.subject_token, subjects))
    found = fetch_columns(connection, query.where(*until))
    if not found[0]:
        return SNAPSHOT.empty_table()
    tokens, withdrawn, effective_at, event_ids, waiting = found
    states = pa.array([GRANTED, WITHDRAWN], pa.string()).take(pa.array(withdrawn, pa.int8()))
    arrays = [tokens, states, effective_at, event_ids]
    arrays = [pa.array(column, field.type) for column, field in zip(arrays, SNAPSHOT, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=SNAPSHOT)
    in_two_steps = pa.array(waiting, pa.int8()).cast(pa.bool_())
    if not pc.any(in_two_steps).as_py():
        return table
    # of everything there is, or of the few who said something since: their earlier grants belong to it
    asked = pc.unique(table.filter(in_two_steps)["subject_token"]).to_pylist() if after_seq else subjects
    return pa.concat_tables([table.filter(pc.invert(in_two_steps)), _confirmed(connection, purpose, asked, until)])


def read_granted(
    connection: Connection, purpose: str, *, after_seq: int = 0, subjects: Sequence[str] | None = None
) -> pa.Array:
    """The identifiers under which somebody ever agreed to a purpose, perhaps more than once.

    Less than a fold, and enough where somebody only ever agreed: then no order of events has to be known.

    Parameters
    ----------
    after_seq : int
        Only events numbered above it; with a confirmation comes the grant that it confirms.
    subjects : sequence of str, optional
        Only events of these identifier tokens.
    """
    columns = consent_events.c
    in_two_steps = case((_IN_TWO_STEPS, "1"), else_="0").label("in_two_steps")
    query = select(columns.subject_token, in_two_steps).where(
        columns.purpose == purpose, columns.action.not_in(sorted(OPT_OUT)), columns.seq > after_seq
    )
    if subjects is not None:
        query = query.where(one_of(connection, columns.subject_token, subjects))
    tokens, waiting = fetch_texts(connection, query)
    waits = pc.equal(waiting, "1")
    granted = tokens.filter(pc.invert(waits))
    if not pc.any(waits).as_py():
        return granted
    asked = pc.unique(tokens.filter(waits)).to_pylist() if after_seq else subjects
    return pa.concat_arrays([granted, _confirmed(connection, purpose, asked, [])["subject_token"].combine_chunks()])


def read_out(connection: Connection, purpose: str, *, after_seq: int = 0) -> pa.Array:
    """The identifiers under which somebody ever opted out of a purpose, perhaps more than once."""
    columns = consent_events.c
    query = select(columns.subject_token).where(columns.purpose == purpose, text(OPTED_OUT), columns.seq > after_seq)
    return fetch_texts(connection, query)[0]


_EFFECTIVE_AT = type_coerce(consent_events.c.effective_at, BigInteger)

# A confirmation, or a grant that waits for one. The text is only looked into, not parsed, because this is asked of
# every event; `_confirmed` does the rest.
_IN_TWO_STEPS = or_(
    consent_events.c.action == "confirm",
    and_(consent_events.c.action == "grant", consent_events.c.evidence.contains(f'"{DOUBLE_OPT_IN_ID}":')),
)


def _confirmed(
    connection: Connection, purpose: str, subjects: Sequence[str] | None, until: Sequence[ColumnElement[bool]]
) -> pa.Table:
    """The grants that wait for nothing, among those whose evidence speaks of a confirmation.

    Parameters
    ----------
    subjects : sequence of str, optional
        Of these identifier tokens; default: of all.
    until : sequence of conditions
        Which events there are to look at.
    """
    columns = consent_events.c
    query = select(columns.subject_token, columns.action, _EFFECTIVE_AT, columns.event_id, columns.evidence).where(
        columns.purpose == purpose, _IN_TWO_STEPS, *until
    )
    if subjects is not None:
        query = query.where(one_of(connection, columns.subject_token, subjects))
    said = connection.execute(query).fetchall()
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*said, strict=True), _SAID, strict=True)]
    return _query(
        f"""
        with steps as (
            select
                subject_token, action, effective_at, event_id,
                evidence ->> '{DOUBLE_OPT_IN_ID}' as link,
                (evidence ->> '{CONFIRM_BY}')::timestamptz as confirm_by
            from said
        )
        select subject_token, '{GRANTED}' as state, effective_at, event_id
        from steps g
        where action = 'grant' and (coalesce(link, '') = '' or exists (
            from steps c
            where c.action = 'confirm' and c.subject_token = g.subject_token and c.link = g.link
                and c.effective_at between g.effective_at and g.confirm_by
        ))
        """,  # noqa: S608  (names of ours)
        said=pa.Table.from_arrays(arrays, schema=_SAID),
    ).cast(SNAPSHOT)


def fold(events: pa.Table) -> pa.Table:
    """The one row of each subject that counts, in no particular order. Takes and returns the schema SNAPSHOT."""
    if pc.count_distinct(events["subject_token"]).as_py() == events.num_rows:
        return events
    return _latest(
        "select * from events qualify row_number() over (partition by subject_token order by {order}) = 1",
        events=events,
    ).cast(SNAPSHOT)


def merge(folded: pa.Table, events: pa.Table) -> pa.Table:
    """`fold` of everything, from what was folded before and the events since; quick when those are few."""
    if not folded.num_rows:
        return fold(events)
    touched = pc.is_in(folded["subject_token"], value_set=events["subject_token"].combine_chunks())
    again = pa.concat_tables([folded.filter(touched), events])
    return pa.concat_tables([folded.filter(pc.invert(touched)), fold(again)]).combine_chunks()


def customer_consent(snapshot: pa.Table, identity: pa.Table) -> pa.Table:
    """The state of each person, over all of the person's identifiers.

    A withdrawal on any identifier withdraws the person, unless some identifier has a *later* grant; a grant on any
    identifier grants, unless some identifier has a later or simultaneous withdrawal.

    Parameters
    ----------
    snapshot : pyarrow.Table
        `Consent.snapshot` of a purpose.
    identity : pyarrow.Table
        `identifier_token` and `customer_token`, as in `landed.identity`. A customer token also stands for itself.

    Returns
    -------
    pyarrow.Table
        `customer_token`, `state`, `effective_at`, `event_id`, ordered by customer. Who is absent never agreed: deny.
    """
    return _latest(
        """
        with said as (
            select customer_token, state, effective_at, event_id
            from snapshot join identity on identifier_token = subject_token
            union all
            select subject_token, state, effective_at, event_id
            from snapshot where subject_token in (select customer_token from identity)
        )
        select * from said
        qualify row_number() over (partition by customer_token order by {order}) = 1
        order by customer_token
        """,
        snapshot=snapshot,
        identity=identity.select(["identifier_token", "customer_token"]),
    ).cast(CUSTOMERS)


def _latest(query: str, **tables: pa.Table) -> pa.Table:
    """Run a query in which `{order}` puts the row that counts first; equal rows are told apart by their event id."""
    return _query(query.format(order=f"effective_at desc, state = '{WITHDRAWN}' desc, event_id"), **tables)


def _query(query: str, **tables: pa.Table) -> pa.Table:
    with _duckdb().cursor() as connection:
        connection.execute("set timezone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(query).to_arrow_table()


@lru_cache(maxsize=1)
def _duckdb() -> duckdb.DuckDBPyConnection:
    """An empty DuckDB in memory, kept because opening one takes longer than most folds."""
    return duckdb.connect(":memory:")
