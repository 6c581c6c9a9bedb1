"""The tables of webhook sources: which events become rows of which entity, checked like the tables that are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from personalization.errors import Position, ProgramError, did_you_mean
from personalization.program import Program
from personalization.program.models import WebhookSource, WebhookTable
from personalization.stages.sync.entities import ENTITIES, Entity, landing_table
from personalization.stages.sync.landing import replayed_files, replayed_seq
from personalization.webhooks.senders import SENDERS, Sender
from personalization.webhooks.sources import webhook_sources

PLATFORM = "platform"
"""Name of the table of what a sender reports about mailings by itself: sent, opened, clicked, bounced, …"""

_PLATFORM_TABLE = WebhookTable(
    entity="email_events",
    columns={name: name for name in ("campaign_id", "customer_id", "event", "occurred_at", "detail")},
)


@dataclass(frozen=True)
class WebhookSyncTable:
    """One table of a `kind: webhook` source and the program it was written in."""

    program: Program
    source: str
    name: str
    spec: WebhookTable

    @property
    def label(self) -> str:
        return f"{self.source}.{self.name}"

    @property
    def entity(self) -> Entity:
        return ENTITIES[self.spec.entity]

    @property
    def landing_name(self) -> str:
        return landing_table(self.entity.name, self.source, self.name)

    @property
    def columns(self) -> list[str]:
        """The canonical columns it fills, in the order of the entity."""
        given = self.spec.columns.keys() | self.spec.constants.keys() | {self.stamped}
        return [name for name in self.entity.column_names if name in given]

    @property
    def stamped(self) -> str | None:
        """The column that says when the record changed, where the events themselves say so by their time."""
        mapped = self.spec.columns.keys() | self.spec.constants.keys()
        return "updated_at" if self.entity.name == "customers" and "updated_at" not in mapped else None

    # one table is one: what is compared is where it stands, not all it says
    def __hash__(self) -> int:
        return hash(self.label)

    def position(self, *path: str) -> Position:
        """Where a setting of this table was written; without a path, where the table begins."""
        return self.program.position("sources", ("sources", self.source, "tables", self.name, *path))


def webhook_tables(program: Program) -> list[WebhookSyncTable]:
    """All tables of webhook sources, unchecked, in the order they are written."""
    return [
        WebhookSyncTable(program, source, name, table)
        for source, settings in program.sources.items()
        if isinstance(settings, WebhookSource)
        for name, table in settings.tables.items()
    ]


def landing_tables(program: Program) -> list[WebhookSyncTable]:
    """Every table that events become rows of: those of the program, and what senders report about mailings."""
    by_platform = [
        WebhookSyncTable(program, source, PLATFORM, _PLATFORM_TABLE)
        for source, settings in webhook_sources(program).items()
        if type(SENDERS[settings.sender]).email_events is not Sender.email_events and PLATFORM not in settings.tables
    ]
    return [*webhook_tables(program), *by_platform]


def landed_text(table: WebhookSyncTable) -> list[str]:
    """The columns of its landing table that hold values. All are text."""
    return [name for column in table.entity.columns if column.name in table.columns for name in column.landed]


def replayed_events(program: Program, landing: Path) -> list[int]:
    """Numbers of the events that were dead letters once and have landed since."""
    return sorted(
        {
            replayed_seq(path)
            for table in landing_tables(program)
            for path in replayed_files(landing, table.landing_name)
        }
    )


def check_webhook_tables(program: Program) -> list[ProgramError]:
    """Mistakes in the mapping of events that can be seen without an event, each with its position."""
    return [problem for table in webhook_tables(program) for problem in _check(table)]


def _check(table: WebhookSyncTable) -> Iterable[ProgramError]:
    spec, entity = table.spec, table.entity
    for group in ("columns", "constants"):
        for name in getattr(spec, group):
            if name not in entity.column_names:
                yield ProgramError(
                    f"{table.label}: '{name}' is not a column of {entity.name} "
                    f"({did_you_mean(name, entity.column_names)})",
                    at=table.position(group, name),
                )
    for name in sorted(spec.columns.keys() & spec.constants.keys()):
        yield ProgramError(
            f"{table.label}: '{name}' is both mapped and a constant", at=table.position("constants", name)
        )
    given = set(table.columns)
    for column in entity.columns:
        if column.required and column.name not in given:
            yield ProgramError(
                f"{table.label}: {entity.name} needs the column '{column.name}', which is not mapped",
                at=table.position("columns"),
                hint="map it to a path in the event, or give it as a constant",
            )
    if entity.one_of and not given & set(entity.one_of):
        yield ProgramError(
            f"{table.label}: {entity.name} needs one of: {', '.join(entity.one_of)}", at=table.position("columns")
        )
