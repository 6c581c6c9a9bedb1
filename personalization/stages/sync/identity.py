"""Which identifiers belong to one person: `landed.identity`, by connected components over the identifiers of records.

Records link identifiers: a customer record its id, e-mail and phone; a consent event its id and e-mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from personalization.stages.sync.identity_links import last_owner_query, links_folder
from personalization.warehouse import Session


@dataclass(frozen=True)
class IdentityResult:
    """How many identifiers were found, how many people they are, and how many people have several customer ids."""

    identifiers: int
    people: int
    merged: int


def write_identity(session: Session, history: Path) -> IdentityResult:
    """Write `landed.identity` from `landed.customers`, `landed.consent_events` and the links of the past.

    The person's token is the smallest of their customer ids' tokens, else of all their tokens. `linked_by` says for a
    customer id by which kinds of identifier it was joined to others, for an address or phone that it belongs to a
    `customer`, and for one of the past that it is a `former` one.
    """
    session.execute(f"create or replace temp table _records as {_records_query(session)}")
    session.execute(f"create or replace temp table _named as {_NAMED}")
    session.execute(
        "create or replace temp table _tokens as select token, kind, row_number() over (order by token) - 1"
        " as n from (select distinct token, kind from _named)"
    )
    tokens = session.arrow("select token, kind from _tokens order by n")
    links = session.arrow(
        "select a.n as a, b.n as b from _named join _tokens a on a.token = _named.customer_key"
        " join _tokens b on b.token = _named.token"
    )
    component = connected(len(tokens), links["a"].to_numpy(), links["b"].to_numpy())
    members = tokens.append_column("component", pa.array(component))
    with session.registered(_members=members), session.transaction():
        session.execute("create or replace temp table _people as " + _PEOPLE)
        session.execute(f"create or replace temp table _shared as {_SHARED}")
        identifiers = session.replace_table(
            "landed.identity",
            f"""
            select p.identifier_token, p.kind, p.customer_token,
                case when p.kind = 'customer' then s.kinds
                    when p.customer_token <> p.identifier_token then 'customer' end as linked_by
            from _people p left join _shared s on s.customer_key = p.identifier_token
            union all
            select f.identifier_token, f.kind, p.customer_token, 'former'
            from ({last_owner_query(links_folder(history))}) f join _people p on p.identifier_token = f.customer_key
            where f.identifier_token not in (select identifier_token from _people)
            order by identifier_token
            """,  # noqa: S608  (expressions of ours)
        )
        people = session.value("select count(distinct customer_token) from landed.identity")
        merged = session.value(
            "select count(*) from (select customer_token from landed.identity where kind = 'customer'"
            " group by customer_token having count(*) > 1)"
        )
        for table in ("_records", "_named", "_tokens", "_people", "_shared"):
            session.execute(f"drop table {table}")
    return IdentityResult(identifiers, int(people), int(merged))


def connected(nodes: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of the component of each node 0 … nodes-1, given links between `a[i]` and `b[i]`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not nodes:
        return np.array([], dtype=np.int32)
    links = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(nodes, nodes))
    return connected_components(links, directed=False)[1]


# every identifier of every record, beside the customer id of that record
_NAMED = """
    select customer_key, kind, token from (
        unpivot (select *, customer_key as id from _records)
        on id as customer, email_token as email, phone_token as phone into name kind value token
    )
"""

_PEOPLE = """
    select token as identifier_token, kind,
        coalesce(min(token) filter (kind = 'customer') over same, min(token) over same) as customer_token
    from _members window same as (partition by component)
"""


# for each customer id the kinds of identifiers that another customer id has too
_SHARED = """
    select customer_key, string_agg(distinct kind, ', ' order by kind) as kinds
    from (
        select customer_key, kind, min(customer_key) over (partition by token) as first,
            max(customer_key) over (partition by token) as last
        from _named where kind <> 'customer'
    )
    where first <> last
    group by customer_key
"""


def _records_query(session: Session) -> str:
    """The identifiers of every record, one row a record."""
    queries = []
    for table, columns in (
        ("landed.customers", "customer_key, email_token, phone_token"),
        ("landed.consent_events", "customer_key, email_token, null::varchar as phone_token"),
    ):
        if session.has_table(table):
            queries.append(f"select {columns} from {table}")  # noqa: S608  (names of ours)
    return " union ".join(queries) or "select ''::varchar as customer_key, '' as email_token, '' as phone_token limit 0"
