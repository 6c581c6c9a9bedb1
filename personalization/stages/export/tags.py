"""Audiences as tags: after an export each campaign's contacts carry its tag, and no other contact of ours does.

Contacts that somebody else put there are left alone. Whoever may not be written to at this moment gets no tag, because
a tag can start an automation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from personalization.errors import ExportError
from personalization.ledger import normalise_email
from personalization.ledger.audiences import Audiences
from personalization.ledger.contacts import Contacts
from personalization.ledger.leases import Lease
from personalization.program.models import MailchimpDestination
from personalization.stages.export import cut as cuts
from personalization.stages.export.adapters.base import DestinationError, Lost, Postponed
from personalization.stages.export.adapters.guarded import Guarded, understood
from personalization.stages.export.adapters.tags import Tags
from personalization.stages.export.cut import Cut

if TYPE_CHECKING:
    from personalization.runtime import Runtime

PORTION = 500


def update_tags(
    runtime: Runtime, name: str, lease: Lease, adapter: Callable[[], Guarded], cut: Callable[[], Cut]
) -> list[str]:
    """Bring the tags of a destination up to what it acknowledged; no request when nothing changed since the last time.

    Returns
    -------
    list of str
        What was done, in words; counts, no addresses.

    Raises
    ------
    ExportError
        The contacts are delivered, the tags are not as they should be. The next export tries again.
    """
    destination = runtime.program.destinations[name]
    wanted = destination.tags if isinstance(destination, MailchimpDestination) else {}
    audiences = Audiences(runtime.ledger)
    newest = audiences.newest(name)
    if not wanted or audiences.current(name, wanted, newest):
        return []
    tags = adapter().tags()
    if tags is None:
        return []
    known = Contacts(runtime.ledger).known(name)
    done = []
    try:
        for campaign, tag in wanted.items():
            with understood():
                done += _bring(runtime, tags, tag, known, campaign, cut)
    except (DestinationError, Postponed, Lost) as problem:
        said = problem.message if isinstance(problem, DestinationError) else problem.reason
        raise ExportError(
            f"contacts were delivered to '{name}', but its tags could not be brought up to date: {said}",
            hint="the next export tries again",
        ) from None
    audiences.note(lease, name, wanted, newest)
    return done


def _bring(runtime: Runtime, tags: Tags, tag: str, known: pa.Table, campaign: str, cut: Callable[[], Cut]) -> list[str]:
    done = [f"tag '{tag}'"] if tags.make(tag) else []
    present = pc.and_(pc.equal(known["state"], "present"), pc.equal(known["campaign"], campaign))
    should = known.filter(pc.fill_null(present, False))
    ours = set(known["address_token"].to_pylist())
    addresses = list(tags.carriers(tag))
    normal = [normalise_email(address) or address for address in addresses]
    carrying = dict(zip(runtime.keys.tokens("email", normal), addresses, strict=True))
    missing = should.filter(
        pc.invert(pc.is_in(should["address_token"], value_set=pa.array(list(carrying), pa.string())))
    )
    wanted = set(should["address_token"].to_pylist())
    leaving = [address for token, address in carrying.items() if token in ours and token not in wanted]
    added = refused = 0
    for start in range(0, missing.num_rows, PORTION):
        allowed = _addresses(runtime, missing.slice(start, PORTION), cut)
        refused += tags.change(tag, allowed, [])
        added += len(allowed)
    refused += tags.change(tag, [], leaving)
    if added or leaving:
        done.append(f"tag '{tag}': {added:,} added, {len(leaving):,} removed")
    if refused:
        done.append(f"tag '{tag}': {refused:,} refused by the platform")
    return done


def _addresses(runtime: Runtime, contacts: pa.Table, cut: Callable[[], Cut]) -> list[str]:
    """Addresses of those who may be written to at this moment."""
    names = ("address_token", "customer_token", "purpose")
    rows: Sequence[tuple[str, str, str]] = list(zip(*(contacts[name].to_pylist() for name in names), strict=True))
    found = runtime.ledger.vault(runtime.keys).reveal([address for address, _, _ in rows])
    blocked = cut().blocked(  # last of all: nothing comes between it and the request
        [cuts.Contact(address, purpose, (customer, address)) for address, customer, purpose in rows]
    )
    return [found[address] for address, _, _ in rows if address in found and address not in blocked]
