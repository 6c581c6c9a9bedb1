"""What the ledger says about each person: consent per purpose, and suppressions, folded over all identifiers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger

IDENTITY = "landed.identity"


@dataclass(frozen=True)
class Permissions:
    """A snapshot of the ledger for one day.

    Attributes
    ----------
    consents : pyarrow.Table
        `purpose`, `customer_token`, `state` (granted or withdrawn); no row means that the person was never asked.
    suppressed : pyarrow.Table
        `customer_token`, each person once, of whom any identifier is suppressed.
    """

    consents: pa.Table
    suppressed: pa.Table


def read_permissions(
    ledger: Ledger, session: Session, purposes: Iterable[str], as_of: AsOf, *, among: str | None = None
) -> Permissions:
    """Fold consent and suppressions over `landed.identity`.

    Consent is what was effective before `as_of`. Suppressions are all that are known now: deciding an old day again
    may withhold more people, never fewer.

    Parameters
    ----------
    among : str, optional
        A table of the column `customer_token`: consents of these customers only.
    """
    from personalization.ledger import customer_consent

    only = f"where customer_token in (from {among})" if among else ""
    identity = session.arrow(f"select identifier_token, customer_token from {IDENTITY} {only}")  # noqa: S608
    subjects = [*identity["identifier_token"].to_pylist(), *identity["customer_token"].to_pylist()] if among else None
    consents = []
    for purpose in sorted(set(purposes)):
        snapshot = ledger.consent.snapshot(purpose, effective_before=as_of.instant, subjects=subjects)
        folded = customer_consent(snapshot, identity).select(["customer_token", "state"])
        consents.append(folded.append_column("purpose", pa.array([purpose] * len(folded), pa.string())))
    schema = pa.schema([("customer_token", pa.string()), ("state", pa.string()), ("purpose", pa.string())])
    return Permissions(
        consents=pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in consents)]),
        suppressed=_suppressed_people(session, ledger.suppressions.snapshot()),
    )


def _suppressed_people(session: Session, suppressions: pa.Table) -> pa.Table:
    """People of whom any identifier is suppressed; a token that identity does not know stands for itself."""
    with session.registered(_suppressions=suppressions):
        return session.arrow(f"""
            select distinct coalesce(i.customer_token, s.identifier_token) as customer_token
            from _suppressions s
            left join {IDENTITY} i using (identifier_token)
        """)  # noqa: S608
