"""Who is meant by an address, a customer id or a token, and every identifier by which the person was ever known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from personalization.errors import DataError
from personalization.ledger import VaultItem, normalise_email, normalise_id, normalise_phone
from personalization.stages.sync.identity_links import last_owner_query, links_folder

if TYPE_CHECKING:
    from personalization.runtime import Runtime

IDENTITY = "landed.identity"
NORMALISERS = {"email": normalise_email, "phone": normalise_phone}
"""Fields of the vault whose values are identifiers: they find the person again."""


@dataclass(frozen=True)
class Person:
    """A person by all identifiers.

    Attributes
    ----------
    tokens : tuple of str
        Every identifier token: customer ids, addresses and telephone numbers, former ones too.
    held : tuple of VaultItem
        What the vault holds about the person; also a number or address that the person shares with others.
    asked : str
        The normalised identifier that was asked about, in the clear; empty when it was a token.
    """

    tokens: tuple[str, ...]
    held: tuple[VaultItem, ...] = field(repr=False)
    asked: str = field(default="", repr=False)

    @property
    def is_known(self) -> bool:
        """Whether anything but the question itself refers to the person."""
        return bool(self.held) or len(self.tokens) > 1

    def values(self, *fields: str) -> list[str]:
        """Distinct values in the clear, of some fields or of all, as the sources wrote them."""
        return sorted({item.value for item in self.held if not fields or item.field in fields})

    def own(self, kind: str) -> list[VaultItem]:
        """Addresses (`email`) or telephone numbers (`phone`) that are the person's alone."""
        return [item for item in self.held if item.field == kind and item.value_token in self.tokens]

    def identifiers(self, kind: str) -> list[str]:
        """The normalised forms of `own`, the one asked about included."""
        normalise = NORMALISERS[kind]
        found = {normalise(value) for value in [*(item.value for item in self.own(kind)), self.asked]}
        return sorted(value for value in found if value)


def find_person(runtime: Runtime, asked: str) -> Person:
    """The person behind an e-mail address, a telephone number, a customer id or an identifier token.

    Somebody who is not known is a person all the same, of one identifier: a request about an unknown address is
    answered too, and its erasure keeps the address from ever being mailed.

    Raises
    ------
    DataError
        What was given can't be an identifier, or so many people share it that it does not say who is meant. It is
        never repeated in the message.
    """
    token, plain = _token_of(runtime, asked.strip())
    _refuse_shared(runtime, token)
    tokens = _closure(runtime, token) if _has_identity(runtime) else _closure_of_vault(runtime, token)
    return Person(tuple(tokens), tuple(_held(runtime, tokens)), plain)


def _token_of(runtime: Runtime, asked: str) -> tuple[str, str]:
    """The identifier token of what was asked about, and the identifier itself."""
    keys = runtime.keys
    if asked.startswith("t1_"):
        return keys.current_token(asked), ""
    if "@" in asked:
        address = normalise_email(asked)
        if address is None:
            raise DataError("this is not a valid e-mail address", hint="write it as name@example.org")
        return keys.token("email", address), address
    phone = normalise_phone(asked) if asked.startswith(("+", "00")) else None
    if phone:
        return keys.token("phone", phone), phone
    identifier = normalise_id(asked)
    if identifier is None:
        raise DataError("nobody was asked about", hint="give an e-mail address, a customer id or a token")
    return keys.token("customer", identifier), identifier


def _has_identity(runtime: Runtime) -> bool:
    if not runtime.workspace.warehouse.exists():
        return False
    with runtime.warehouse.connect() as session:
        return session.has_table(IDENTITY)


def _refuse_shared(runtime: Runtime, token: str) -> None:
    """An office's number in the records of many people is nobody's: their rows are not those of who asks."""
    if not _has_identity(runtime):
        return
    with runtime.warehouse.connect() as session:
        shared = session.value(
            f"select 1 from {IDENTITY} where identifier_token = $token and linked_by = 'shared'",  # noqa: S608
            {"token": token},
        )
    if shared:
        raise DataError(
            "many customers have this identifier, so it does not say who is meant",
            hint="ask by the person's own customer id or address",
        )


def _closure(runtime: Runtime, token: str) -> list[str]:
    """All identifiers of the person, with those that the links of the past say the person had last."""
    with runtime.warehouse.connect() as session:
        links = last_owner_query(links_folder(runtime.workspace.history))
        rows = session.rows(
            f"""
            with people as (
                select customer_token from {IDENTITY} where identifier_token = $token or customer_token = $token
            ), own as (
                select unnest([identifier_token, customer_token]) as token from {IDENTITY}
                where customer_token in (from people)
            ), elsewhere as (
                select identifier_token from {IDENTITY} where customer_token not in (from people)
            )
            select token from own
            union
            select identifier_token from ({links})
            where customer_key in (from own) and identifier_token not in (from elsewhere)
            """,  # noqa: S608  (names of ours)
            {"token": token},
        )
    return sorted({token, *(found for (found,) in rows)})


def _closure_of_vault(runtime: Runtime, token: str) -> list[str]:
    """The same without a table of identities, as far as the vault alone can tell for certain.

    Raises
    ------
    DataError
        Several records have the identifier, and only validation can say whether they are one person.
    """
    vault = runtime.ledger.vault(runtime.keys)
    subjects = {token, *vault.subjects_with(token)}
    if len(subjects) > 2:
        raise DataError(
            f"{len(subjects) - 1} records have this identifier, and the warehouse does not say whose they are",
            hint="run `personalization run` first: it finds out which records are one person",
        )
    items = [item for item in vault.of_subjects(sorted(subjects)) if item.field in NORMALISERS]
    alone = {item.value_token for item in items if set(vault.subjects_with(item.value_token)) <= subjects}
    return sorted(subjects | alone)


def _held(runtime: Runtime, tokens: Iterable[str]) -> list[VaultItem]:
    """Values kept under the person's tokens, and the same addresses and numbers where others' records have them."""
    vault, wanted = runtime.ledger.vault(runtime.keys), sorted(set(tokens))
    found = {item.place: item for item in [*vault.of_subjects(wanted), *vault.with_values(wanted)]}
    return [found[place] for place in sorted(found, key=lambda place: (place[1], place[0], place[2]))]
