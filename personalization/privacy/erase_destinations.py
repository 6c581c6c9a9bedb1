"""Deletes a person at every destination, under every address the destination was ever given."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import select, union

from personalization.errors import ExportError, ProgramError
from personalization.ledger import normalise_email
from personalization.ledger.engine import one_of
from personalization.ledger.export_schema import acknowledged, outbox
from personalization.stages.export.adapters.base import Adapter, Lost, Postponed
from personalization.stages.export.adapters.registry import adapter_for

if TYPE_CHECKING:
    from personalization.privacy.work import Work
    from personalization.runtime import Runtime

log = logging.getLogger(__name__)


def erase_everywhere(runtime: Runtime, work: Work) -> tuple[dict[str, int], dict[str, str]]:
    """Delete the person at each destination. One that can't be reached does not keep the others from being cleared.

    Returns
    -------
    (dict, dict)
        By destination: contacts deleted; and what went wrong, where something did.
    """
    deleted: dict[str, int] = {}
    failed: dict[str, str] = {}
    for name in runtime.program.destinations:
        try:
            adapter = adapter_for(runtime.program, name, runtime.workspace, ledger=runtime.ledger, urgent=True)
            addresses = sorted({*work.addresses, *former_addresses(runtime, adapter, name, work)})
            deleted[name] = adapter.erase(addresses, work.external_ids.get(name, ()))
        except (Postponed, Lost) as problem:
            failed[name] = problem.reason
        except (ExportError, ProgramError) as error:
            failed[name] = error.message
    return deleted, failed


def former_addresses(runtime: Runtime, adapter: Adapter, name: str, work: Work) -> list[str]:
    """Former addresses that only the destination still knows: found there by their tokens."""
    keys = runtime.keys
    plain = [address for address in map(normalise_email, work.addresses) if address]
    known = set(keys.tokens("email", plain))
    missing = _sent(runtime, name, work) - known
    if not missing:
        return []
    log.info("%s: looking for %d former addresses among its contacts", name, len(missing))
    found = []
    for holding in adapter.holdings():
        address = normalise_email(holding.address)
        if address and keys.token("email", address) in missing:
            found.append(holding.address)
    return found


def _sent(runtime: Runtime, name: str, work: Work) -> set[str]:
    """Tokens of all addresses of the person that were ever sent to a destination."""
    with runtime.ledger.read() as connection:
        queries = [
            select(table.c.address_token).where(
                table.c.destination == name,
                one_of(connection, table.c.customer_token, work.tokens)
                | one_of(connection, table.c.address_token, work.tokens),
            )
            for table in (acknowledged, outbox)
        ]
        found: list[str | None] = list(connection.execute(union(*queries)).scalars())
    return {token for token in found if token}
