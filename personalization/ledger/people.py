"""Who is behind an identifier token, as far as the ledger itself knows: identifiers that records in the vault share.

The web server asks here, because it must answer while a run writes the warehouse, where `landed.identity` is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from personalization.ledger.engine import one_of
from personalization.ledger.schema import vault_items

_LINKING = ("email", "phone")


@dataclass(frozen=True)
class Identifiers:
    """All tokens of one person: of customer records, e-mail addresses and telephone numbers."""

    subjects: frozenset[str]
    emails: frozenset[str]
    phones: frozenset[str]

    @property
    def every(self) -> frozenset[str]:
        return self.subjects | self.emails | self.phones


def identifiers_of(connection: Connection, token: str) -> Identifiers:
    """The person behind a token of any kind, by connected components over addresses and numbers of records.

    A token that the vault does not know (any more) is a person with that one identifier.
    """
    columns = vault_items.c
    known, asked = {token}, set[str]()
    subjects, values = {token}, {field: set[str]() for field in _LINKING}
    while fresh := known - asked:
        asked |= fresh
        query = select(columns.subject, columns.field, columns.value_token).where(
            columns.field.in_(_LINKING),
            or_(
                one_of(connection, columns.subject, sorted(fresh)),
                one_of(connection, columns.value_token, sorted(fresh)),
            ),
        )
        for row in connection.execute(query):
            subjects.add(row.subject)
            values[row.field].add(row.value_token)
            known |= {row.subject, row.value_token}
    emails, phones = frozenset(values["email"]), frozenset(values["phone"])
    return Identifiers(frozenset(subjects) - emails - phones, emails, phones)
