"""Builds the few tables the segments stage reads, and runs it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program, load_program
from personalization.rules.catalog import FIELDS
from personalization.stages.segments.evaluate import Evaluation, evaluate_segments
from personalization.stages.segments.tables import SegmentSummary
from personalization.warehouse import Session

EXAMPLE = Path(__file__).parents[2] / "program"
TABLES = ("profile", "membership", "summary", "history")
MONDAY = AsOf(date(2024, 3, 4))
_KINDS = {"number": "double", "text": "varchar", "date": "date", "boolean": "boolean"}
_SCORES = ("purchase_score", "purchase_band")


@dataclass
class Shop:
    session: Session
    root: Path
    settings: str = ""
    last: Evaluation | None = None

    def __post_init__(self) -> None:
        columns = ", ".join(f"{name} {_KINDS[each.type]}" for name, each in FIELDS.items() if name not in _SCORES)
        for statement in (
            "create schema if not exists features",
            "create schema if not exists scores",
            "create schema if not exists marts",
            "create schema if not exists landed",
            "create table if not exists landed.identity (identifier_token varchar, customer_token varchar)",
            "create or replace table features.customer_profile"
            f" (as_of date, customer_token varchar, email_token varchar, {columns})",
            "create or replace table scores.propensity"
            " (as_of date, customer_token varchar, purchase_score double, purchase_band varchar)",
            "create or replace table marts.customer_day (customer_token varchar, event_day date, event varchar,"
            " department varchar, campaign_id varchar, events bigint, quantity decimal(38, 4), amount decimal(38, 4))",
        ):
            self.session.execute(statement)

    def program(self, **segments: str | dict[str, Any]) -> Program:
        """A program with these segments; a text is the rule of one."""
        folder = self.root / "program"
        folder.mkdir(exist_ok=True)
        for name in ("program", "sources", "consent"):
            text = (EXAMPLE / f"{name}.yaml").read_text(encoding="utf-8")
            (folder / f"{name}.yaml").write_text(text + (self.settings if name == "program" else ""))
        entries = {
            name: {"title": name.title(), **(each if isinstance(each, dict) else {"rule": each})}
            for name, each in segments.items()
        }
        (folder / "segments.yaml").write_text(json.dumps({"segments": entries}))
        return load_program(folder)

    def customers(self, day: AsOf, **people: dict[str, Any]) -> None:
        """Features of one day in place of any other's, as dbt leaves them; a score goes to its own table."""
        self.session.replace_rows("features.customer_profile", "true", "from features.customer_profile limit 0")
        of_the_day = f"as_of = date '{day.key}'"
        self.session.replace_rows("scores.propensity", of_the_day, "from scores.propensity limit 0")
        for token, fields in people.items():
            features = {"as_of": day.day, "customer_token": token, "email_token": f"mail-{token}"}
            features |= {name: value for name, value in fields.items() if name not in _SCORES}
            self._insert("features.customer_profile", features)
            if "purchase_score" in fields:
                scores = {"as_of": day.day, "customer_token": token, "purchase_band": "low"}
                self._insert("scores.propensity", scores | {"purchase_score": fields["purchase_score"]})

    def bought(self, token: str, day: date, events: int = 1) -> None:
        row = {"customer_token": token, "event_day": day, "event": "purchase", "department": "", "campaign_id": ""}
        self._insert("marts.customer_day", row | {"events": events, "quantity": 1, "amount": 10})

    def evaluate(
        self,
        program: Program,
        day: AsOf,
        only: Collection[str] | None = None,
        may_be_scored: Collection[str] | None = None,
    ) -> dict[str, SegmentSummary]:
        people = None if may_be_scored is None else pa.table({"customer_token": sorted(may_be_scored)})
        scored = None if people is None else lambda: people
        history = self.root / "var" / "history"
        self.last = evaluate_segments(self.session, program, day, history, only=only, may_be_scored=scored)
        return self.last.summaries

    def members(self, day: AsOf, segment: str, status: str = "in") -> set[str]:
        rows = self.session.rows(
            "select customer_token from segments.membership where as_of = ? and segment = ? and status = ?",
            [day.day, segment, status],
        )
        return {token for (token,) in rows}

    def stays(self, segment: str) -> list[tuple[str, date, date | None]]:
        return self.session.rows(
            "select customer_token, entered_on, exited_on from segments.history where segment = ?"
            " order by customer_token, entered_on",
            [segment],
        )

    def fingerprints(self) -> dict[str, str]:
        return {name: self.session.fingerprint(f"segments.{name}") for name in TABLES}

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" for _ in row)
        self.session.set_note(table, None)
        self.session.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values()))
