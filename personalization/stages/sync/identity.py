"""Which identifiers belong to one person: `landed.identity`, by connected components over the identifiers of records.

Records link identifiers: a customer record its id, e-mail and phone; a consent event its id and e-mail. An identifier
that too many records share links nobody. Corrections that people made (`personalization identity`) come on top. The
result depends on nothing but the set of records and corrections. See docs/identity.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from personalization.stages.sync.identity_links import last_owner_query, links_folder
from personalization.stages.sync.landing import write_durably
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger.identity_corrections import Correction

SHARED_BY = 8
"""An address or phone of more customer ids than this (an office, a placeholder) links nobody."""


@dataclass(frozen=True)
class IdentityResult:
    """How many identifiers were found, how many people they are, and how many people have several customer ids.

    Attributes
    ----------
    shared : int
        Identifiers of more than `SHARED_BY` customer ids: they link nobody, but an opt-out on them covers all.
    unresolved : list of int
        Numbers of splits whose two identifiers are one person all the same, by another way.
    """

    identifiers: int
    people: int
    merged: int
    shared: int = 0
    unresolved: tuple[int, ...] = ()


def write_identity(
    session: Session,
    history: Path,
    corrections: Sequence[Correction] = (),
    *,
    shared_by: int = SHARED_BY,
    kept: Sequence[str] = (),
) -> IdentityResult:
    """Write `landed.identity` from `landed.customers`, `landed.consent_events` and the links of the past.

    The person's token is the smallest of their customer ids' tokens, else of all their tokens; those in `kept`, which
    stood for people before the token key was replaced, come before others. `linked_by` says for a
    customer id by which kinds of identifier it was joined to others, for an address or phone that it belongs to a
    `customer`, for one of the past that it is a `former` one, and for one that links nobody that it is `shared`.

    `landed.identity_covers` has `identifier_token`, `customer_token`: identifiers that are not the person's own, but
    whose opt-outs cover the person: shared ones, and those that a correction took away.
    """
    with session.transaction():
        result = update_identity(session, history, corrections, shared_by=shared_by, kept=kept)
    publish_identity(session, history)
    return result


def published_identity(history: Path) -> Path:
    """A copy of who is who for those who can't wait for the warehouse: a Parquet file."""
    return history / "identity.parquet"


def publish_identity(session: Session, history: Path) -> None:
    """Write the copy anew: `identifier_token`, `customer_token`, and whether it only `covers` the person."""
    rows = session.arrow(
        "select identifier_token, customer_token, false as covers from landed.identity"
        " union all select identifier_token, customer_token, true from landed.identity_covers order by all"
    )
    write_durably(rows, published_identity(history))


def update_identity(
    session: Session,
    history: Path,
    corrections: Sequence[Correction] = (),
    *,
    shared_by: int = SHARED_BY,
    kept: Sequence[str] = (),
) -> IdentityResult:
    """`write_identity` inside the caller's transaction, and without the published copy.

    Everybody is looked at again: an address that becomes shared, or ceases to be, divides or joins people whose own
    records did not change.
    """
    splits = _pairs(corrections, "split")
    with session.registered(_splits=splits, _links=_pairs(corrections, "link")):
        _prepare(session, shared_by)
    tokens = session.arrow("select token, kind from _tokens order by n")
    links = session.arrow(
        "select a.n as a, b.n as b from _edges join _tokens a on a.token = first join _tokens b on b.token = second"
    )
    component = connected(len(tokens), links["a"].to_numpy(), links["b"].to_numpy())
    members = tokens.append_column("component", pa.array(component))
    with session.registered(_members=members, _kept=pa.table({"token": pa.array(list(kept), pa.string())})):
        session.execute("create or replace temp table _people as " + _PEOPLE)
        session.execute(f"create or replace temp table _joined as {_JOINED}")
        identifiers = session.replace_table(
            "landed.identity",
            f"""
            select p.identifier_token, p.kind, p.customer_token,
                case when p.identifier_token in (select token from _crowded) then 'shared'
                    when p.kind = 'customer' then s.kinds
                    when p.customer_token <> p.identifier_token then 'customer' end as linked_by
            from _people p left join _joined s on s.customer_key = p.identifier_token
            union all
            select f.identifier_token, f.kind, p.customer_token, 'former'
            from ({last_owner_query(links_folder(history))}) f join _people p on p.identifier_token = f.customer_key
            where f.identifier_token not in (select identifier_token from _people)
            order by identifier_token
            """,  # noqa: S608  (expressions of ours)
        )
        session.replace_table("landed.identity_covers", _COVERS)
        people = session.value("select count(distinct customer_token) from landed.identity")
        merged = session.value(
            "select count(*) from (select customer_token from landed.identity where kind = 'customer'"
            " group by customer_token having count(*) > 1)"
        )
        shared = session.value("select count(*) from _crowded")
        unresolved = _unresolved(session, splits)
        for table in ("_records", "_named", "_crowded", "_taken", "_edges", "_tokens", "_people", "_joined"):
            session.execute(f"drop table {table}")
    return IdentityResult(identifiers, int(people), int(merged), int(shared), unresolved)


_FEW = 10_000  # below this, importing scipy takes longer than the whole work


def connected(nodes: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of the component of each node 0 … nodes-1, given links between `a[i]` and `b[i]`."""
    if nodes < _FEW:
        return _connected_few(nodes, a, b)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not nodes:
        return np.array([], dtype=np.int32)
    links = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(nodes, nodes))
    return connected_components(links, directed=False)[1]


def _connected_few(nodes: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`connected` by union and find."""
    parent = list(range(nodes))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in zip(a.tolist(), b.tolist(), strict=True):
        parent[root(left)] = root(right)
    return np.array([root(node) for node in range(nodes)], dtype=np.int32)


def _pairs(corrections: Sequence[Correction], kind: str) -> pa.Table:
    these = [correction for correction in corrections if correction.kind == kind]
    return pa.table(
        {
            "id": pa.array([correction.id for correction in these], pa.int64()),
            "first": pa.array([correction.first_token for correction in these], pa.string()),
            "second": pa.array([correction.second_token for correction in these], pa.string()),
        }
    )


def _prepare(session: Session, shared_by: int) -> None:
    """The identifiers and what links them, as temporary tables."""
    session.execute(f"create or replace temp table _records as {_records_query(session)}")
    session.execute(f"create or replace temp table _named as {_NAMED}")
    session.execute(f"create or replace temp table _crowded as {_CROWDED}", [shared_by])
    session.execute(f"create or replace temp table _taken as {_TAKEN}")
    session.execute(f"create or replace temp table _edges as {_EDGES}")
    session.execute(
        "create or replace temp table _tokens as select token, kind, row_number() over (order by token) - 1"
        " as n from (select distinct token, kind from _named)"
    )


def _unresolved(session: Session, splits: pa.Table) -> tuple[int, ...]:
    with session.registered(_splits=splits):
        rows = session.rows(
            "select s.id from _splits s join _people a on a.identifier_token = s.first"
            " join _people b on b.identifier_token = s.second where a.customer_token = b.customer_token order by 1"
        )
    return tuple(row[0] for row in rows)


# every identifier of every record, beside the customer id of that record
_NAMED = """
    select customer_key, kind, token from (
        unpivot (select *, customer_key as id from _records)
        on id as customer, email_token as email, phone_token as phone into name kind value token
    )
"""

_CROWDED = """
    select token from _named where kind <> 'customer' group by token having count(distinct customer_key) > ?
"""

# what a split takes away from a customer id: of two customer ids the second loses every identifier that others have
# too; of a customer id and an address or phone the customer loses that one
_TAKEN = """
    with customers as (select distinct token from _named where kind = 'customer'),
    divided as (
        select token from _named where kind <> 'customer' group by token having count(distinct customer_key) > 1
    )
    select distinct n.customer_key, n.token
    from _splits s
    join _named n on n.kind <> 'customer' and (
        (n.customer_key = s.second and s.first in (from customers) and n.token in (from divided))
        or (n.customer_key = s.first and n.token = s.second)
        or (n.customer_key = s.second and n.token = s.first)
    )
"""

_EDGES = """
    select customer_key as first, token as second
    from _named
    where customer_key is not null and token not in (from _crowded)
        and (customer_key, token) not in (select (customer_key, token) from _taken)
    union
    select first, second from _links
"""

_PEOPLE = """
    select token as identifier_token, kind,
        coalesce(
            min(token) filter (kind = 'customer' and stood) over same,
            min(token) filter (kind = 'customer') over same,
            min(token) filter (stood) over same,
            min(token) over same
        ) as customer_token
    from (select *, token in (from _kept) as stood from _members) window same as (partition by component)
"""

# for each customer id the kinds of identifiers that another customer id of the person has too
_JOINED = """
    select customer_key, string_agg(distinct kind, ', ' order by kind) as kinds
    from (
        select n.customer_key, n.kind, min(n.customer_key) over same as first, max(n.customer_key) over same as last
        from _named n semi join _edges e on e.first = n.customer_key and e.second = n.token
        where n.kind <> 'customer'
        window same as (partition by n.token)
    )
    where first <> last
    group by customer_key
"""

_COVERS = """
    select distinct n.token as identifier_token, p.customer_token
    from _named n
    join _people p on p.identifier_token = n.customer_key
    join _people own on own.identifier_token = n.token
    where own.customer_token <> p.customer_token
        and (
            n.token in (from _crowded)
            or (n.customer_key, n.token) in (select (customer_key, token) from _taken)
        )
    order by all
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
