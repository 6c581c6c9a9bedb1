"""Whose rows are to be made again: everybody whose records changed, with all identifiers linked with them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from personalization.stages.validation.touched import CHANGED_CAMPAIGNS, CHANGED_PRODUCTS, CHANGED_TOKENS
from personalization.warehouse import Session
from personalization.warehouse.touched_models import TOUCHED, TOUCHED_TOKENS


def collect_touched(session: Session, others: Iterable[str]) -> None:
    """Make `_touched` and `_touched_tokens` from what changed, before identities are brought up to date.

    Parameters
    ----------
    others : iterable of str
        Identifier tokens of people whose rows have to be made again for another reason, such as an opt-out.
    """
    session.execute(f"create or replace temp table {TOUCHED_TOKENS} as select distinct token from {CHANGED_TOKENS}")  # noqa: S608
    with session.registered(_others=pa.table({"token": pa.array(sorted(set(others)), pa.string())})):
        session.execute(f"insert into {TOUCHED_TOKENS} from _others")
    session.execute(f"create or replace temp table {TOUCHED} (customer_token varchar)")
    _add_people(session)
    # a product's or campaign's values are part of the rows of those who bought it or were mailed
    for changed, column, table in (
        (CHANGED_PRODUCTS, "product_id", "marts.order_lines"),
        (CHANGED_PRODUCTS, "product_id", "marts.customer_events"),
        (CHANGED_CAMPAIGNS, "campaign_id", "marts.email_events"),
    ):
        session.execute(
            f"insert into {TOUCHED} select distinct customer_token from {table}"  # noqa: S608  (names of ours)
            f" where {column} in (select trim({column}) from {changed})"
        )
    _add_tokens(session)


def follow_touched(session: Session) -> int:
    """Add whom the touched people are now, after identities were brought up to date. Returns how many people."""
    _add_people(session)
    _add_tokens(session)
    for table, column in ((TOUCHED, "customer_token"), (TOUCHED_TOKENS, "token")):
        session.execute(f"create or replace temp table {table} as select distinct {column} from {table}")  # noqa: S608
    return int(session.value(f"select count(*) from {TOUCHED}"))  # noqa: S608


def _add_people(session: Session) -> None:
    session.execute(
        f"insert into {TOUCHED} select coalesce(i.customer_token, t.token) from {TOUCHED_TOKENS} t"  # noqa: S608
        " left join landed.identity i on i.identifier_token = t.token"
    )


def _add_tokens(session: Session) -> None:
    session.execute(
        f"insert into {TOUCHED_TOKENS} select identifier_token from landed.identity"  # noqa: S608  (names of ours)
        f" where customer_token in (from {TOUCHED}) union from {TOUCHED}"
    )
