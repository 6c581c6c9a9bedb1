"""Events that a platform reported, as landing rows: addresses become tokens, and what landed before is left out.

A row is told by its contents, so it does not matter how often a platform says the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personalization.ledger import Keyring, normalise_email, normalise_id
from personalization.stages.export.adapters.results import Campaign, Event
from personalization.stages.sync.entities import LOAD_ID, REJECTED, ROW, SOURCE
from personalization.stages.sync.landing import write_durably
from personalization.stages.sync.results_tables import (
    CAMPAIGN_COLUMNS,
    EVENT_COLUMNS,
    ResultsTable,
    results_file,
    results_table,
)

NOBODY = "neither a valid e-mail address nor an id of a customer"
NO_TIME = "no date or time that can be read"
NO_CAMPAIGN = "no campaign"

MANY_FILES, SMALL_ROWS = 40, 500_000
"""So many files below this size are merged: thousands of tiny ones would slow every reader down."""


@dataclass(frozen=True)
class Landed:
    """What of a batch was new: rows, and those of them that can't be used."""

    rows: int = 0
    rejected: int = 0
    files: int = 0


class ResultsLanding:
    """The landing tables of one destination."""

    def __init__(self, landing: Path, destination: str, platform: str, keys: Keyring) -> None:
        self._landing, self._destination, self._platform, self._keys = landing, destination, platform, keys
        self._events = results_table(destination, "email_events")
        self._campaigns = results_table(destination, "campaign_history")

    def write(
        self, kind: str, batch: int, events: Sequence[Event], campaigns: Sequence[Campaign], read_at: datetime
    ) -> Landed:
        """Write what is new to the files of a batch. Written again, they replace themselves."""
        name = results_file(kind, batch)
        # the file of a read that was killed is about to be written again: what is in it did not land yet
        for table in (self._events, self._campaigns):
            (table.folder(self._landing) / name).unlink(missing_ok=True)
        load = f"{read_at.timestamp():.6f}.results"
        rows = self._new(self._events, self._rows(kind, events, load))
        named = self._new(self._campaigns, self._named(kind, campaigns, load))
        files = 0
        for table, found in ((self._campaigns, named), (self._events, rows)):
            if found.num_rows:
                write_durably(found, table.folder(self._landing) / name)
                files += 1
        return Landed(rows.num_rows, rows.num_rows - rows[REJECTED].null_count, files)

    def merge(self) -> None:
        """Make few files of many, in the order of time. Killed in between, a row is there twice, and counts once."""
        for table in (self._events, self._campaigns):
            small = [path for path in table.files(self._landing) if pq.ParquetFile(path).metadata.num_rows < SMALL_ROWS]
            by_kind: dict[str, list[Path]] = {}
            for path in small:
                by_kind.setdefault(path.name.split(".")[1], []).append(path)
            for paths in by_kind.values():
                if len(paths) > MANY_FILES:
                    rows = pa.concat_tables([pq.read_table(path) for path in paths], promote_options="default")
                    order = "occurred_at" if table is self._events else "starts_at"
                    write_durably(rows.sort_by(order), paths[-1])
                    for path in paths[:-1]:
                        path.unlink()

    def _rows(self, kind: str, events: Sequence[Event], load: str) -> pa.Table:
        shown = [event for event in events if event.kind]
        problems = [_problem(event) for event in shown]
        tokens = self._people(shown)
        good = [problem is None for problem in problems]
        values: dict[str, list[str | None]] = {
            "campaign_id": [f"{self._destination}:{event.campaign_id}" for event in shown],
            "customer_key": tokens,
            "event": [event.kind for event in shown],
            "occurred_at": [event.occurred_at.isoformat() if event.occurred_at else None for event in shown],
            "detail": [event.detail for event in shown],
        }
        # a row that can't be used has no contents to be told by: the event's digest is its number
        numbers = [n if fine else self._number(shown[n]) for n, fine in enumerate(good)]
        only_good = {
            name: [value if fine else None for value, fine in zip(column, good, strict=True)]
            for name, column in values.items()
        }
        return self._table(kind, only_good, numbers, problems, load)

    def _named(self, kind: str, campaigns: Sequence[Campaign], load: str) -> pa.Table:
        newest = {campaign.id: campaign for campaign in campaigns if campaign.sent_at is not None}
        found = list(newest.values())
        values: dict[str, list[str | None]] = {
            "campaign_id": [f"{self._destination}:{campaign.id}" for campaign in found],
            "kind": [self._platform for _ in found],
            "title": [campaign.name for campaign in found],
            "starts_at": [campaign.sent_at.isoformat() if campaign.sent_at else None for campaign in found],
        }
        return self._table(kind, values, list(range(len(found))), [None] * len(found), load)

    def _table(
        self,
        kind: str,
        values: Mapping[str, Sequence[str | None]],
        numbers: list[int],
        problems: Sequence[str | None],
        load: str,
    ) -> pa.Table:
        return pa.table(
            {
                **{name: pa.array(column, pa.string()) for name, column in values.items()},
                ROW: pa.array(numbers, pa.int64()),
                REJECTED: pa.array(problems, pa.string()),
                SOURCE: pa.array([f"{self._destination}/results of {kind}"] * len(numbers), pa.string()),
                LOAD_ID: pa.array([load] * len(numbers), pa.string()),
            }
        )

    def _people(self, events: Sequence[Event]) -> list[str | None]:
        """A customer's token where the platform knows our id, else that of the address."""
        emails = {text: normalise_email(text) for text in {event.email for event in events} if text}
        ids = {text: normalise_id(text) for text in {event.customer_id for event in events} if text}
        by_email = self._tokens("email", emails)
        by_id = self._tokens("customer", ids)
        return [by_id.get(event.customer_id or "") or by_email.get(event.email or "") for event in events]

    def _tokens(self, namespace: str, known: dict[str, str | None]) -> dict[str, str]:
        valid = {text: value for text, value in known.items() if value}
        return dict(zip(valid, self._keys.tokens(namespace, list(valid.values())), strict=True))

    def _number(self, event: Event) -> int:
        return int(self._keys.digest(content_of(event))[:15], 16)

    def _new(self, table: ResultsTable, rows: pa.Table) -> pa.Table:
        """The rows that have not landed yet, each once."""
        if not rows.num_rows:
            return rows
        moment = "occurred_at" if table is self._events else "starts_at"
        names = EVENT_COLUMNS if table is self._events else CAMPAIGN_COLUMNS
        same = " and ".join(f"k.{name} is not distinct from r.{name}" for name in names)
        each = ", ".join([*names, f"case when {REJECTED} is not null then {ROW} end"])
        paths = [str(path) for path in table.files(self._landing)]
        with duckdb.connect() as engine:
            engine.register("found", rows)
            engine.execute(
                "create table r as select * from found"  # noqa: S608  (names of ours)
                f" qualify row_number() over (partition by {each} order by {ROW}) = 1"
            )
            if paths:
                engine.execute(
                    "create table k as select * from read_parquet($paths, union_by_name = true)"  # noqa: S608
                    f" where coalesce({moment} >= (select min({moment}) from r), true)",
                    {"paths": paths},
                )
                engine.execute(
                    "delete from r where exists"  # noqa: S608
                    f" (select 1 from k where {same} and (r.{REJECTED} is null or k.{ROW} = r.{ROW}))"
                )
            new: pa.Table = engine.sql(f"from r order by {ROW}").to_arrow_table()
        return new.cast(rows.schema)


def content_of(event: Event) -> bytes:
    """What tells an event from all others of its destination."""
    at = event.occurred_at.isoformat() if event.occurred_at else ""
    parts = (event.id, event.kind, event.campaign_id, event.email, event.customer_id, at, event.detail, event.opt_out)
    return "\0".join(part or "" for part in parts).encode()


def _problem(event: Event) -> str | None:
    """Why an event can't be a row, None when it can."""
    if event.problem:
        return event.problem
    if not (normalise_email(event.email) if event.email else None) and not (
        normalise_id(event.customer_id) if event.customer_id else None
    ):
        return NOBODY
    if event.occurred_at is None:
        return NO_TIME
    return None if event.campaign_id else NO_CAMPAIGN
