"""Why contacts are opted out at a platform: what they said, or what became of mail to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import select

from personalization.ledger import Ledger
from personalization.ledger.engine import one_of
from personalization.ledger.outbox import OutboxRow
from personalization.ledger.schema import suppressions
from personalization.stages.export.adapters.base import OptOutReason


def opt_out_reasons(
    ledger: Ledger, rows: Sequence[OutboxRow], person: Callable[[str, str], Sequence[str]]
) -> Mapping[int, OptOutReason]:
    """By outbox id the reason of each retraction.

    A complaint goes before everything; a bounce is the reason only of people who said nothing themselves: their word
    must not be taken for a broken mailbox, which may be mended one day.

    Parameters
    ----------
    person : callable
        From customer and address token to all identifiers of the person.
    """
    people = {row.id: person(row.customer_token, row.address_token) for row in rows if row.operation == "retract"}
    tokens = sorted({token for identifiers in people.values() for token in identifiers})
    said: dict[str, set[str]] = defaultdict(set)
    if not tokens:
        return {}
    purposes = {row.id: row.purpose for row in rows}
    with ledger.read() as reader:
        columns = suppressions.c
        query = select(columns.identifier_token, columns.reason)
        for row in reader.execute(query.where(one_of(reader, columns.identifier_token, tokens))):
            said[str(row.identifier_token)].add(str(row.reason))
        reasons: dict[int, OptOutReason] = {}
        for row_id, identifiers in people.items():
            found = {reason for token in identifiers for reason in said[token]}
            if "complained" in found:
                reasons[row_id] = "complained"
            elif found == {"bounced"}:
                state = ledger.consent.person(identifiers, [purposes[row_id]], connection=reader)
                withdrawn = state[purposes[row_id]].state == "withdrawn"
                reasons[row_id] = "unsubscribed" if withdrawn else "bounced"
            else:
                reasons[row_id] = "unsubscribed"
    return reasons
