"""Dead letters tried again: what the program has learnt to understand meanwhile counts now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personalization.ledger import Keyring, Ledger
from personalization.program import Program
from personalization.program.models import WebhookSource
from personalization.webhooks.receipt import Preparer, suppress
from personalization.webhooks.senders import SENDERS
from personalization.webhooks.sources import webhook_sources


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a dead letter.

    `state` is `settled` (understood, and nothing more to do), `replay` (understood; the next run applies the rest of
    it) or `dead` (still not understood, because of `reason`).
    """

    seq: int
    source: str
    state: str
    reason: str | None = None


def replay(program: Program, ledger: Ledger, keys: Keyring, seqs: Sequence[int] | None = None) -> list[Replayed]:
    """Try dead letters again, all of them unless some are named. Their opt-outs and consent count when it returns.

    Raises
    ------
    LedgerError
        One of the numbers is not that of a dead letter.
    """
    sources = webhook_sources(program)
    letters = ledger.inbox.replay(seqs)
    rows = {row.seq: row for row in ledger.inbox.get([letter.seq for letter in letters])}
    outcomes = []
    for letter in letters:
        source, body = sources.get(letter.source), rows[letter.seq].body(keys)
        reason: str | None
        if source is None:
            reason = "its source is no longer in program/sources.yaml"
        elif body is None:
            reason = "its body was erased"
        else:
            preparer = Preparer(program, letter.source, source, keys)
            understood, reason = preparer.again(letter.event_key, body, letter.received_at)
            with ledger.begin() as connection:
                ledger.consent.append(understood.consent, connection=connection)
                suppress(ledger, letter.source, understood, connection)
                if reason is None and not _has_more(source, body):
                    ledger.inbox.dead_letters.settle([letter.seq], connection=connection)
                    outcomes.append(Replayed(letter.seq, letter.source, "settled"))
                    continue
        if reason is None:
            outcomes.append(Replayed(letter.seq, letter.source, "replay"))
        else:
            ledger.inbox.dead(letter.seq, reason)
            outcomes.append(Replayed(letter.seq, letter.source, "dead", reason))
    return outcomes


def _has_more(source: WebhookSource, body: bytes) -> bool:
    """Whether something of an event is applied later, by a run: rows of other entities, or events of mailings."""
    if any(table.entity != "consent_events" for table in source.tables.values()):
        return True
    sender = SENDERS[source.sender]
    return bool(sender.email_events(sender.read(body)))
