"""What holds for every adapter, whatever its platform answers.

An answer in a form that the API does not have (another server in its place, half a page, a new version) ends as `Lost`:
a failure like others, after which the next run looks at what is there. And no outcome or error of a batch repeats the
address of one of its contacts, not even one that does not look like an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from personalization.ledger.outbox import Outcome
from personalization.stages.export.adapters.base import (
    Adapter,
    Batch,
    Contact,
    DestinationError,
    Holding,
    Lost,
    Postponed,
    Prepared,
    Sent,
)
from personalization.stages.export.adapters.native import HasSegments, NativeSegments
from personalization.stages.export.adapters.results import HasResults, Page, ResultsReader, Window
from personalization.stages.export.adapters.sending import UNKNOWN_FORM, unknown_form
from personalization.stages.export.adapters.tags import HasTags, Tags


@contextmanager
def understood() -> Iterator[None]:
    """Raise `Lost` for answers that could not be read."""
    try:
        yield
    except UNKNOWN_FORM as error:
        raise Lost(unknown_form(error)) from None


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Adapters know their platform; which of its destinations it is about is said here."""
    try:
        yield
    except DestinationError as error:
        message = error.message if f"'{name}'" in error.message else f"'{name}': {error.message}"
        hint = error.hint or "the reason is the platform's own; what was not sent is held, and the next run goes on"
        raise type(error)(message, at=error.at, hint=hint) from None


class Guarded:
    """An adapter behind its guard.

    Parameters
    ----------
    adapter : Adapter
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.limits = adapter.limits

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        with understood():
            return self._adapter.setup(known_fields)

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        return self._adapter.prepare(contacts)

    def send(self, batch: Batch) -> Sent:
        with _without_addresses(batch), understood():
            sent = self._adapter.send(batch)
        refused = _hidden_error(sent.refused, batch) if sent.refused else None
        return replace(sent, outcomes=_hidden(sent.outcomes, batch), refused=refused)

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        with _without_addresses(batch), understood():
            outcomes = self._adapter.collect(receipt, batch)
        return None if outcomes is None else _hidden(outcomes, batch)

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        with _without_addresses(batch), understood():
            outcomes = self._adapter.reconcile(batch)
        return None if outcomes is None else _hidden(outcomes, batch)

    def holdings(self) -> Iterator[Holding]:
        with understood():
            yield from self._adapter.holdings()

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        with understood():
            return self._adapter.shown(addresses, external_ids)

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        with understood():
            return self._adapter.erase(addresses, external_ids)

    def segments(self) -> NativeSegments | None:
        """The platform's own segments; None where it has none."""
        return self._adapter.segments() if isinstance(self._adapter, HasSegments) else None

    def tags(self) -> Tags | None:
        """The platform's tags; None where it has none that we use."""
        return self._adapter.tags() if isinstance(self._adapter, HasTags) else None

    def results(self) -> ResultsReader | None:
        """The reader of what became of mailings; None where nothing can be read back."""
        return GuardedReader(self._adapter.results()) if isinstance(self._adapter, HasResults) else None


class GuardedReader:
    """A reader of results behind its guard."""

    def __init__(self, reader: ResultsReader) -> None:
        self._reader = reader

    @property
    def kinds(self) -> tuple[str, ...]:
        return self._reader.kinds

    @property
    def title(self) -> str:
        return self._reader.title

    def read(self, kind: str, cursor: Mapping[str, Any], window: Window) -> Iterator[Page]:
        with understood():
            yield from self._reader.read(kind, cursor, window)


@contextmanager
def _without_addresses(batch: Batch) -> Iterator[None]:
    try:
        yield
    except Postponed as postponed:
        raise type(postponed)(_hide(postponed.reason, _addresses(batch)), postponed.retry_after) from None
    except Lost as lost:
        raise type(lost)(_hide(lost.reason, _addresses(batch))) from None
    except DestinationError as refused:
        raise _hidden_error(refused, batch) from None


def _hidden(outcomes: Sequence[Outcome], batch: Batch) -> list[Outcome]:
    """Outcomes whose reasons do not repeat the row's own address."""
    if not any(outcome.reason for outcome in outcomes):
        return list(outcomes)
    address = {row.contact.id: row.contact.address for row in batch.rows}
    return [
        outcome._replace(reason=_hide(outcome.reason, [address[outcome.id]])) if outcome.reason else outcome
        for outcome in outcomes
    ]


def _hidden_error(error: DestinationError, batch: Batch) -> DestinationError:
    return type(error)(_hide(error.message, _addresses(batch)), at=error.at, hint=error.hint)


def _addresses(batch: Batch) -> list[str]:
    return [row.contact.address for row in batch.rows]


def _hide(text: str, addresses: Sequence[str]) -> str:
    lower = text.lower()
    for address in addresses:
        if address.lower() in lower:
            text = re.sub(re.escape(address), "<address>", text, flags=re.IGNORECASE)
    return text
