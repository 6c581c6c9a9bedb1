"""Why identifiers are one person: the records that name them, what these share, and what people decided about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger
    from personalization.ledger.identity_corrections import Correction

COVERS = "landed.identity_covers"


@dataclass(frozen=True)
class IdentifierOf:
    """One identifier of the person: its token, its kind, and how it was joined (see `write_identity`)."""

    token: str
    kind: str
    linked_by: str | None


@dataclass(frozen=True)
class RecordOf:
    """One record that names identifiers of the person: where it came from, and the tokens by their kind."""

    table: str
    source: str
    row: int
    names: dict[str, str]


@dataclass(frozen=True)
class IdentityExplanation:
    """Everything that makes identifiers one person. Tokens only: no address, no number.

    Attributes
    ----------
    shared : dict
        Identifiers that several customer ids of the person have in common, with these: what joined them.
    covered_by : list of str
        Identifiers that are not the person's own, but whose opt-outs count for the person.
    """

    person: str
    identifiers: list[IdentifierOf]
    records: list[RecordOf]
    shared: dict[str, list[str]]
    covered_by: list[str]
    corrections: list[Correction]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """In words, one line a fact."""
        kinds = {identifier.token: identifier.kind for identifier in self.identifiers}
        lines = [f"person {self.person}: {len(self.identifiers)} identifiers, {len(self.records)} records", ""]
        for each in self.identifiers:
            how = _HOW.get(each.linked_by or "", f"joined to others by {each.linked_by}") if each.linked_by else ""
            lines.append(f"  {each.kind:<9} {each.token}  {how}".rstrip())
        if self.shared:
            lines += ["", "what joined several customer ids:"]
            for token, customers in self.shared.items():
                lines.append(f"  the {kinds.get(token, 'identifier')} {token} is in records of {', '.join(customers)}")
        lines += ["", "records:"]
        for record in self.records:
            names = ", ".join(f"{kind} {token}" for kind, token in record.names.items())
            lines.append(f"  {record.table} {record.source} row {record.row}: {names}")
        if self.covered_by:
            lines += ["", "an opt-out on these counts for the person too, though they link nobody:"]
            lines += [f"  {token}" for token in self.covered_by]
        for correction in self.corrections:
            state = f", undone by {correction.undone_by}: {correction.undone_reason}" if correction.undone_at else ""
            lines += [
                "",
                f"correction {correction.id}: {correction.kind} {correction.first_token} {correction.second_token}"
                f" by {correction.actor} on {correction.recorded_at:%Y-%m-%d}: {correction.reason}{state}",
            ]
        return "\n".join(lines)


_HOW = {
    "customer": "of a customer record",
    "former": "was theirs in the past",
    "shared": "too many share it: it links nobody",
}


def explain_identity(session: Session, ledger: Ledger, person: str) -> IdentityExplanation:
    """Explain a person of `landed.identity`.

    Parameters
    ----------
    person : str
        A `customer_token` of landed.identity.
    """
    rows = session.rows(
        "select identifier_token, kind, linked_by from landed.identity where customer_token = ? order by kind, 1",
        [person],
    )
    identifiers = [IdentifierOf(*row) for row in rows]
    tokens = [identifier.token for identifier in identifiers]
    records = _records(session, tokens)
    shared: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        for kind, token in record.names.items():
            if kind != "customer" and "customer" in record.names:
                shared[token].add(record.names["customer"])
    covered = []
    if session.has_table(COVERS):
        query = f"select identifier_token from {COVERS} where customer_token = ? order by 1"  # noqa: S608
        covered = [row[0] for row in session.rows(query, [person])]
    return IdentityExplanation(
        person,
        identifiers,
        records,
        {token: sorted(customers) for token, customers in sorted(shared.items()) if len(customers) > 1},
        covered,
        ledger.identity_corrections.about([person, *tokens]),
    )


def _records(session: Session, tokens: list[str]) -> list[RecordOf]:
    found = []
    for table, phone in (("customers", "phone_token"), ("consent_events", "null")):
        if not session.has_table(f"landed.{table}"):
            continue
        rows = session.rows(
            f"""
            select _source, _row, customer_key, email_token, {phone} from landed.{table}
            where customer_key in (select unnest($tokens)) or email_token in (select unnest($tokens))
                or {phone} in (select unnest($tokens))
            order by all
            """,  # noqa: S608  (names of ours)
            {"tokens": tokens},
        )
        for source, row, *named in rows:
            names = {kind: token for kind, token in zip(("customer", "email", "phone"), named, strict=True) if token}
            found.append(RecordOf(table, str(source), int(row), names))
    return found
