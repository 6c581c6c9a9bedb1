"""What people chose to read about and how often: append-only, and the latest choice of a person counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import BigInteger, Connection, func, select, type_coerce

from personalization.errors import DataError
from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.links_schema import preference_events
from personalization.ledger.schema import now, to_micros

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

TOPIC, FREQUENCY = "topic", "frequency"

SNAPSHOT = pa.schema(
    [
        ("subject_token", pa.string()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("value", pa.string()),
        ("effective_at", pa.timestamp("us", tz="UTC")),
        ("seq", pa.int64()),
    ]
)

_COLUMNS = (
    *("seq", "event_id", "subject_token", "kind", "name", "value", "source", "method", "locale"),
    *("effective_at", "recorded_at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceEvent:
    """One choice. `kind` is `topic` (with its `name`, and `true` or `false`) or `frequency` (the choice's name)."""

    event_id: str
    subject_token: str
    kind: str
    value: str
    effective_at: datetime
    source: str
    method: str
    name: str = ""
    locale: str | None = None

    def __post_init__(self) -> None:
        sound = self.value in ("true", "false") and self.name if self.kind == TOPIC else self.kind == FREQUENCY
        if not sound or not self.subject_token or self.effective_at.tzinfo is None:
            raise DataError(f"preference event '{self.event_id}' is neither a topic's true or false nor a frequency")


@dataclass(frozen=True)
class Choices:
    """What one person chose; what was never chosen is absent."""

    frequency: str | None = None
    topics: dict[str, bool] = field(default_factory=dict)
    locale: str | None = None


class Preferences:
    """The record of choices. See `Ledger.preferences`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def append(self, events: Iterable[PreferenceEvent], *, connection: Connection | None = None) -> int:
        """Add choices; one whose id is there already adds nothing. Returns how many were new."""
        wanted = {event.event_id: event for event in events}
        if not wanted:
            return 0
        columns = preference_events.c
        with nullcontext(connection) if connection is not None else self._ledger.begin() as writer:
            known: set[str] = set(
                writer.execute(
                    select(columns.event_id).where(one_of(writer, columns.event_id, sorted(wanted)))
                ).scalars()
            )
            last: int = writer.execute(select(func.coalesce(func.max(columns.seq), 0))).scalar_one()
            recorded_at = to_micros(now())
            new = [event for event_id, event in wanted.items() if event_id not in known]
            rows = [
                (
                    *(seq, event.event_id, event.subject_token, event.kind, event.name, event.value),
                    *(event.source, event.method, event.locale, to_micros(event.effective_at), recorded_at),
                )
                for seq, event in enumerate(new, last + 1)
            ]
            bulk_insert(writer, preference_events, _COLUMNS, rows)
        return len(rows)

    def snapshot(
        self, kind: str, *, effective_before: datetime | None = None, connection: Connection | None = None
    ) -> pa.Table:
        """Every choice of a kind that counts, as rows of SNAPSHOT: the latest of each identifier and name.

        `customer_choices` makes of it what each person chose.
        """
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            before = None if effective_before is None else to_micros(effective_before)
            return _latest(_rows(reader, kind=kind, before=before), ("subject_token", "name"))

    def frequency(
        self, subjects: Sequence[str], *, effective_before: datetime | None = None, connection: Connection | None = None
    ) -> dict[str, str]:
        """The choice of frequency of each of some identifiers that made one; its caps are in `Program.frequency`."""
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            before = None if effective_before is None else to_micros(effective_before)
            found = _latest(_rows(reader, kind=FREQUENCY, before=before, subjects=subjects), ("subject_token",))
        return dict(zip(found["subject_token"].to_pylist(), found["value"].to_pylist(), strict=True))

    def person(
        self,
        identifiers: Iterable[str],
        *,
        effective_before: datetime | None = None,
        connection: Connection | None = None,
    ) -> Choices:
        """What one person chose, over all of the person's identifier tokens."""
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            tokens = sorted(set(identifiers))
            before = None if effective_before is None else to_micros(effective_before)
            rows = _rows(reader, before=before, subjects=tokens)
            columns = preference_events.c
            locale = reader.execute(
                select(columns.locale)
                .where(one_of(reader, columns.subject_token, tokens), columns.locale.is_not(None))
                .order_by(columns.seq.desc())
                .limit(1)
            ).scalar()
        latest = _latest(rows, ("kind", "name")).to_pylist()
        frequency = next((row["value"] for row in latest if row["kind"] == FREQUENCY), None)
        topics = {row["name"]: row["value"] == "true" for row in latest if row["kind"] == TOPIC}
        return Choices(frequency, topics, locale)


def customer_choices(snapshot: pa.Table, identity: pa.Table) -> pa.Table:
    """What each person chose, over all of the person's identifiers.

    Parameters
    ----------
    snapshot : pyarrow.Table
        `Preferences.snapshot` of a kind.
    identity : pyarrow.Table
        `identifier_token` and `customer_token`, as in `landed.identity`. A customer token also stands for itself.

    Returns
    -------
    pyarrow.Table
        `customer_token`, `name`, `value`; ordered by customer and name.
    """
    people = pa.table(
        {
            "subject_token": pa.concat_arrays(
                [identity["identifier_token"].combine_chunks(), identity["customer_token"].combine_chunks()]
            ),
            "customer_token": pa.concat_arrays([identity["customer_token"].combine_chunks()] * 2),
        }
    )
    people = people.group_by(["subject_token", "customer_token"]).aggregate([])
    said = snapshot.join(people, "subject_token", join_type="inner")
    latest = _latest(said, ("customer_token", "name"))
    return latest.select(["customer_token", "name", "value"]).sort_by(
        [("customer_token", "ascending"), ("name", "ascending")]
    )


def _latest(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """The row that counts for each key: the one effective last, and of those the one recorded last."""
    ordered = rows.sort_by([("effective_at", "ascending"), ("seq", "ascending")])
    numbered = ordered.append_column("_row", pa.array(range(len(ordered)), pa.int64()))
    last = numbered.group_by(list(keys)).aggregate([("_row", "max")])["_row_max"]
    return ordered.take(last)


def _rows(
    reader: Connection,
    *,
    kind: str | None = None,
    before: int | None = None,
    subjects: Sequence[str] | None = None,
) -> pa.Table:
    columns = preference_events.c
    effective_at = type_coerce(columns.effective_at, BigInteger)
    query = select(columns.subject_token, columns.kind, columns.name, columns.value, effective_at, columns.seq)
    if kind is not None:
        query = query.where(columns.kind == kind)
    if before is not None:
        query = query.where(effective_at < before)
    if subjects is not None:
        query = query.where(one_of(reader, columns.subject_token, sorted(set(subjects))))
    found: list[Any] = list(reader.execute(query))
    if not found:
        return SNAPSHOT.empty_table()
    arrays = [pa.array(values, f.type) for values, f in zip(zip(*found, strict=True), SNAPSHOT, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SNAPSHOT)
