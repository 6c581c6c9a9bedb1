"""Events of the inbox as landing rows: decrypted, taken apart as sources.yaml says, their identifiers made tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from personalization.errors import KeyFileError
from personalization.ledger.inbox_event import InboxRow
from personalization.program import Program
from personalization.stages.sync.entities import LOAD_ID, REJECTED, ROW, SEQ, SOURCE, ColumnType
from personalization.stages.sync.tokenise import Tokeniser
from personalization.stages.sync.webhook_tables import PLATFORM, WebhookSyncTable, landing_tables
from personalization.webhooks.decode import Unreadable
from personalization.webhooks.mapping import MappingError, applies, as_text, records
from personalization.webhooks.moments import moment, not_ahead
from personalization.webhooks.senders import SENDERS, Sender
from personalization.webhooks.sources import webhook_sources

if TYPE_CHECKING:
    from personalization.ledger import Keyring, Ledger

_NO_SOURCE = "its source is no longer in program/sources.yaml"


@dataclass(frozen=True)
class Unusable:
    """An event that could not be understood; `reason` repeats nothing of its content."""

    seq: int
    reason: str


@dataclass
class ReadEvents:
    """What came of some events: rows by table, events that could not be understood, and bodies that were erased."""

    rows: dict[WebhookSyncTable, pa.Table] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)
    erased: int = 0


class EventReader:
    """Reads events. When `read` returns, the identifiers in them are in the vault, on its disk."""

    def __init__(self, program: Program, keys: Keyring, ledger: Ledger) -> None:
        self._keys, self._vault = keys, ledger.vault(keys)
        self._senders: dict[str, Sender] = {
            name: SENDERS[source.sender] for name, source in webhook_sources(program).items()
        }
        self._tables: dict[str, list[WebhookSyncTable]] = {name: [] for name in self._senders}
        for table in landing_tables(program):
            self._tables[table.source].append(table)

    def read(self, events: Sequence[InboxRow]) -> ReadEvents:
        """Rows for the landing zone.

        Raises
        ------
        KeyFileError
            Not one of the bodies can be opened.
        """
        read = ReadEvents()
        columns: dict[WebhookSyncTable, _Columns] = {}
        locked: KeyFileError | None = None
        opened = 0
        for event in events:
            try:
                body = event.body(self._keys)
            except KeyFileError as error:
                locked = error
                read.unusable.append(
                    Unusable(event.seq, "its body can't be opened: it was altered, or its key is lost")
                )
                continue
            opened += 1
            if body is None:
                read.erased += 1
                continue
            try:
                found = self._records(event.source, body)
            except _NotUnderstood as problem:
                read.unusable.append(Unusable(event.seq, str(problem)))
                continue
            for table, rows in found:
                if table not in columns:
                    columns[table] = _Columns(table)
                columns[table].add(event, rows)
        if locked is not None and not opened:
            raise locked
        for table, values in columns.items():
            read.rows[table] = self._landing_rows(table, values)
        return read

    def _records(self, source: str, body: bytes) -> list[tuple[WebhookSyncTable, list[dict[str, Any]]]]:
        """The rows of one event by table: all of them, or none when any can't be read."""
        sender = self._senders.get(source)
        if sender is None:
            raise _NotUnderstood(_NO_SOURCE)
        try:
            event = sender.read(body)
            found = []
            for table in self._tables[source]:
                if table.name == PLATFORM:
                    rows = sender.email_events(event)
                else:
                    rows = records(table.spec, event) if applies(table.spec, event) else []
                if rows:
                    found.append((table, rows))
        except (Unreadable, MappingError) as problem:
            raise _NotUnderstood(str(problem)) from None
        except Exception as error:  # a mistake of ours must not stop all events; its text could repeat the event's
            raise _NotUnderstood(f"a mistake in this program: {type(error).__name__}") from None
        return found

    def _landing_rows(self, table: WebhookSyncTable, values: _Columns) -> pa.Table:
        tokeniser = Tokeniser(table.entity, self._keys, self._vault, table.label)
        rows = tokeniser.replace(values.table())
        if table.name == PLATFORM:
            rows = self._with_addresses(rows, values.addresses)
        return rows

    def _with_addresses(self, rows: pa.Table, addresses: list[str | None]) -> pa.Table:
        """Platforms name people by address: without a customer id, the address's token stands for the person."""
        import pyarrow.compute as pc

        from personalization.ledger import normalise_email

        known = {text: normalise_email(text) for text in set(addresses) if text}
        tokens = {text: self._keys.token("email", address) for text, address in known.items() if address}
        by_address = pa.array([tokens.get(text) if text else None for text in addresses], pa.string())
        index = rows.schema.get_field_index("customer_key")
        return rows.set_column(index, "customer_key", pc.coalesce(rows["customer_key"], by_address))


class _NotUnderstood(Exception):
    pass


class _Columns:
    """Grows the columns of one table, all as text."""

    def __init__(self, table: WebhookSyncTable) -> None:
        self._entity = table.entity
        self._names = table.columns
        self._times = {
            column.name for column in table.entity.columns if column.type in (ColumnType.TIMESTAMP, ColumnType.DATE)
        }
        self._stamped = table.stamped
        self._values: dict[str, list[str | None]] = {name: [] for name in self._names}
        self._source: list[str] = []
        self._row: list[int] = []
        self._load: list[str] = []
        self._seq: list[int] = []
        self.addresses: list[str | None] = []

    def add(self, event: InboxRow, rows: list[dict[str, Any]]) -> None:
        happened = not_ahead(event.event_at, event.received_at)
        load, source = _load_id(event, happened), f"{event.source}/event {event.seq}"
        for number, row in enumerate(rows, 1):
            for name in self._names:
                value = row.get(name)
                if value is None or isinstance(value, str):
                    text = value
                elif name in self._times:
                    text = _time(value)
                else:
                    text = as_text(value)
                self._values[name].append(text)
            if self._stamped:
                self._values[self._stamped][-1] = happened.isoformat()
            self.addresses.append(row.get("email"))
            self._source.append(source)
            self._row.append(number)
            self._load.append(load)
            self._seq.append(event.seq)

    def table(self) -> pa.Table:
        columns: dict[str, Any] = {name: pa.array(values, pa.string()) for name, values in self._values.items()}
        return pa.table(
            {
                **columns,
                ROW: pa.array(self._row, pa.int64()),
                REJECTED: pa.nulls(len(self._row), pa.string()),
                SOURCE: pa.array(self._source, pa.string()),
                LOAD_ID: pa.array(self._load, pa.string()),
                SEQ: pa.array(self._seq, pa.int64()),
            }
        )


def _load_id(event: InboxRow, happened: datetime) -> str:
    """By this the newest row of a key is chosen, among events as among loads: the moment, then the event's own id.

    A load is named by the second in which it began; so a file that was read after an event happened is newer than it.
    Nothing here depends on the order in which events arrived.
    """
    digest = hashlib.sha256(f"{event.source}\0{event.event_key}".encode()).hexdigest()[:12]
    return f"{happened.timestamp():.6f}.{digest}"


def _time(value: Any) -> str:
    """A number where a time is expected is a Unix time."""
    found = moment(value) if isinstance(value, int | Decimal) else None
    return as_text(value) if found is None else found.isoformat()
