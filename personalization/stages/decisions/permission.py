"""What the ledger says about each person: consent per purpose, and suppressions, folded over all identifiers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger

IDENTITY = "landed.identity"
CHOICES = pa.schema([("customer_token", pa.string()), ("own_frequency", pa.string())])
_CONSENTS = pa.schema(
    [("customer_token", pa.string()), ("state", pa.string()), ("state_day", pa.date32()), ("purpose", pa.string())]
)
DRAWS = pa.schema([("salt", pa.string()), ("drawn_for", pa.string()), ("draw", pa.uint64())])


@dataclass(frozen=True)
class Permissions:
    """A snapshot of the ledger for one day.

    Attributes
    ----------
    consents : pyarrow.Table
        `purpose`, `customer_token`, `state` (granted or withdrawn), `state_day`, the business day from which on that is
        so; no row means that the person was never asked.
    suppressed : pyarrow.Table
        `customer_token`, each person once, of whom any identifier is suppressed.
    choices : pyarrow.Table
        `customer_token`, `own_frequency`: how often people want to be mailed, of those who chose.
    draws : pyarrow.Table
        Draws from before the token key was replaced, as `assignment.KEPT` has them.
    """

    consents: pa.Table
    suppressed: pa.Table
    choices: pa.Table
    draws: pa.Table = field(default_factory=DRAWS.empty_table)


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
        consents.append(_dated(session, customer_consent(snapshot, identity), purpose, as_of))
    return Permissions(
        consents=pa.concat_tables([_CONSENTS.empty_table(), *consents]),
        suppressed=_suppressed_people(session, ledger.suppressions.snapshot()),
        choices=_choices(ledger, identity, as_of),
        draws=ledger.kept.draws(subjects).rename_columns(DRAWS.names),
    )


def _dated(session: Session, folded: pa.Table, purpose: str, as_of: AsOf) -> pa.Table:
    """Consents with the business day since which they stand."""
    with session.registered(_folded=folded):
        return session.arrow(
            """
            select customer_token, state, (effective_at at time zone $zone)::date as state_day, $purpose as purpose
            from _folded
            """,
            {"zone": as_of.timezone, "purpose": purpose},
        ).cast(_CONSENTS)


def _choices(ledger: Ledger, identity: pa.Table, as_of: AsOf) -> pa.Table:
    from personalization.ledger.preferences import FREQUENCY, customer_choices

    chosen = customer_choices(ledger.preferences.snapshot(FREQUENCY, effective_before=as_of.instant), identity)
    return chosen.select(["customer_token", "value"]).rename_columns(CHOICES.names).cast(CHOICES)


def _suppressed_people(session: Session, suppressions: pa.Table) -> pa.Table:
    """People of whom any identifier is suppressed; a token that identity does not know stands for itself."""
    with session.registered(_suppressions=suppressions):
        return session.arrow(f"""
            select distinct coalesce(i.customer_token, s.identifier_token) as customer_token
            from _suppressions s
            left join {IDENTITY} i using (identifier_token)
        """)  # noqa: S608
