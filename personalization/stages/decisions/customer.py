"""Finds the customer that somebody asks about by token, by the company's own id, or by e-mail address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalization.errors import DataError
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Keyring


def find_customer(session: Session, keys: Keyring, asked: str) -> str:
    """The `customer_token` of the person meant by `asked`.

    Parameters
    ----------
    asked : str
        An identifier token (`t1_…`), a customer id as the source writes it, or an e-mail address.

    Raises
    ------
    DataError
        Nobody is known by it. An e-mail address is never repeated in the message.
    """
    from personalization.ledger import normalise_email, normalise_id

    if asked.startswith("t1_"):
        token, named = keys.current_token(asked), f"the token {asked}"
    elif "@" in asked:
        address = normalise_email(asked)
        if address is None:
            raise DataError("this is not a valid e-mail address", hint="write it as name@example.org")
        token, named = keys.token("email", address), "this e-mail address"
    else:
        token, named = keys.token("customer", normalise_id(asked) or ""), f"the id '{asked.strip()}'"
    found = session.value(
        f"select min(customer_token) from {IDENTITY} where identifier_token = $1 or customer_token = $1",  # noqa: S608
        [token],
    )
    if found is None:
        raise DataError(
            f"no customer with {named} is known",
            hint="give a customer token, the id as the source writes it, or an e-mail address",
        )
    return str(found)
