"""The landing tables of what platforms report about mailings when they are asked: see docs/results.md.

Their files need no list of what counts. A file that a killed read left behind says what the platform said, and the
next read writes it again under the same name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from personalization.program import Program
from personalization.program.models import PlatformDestination
from personalization.stages.sync.entities import ENTITIES, Entity

EVENT_COLUMNS = ("campaign_id", "customer_key", "event", "occurred_at", "detail")
CAMPAIGN_COLUMNS = ("campaign_id", "kind", "title", "starts_at")
_COLUMNS = {"email_events": EVENT_COLUMNS, "campaign_history": CAMPAIGN_COLUMNS}

_FILE = re.compile(r"results\.([a-z_]+)\.(\d{12})\.parquet")


@dataclass(frozen=True)
class ResultsTable:
    """One landing table of one destination. All its columns are text."""

    destination: str
    entity: Entity

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold values."""
        return _COLUMNS[self.entity.name]

    @property
    def landing_name(self) -> str:
        """A name that no source and table can have: theirs hold no dot."""
        return f"{self.entity.name}__results.{self.destination}"

    @property
    def label(self) -> str:
        return f"results of {self.destination}"

    def folder(self, landing: Path) -> Path:
        return landing / self.landing_name

    def files(self, landing: Path) -> list[Path]:
        """Its Parquet files, by kind and in the order they were written."""
        return sorted(path for path in self.folder(landing).glob("results.*.parquet") if _FILE.fullmatch(path.name))


def results_file(kind: str, batch: int) -> str:
    """The name of the file of one batch of one kind."""
    return f"results.{kind}.{batch:012d}.parquet"


def results_destinations(program: Program) -> list[str]:
    """Destinations whose results are read back, in the order they are written."""
    return [
        name
        for name, destination in program.destinations.items()
        if isinstance(destination, PlatformDestination) and destination.results is not None
    ]


def results_table(destination: str, entity: str) -> ResultsTable:
    return ResultsTable(destination, ENTITIES[entity])


def results_tables(program: Program) -> list[ResultsTable]:
    """Every landing table of results that the program asks for."""
    return [results_table(name, entity) for name in results_destinations(program) for entity in _COLUMNS]
