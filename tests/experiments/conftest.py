"""A DuckDB in memory with the tables that the read-outs look at, and helpers to fill them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.warehouse import Session, Warehouse
from tests.decisions.world import SCHEMA, SPRING, make_program

ASSIGNED = date(2017, 11, 1)
EXPERIMENT = {
    "title": "Personal",
    "version": 1,
    "hypothesis": "More come back.",
    "arms": {"plain": 0.5, "personal": 0.5},
    "control": "plain",
    "salt": "hero",
}


@dataclass
class Lab:
    """A warehouse and a program with one campaign, `spring`, and one experiment, `hero`."""

    session: Session
    program: Program

    def decide(self, rows: Sequence[tuple[str, list[str], str | None]], day: date = ASSIGNED) -> None:
        """Decisions of `spring` on a day: customer, reasons, variant."""
        table = pa.table(
            {
                "token": pa.array([row[0] for row in rows], pa.string()),
                "reasons": pa.array([row[1] for row in rows], pa.list_(pa.string())),
                "variant": pa.array([row[2] for row in rows], pa.string()),
            }
        )
        query = f"""
            select date '{day}' as as_of, 'spring' as campaign, token as customer_token,
                case when len(reasons) = 0 then 'send' else 'withheld' end as outcome, reasons, variant
            from _rows
        """
        with self.session.registered(_rows=table):
            self.session.replace_day("decisions.decisions", AsOf(day), query)

    def purchases(self, customers: Sequence[str], day: date) -> None:
        self._events([(customer, day, "purchase", "", "") for customer in customers])

    def conversions(self, customers: Sequence[str], day: date, campaign: str = "spring") -> None:
        self._events([(customer, day, "conversion", "", campaign) for customer in customers])

    def mail(self, customers: Sequence[str], day: date, campaign: str, event: str = "sent") -> None:
        self._insert("marts.email_events", [(c, campaign, event, None, day, None, 1) for c in customers])

    def kind(self, campaign: str, kind: str | None) -> None:
        self.session.execute("insert into marts.campaign_history values (?, ?)", [campaign, kind])

    def _events(self, rows: list[tuple[str, date, str, str, str]]) -> None:
        self._insert("marts.customer_day", [(*row, 1, 1, 10) for row in rows])

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        marks = ", ".join("?" for _ in rows[0])
        self.session.raw.execute("begin")
        self.session.raw.executemany(f"insert into {table} values ({marks})", [list(row) for row in rows])
        self.session.raw.execute("commit")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    program = make_program(
        tmp_path / "program",
        campaigns={"spring": {**SPRING, "experiment": "hero"}, "plain": SPRING},
        experiments={"hero": EXPERIMENT},
        holdout={"share": 0.25, "salt": "h"},
    )
    with Warehouse(Path(":memory:"), threads=1).connect() as session:
        session.execute(SCHEMA)
        yield Lab(session, program)


def after(days: int) -> AsOf:
    """The day `days` after the assignment."""
    return AsOf(ASSIGNED + timedelta(days=days))
