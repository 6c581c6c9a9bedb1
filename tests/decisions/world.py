"""A small world for tests of decisions: a program from plain dicts, customers, events, and a real ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.ledger import ConsentEvent, Ledger
from personalization.program import Program, load_program
from personalization.rules import evaluation_query, program_rules
from personalization.stages.decisions.decide import Decided, decide_day
from personalization.warehouse import Session

DAY = date(2017, 12, 3)
AS_OF = AsOf(DAY)
MARKETING, SCORING = "email.marketing", "personalization.ml_scoring"

PROFILE = {
    "recency_days": "bigint",
    "orders_84d": "bigint",
    "conversions_84d": "bigint",
    "average_order_value_84d": "double",
    "top_department_84d": "varchar",
    "age_band": "varchar",
    "income_band": "varchar",
    "household_size": "integer",
    "marital_status": "varchar",
    "home_ownership": "varchar",
    "children": "varchar",
    "purchase_score": "double",
    "purchase_band": "varchar",
}

SCHEMA = """
    create schema if not exists landed;
    create schema if not exists marts;
    create schema if not exists segments;
    create or replace table landed.identity (
        identifier_token varchar, kind varchar, customer_token varchar, linked_by varchar
    );
    create or replace table marts.email_events (
        customer_token varchar, campaign_id varchar, event varchar, occurred_at timestamp, event_day date,
        detail varchar, events bigint
    );
    create or replace table marts.customer_day (
        customer_token varchar, event_day date, event varchar, department varchar, campaign_id varchar,
        events bigint, quantity decimal(18, 4), amount decimal(18, 4)
    );
    create or replace table marts.moments (
        customer_token varchar, moment_us bigint, occurred_at timestamp, event_day date, event varchar,
        event_id varchar, department varchar, category varchar, product_id varchar, campaign_id varchar,
        detail varchar, events bigint, quantity decimal(38, 4), amount decimal(38, 4)
    );
    create or replace table marts.orders (
        order_id varchar, customer_token varchar, order_day date, amount decimal(18, 4)
    );
    create or replace table marts.campaign_history (campaign_id varchar, kind varchar);
    create or replace table segments.membership (
        as_of date, segment varchar, customer_token varchar, status varchar
    );
"""

SPRING: dict[str, Any] = {"title": "Spring", "purpose": MARKETING, "audience": "orders_84d >= 0"}


@dataclass
class Person:
    """One customer. `sends` are days of earlier mailings; `consent` are (action, moment, identifier kind)."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    sends: Sequence[date] = ()
    consent: Sequence[tuple[str, datetime, str]] = (("grant", datetime(2017, 1, 1, tzinfo=UTC), "customer"),)
    address: bool = True

    @property
    def token(self) -> str:
        return f"t1_k1_{self.name}"

    @property
    def email_token(self) -> str | None:
        return f"t1_k1_{self.name}_email" if self.address else None


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_program(
    folder: Path,
    *,
    campaigns: Mapping[str, Any] | None = None,
    blocks: Mapping[str, Any] | None = None,
    offers: Mapping[str, Any] | None = None,
    experiments: Mapping[str, Any] | None = None,
    segments: Mapping[str, Any] | None = None,
    purposes: Mapping[str, Any] | None = None,
    frequency: Mapping[str, Any] | None = None,
    topics: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Program:
    """Write the files (JSON is YAML) and load them. Without a holdout unless asked for."""
    files = {
        "program": {"name": "Test", "start": "2017-01-01", "holdout": {"share": 0, "salt": "h"}, **settings},
        "sources": {"sources": {}},
        "consent": {
            "purposes": purposes or {MARKETING: {"title": "Mail"}, SCORING: {"title": "Scores"}},
            "frequency": frequency or {},
            "topics": topics or {},
        },
        "campaigns": {"campaigns": campaigns if campaigns is not None else {"spring": SPRING}},
        "content": {"blocks": blocks or {}},
        "offers": {"offers": offers or {}},
        "experiments": {"experiments": experiments or {}},
        "segments": {"segments": segments or {}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content, default=str), encoding="utf-8")
    return load_program(folder)


def fill(session: Session, ledger: Ledger, program: Program, people: Sequence[Person], as_of: AsOf = AS_OF) -> None:
    """Write people to warehouse and ledger, and evaluate the program's segments as the segments stage does."""
    session.execute(SCHEMA)
    defaults = {"orders_84d": 3, "recency_days": 10}
    rows = [{name: {**defaults, **person.fields}.get(name) for name in PROFILE} for person in people]
    profile = pa.table(
        {
            "customer_token": pa.array([person.token for person in people], pa.string()),
            "email_token": pa.array([person.email_token for person in people], pa.string()),
            **{name: pa.array([row[name] for row in rows]) for name in PROFILE},
        }
    )
    columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in PROFILE.items())
    with session.registered(_people=profile):
        session.execute(
            f"create or replace table segments.profile as "
            f"select date '{as_of.key}' as as_of, customer_token, email_token, {columns} from _people"
        )
    session.execute("""
        insert into landed.identity
        select customer_token, 'customer', customer_token, 'customer' from segments.profile
        union all
        select email_token, 'email', customer_token, 'email' from segments.profile where email_token is not null
    """)
    add_sends(session, [(person.token, day) for person in people for day in person.sends])
    ledger.consent.append(event for person in people for event in consent_events(person))
    rules = program_rules(program).segments
    if rules:
        session.execute(f"create or replace temp table _evaluated as {evaluation_query(rules, as_of, segments=rules)}")
        for name, rule in rules.items():
            session.execute(f"""
                insert into segments.membership
                select date '{as_of.key}', '{name}', customer_token, case when "{name}" then 'in' else 'held' end
                from _evaluated
                where "{name}" or ('{rule.unknown}' = 'hold' and not "{name}__decidable")
            """)


def add_sends(session: Session, sends: Sequence[tuple[str, date]]) -> None:
    """Mailings of an earlier campaign, one row each."""
    table = pa.table(
        {
            "token": pa.array([token for token, _ in sends], pa.string()),
            "day": pa.array([day for _, day in sends], pa.date32()),
        }
    )
    with session.registered(_sends=table):
        session.execute(
            "insert into marts.email_events select token, 'earlier', 'sent', null, day, null, 1 from _sends"
        )


def consent_events(person: Person, purpose: str = MARKETING, *, suffix: str = "") -> list[ConsentEvent]:
    return [
        ConsentEvent(
            event_id=f"{person.name}-{purpose}-{number}{suffix}",
            subject_token=f"{person.token}_email" if kind == "email" else person.token,
            purpose=purpose,
            action=action,
            effective_at=at,
            source="test",
        )
        for number, (action, at, kind) in enumerate(person.consent)
    ]


@dataclass
class World:
    """One warehouse and one ledger, with what most tests do."""

    session: Session
    ledger: Ledger
    folder: Path

    def program(self, **parts: Any) -> Program:
        return make_program(self.folder, **parts)

    def fill(self, program: Program, people: Sequence[Person], as_of: AsOf = AS_OF) -> None:
        fill(self.session, self.ledger, program, people, as_of)

    def decide(self, program: Program, people: Sequence[Person], as_of: AsOf = AS_OF) -> Decided:
        self.fill(program, people, as_of)
        return self.again(program, as_of)

    def again(self, program: Program, as_of: AsOf = AS_OF) -> Decided:
        return decide_day(self.session, self.ledger, program, as_of)

    def rows(self, campaign: str = "spring", as_of: AsOf = AS_OF) -> dict[str, dict[str, Any]]:
        """The decisions of one campaign by the customer's short name."""
        query = "select * from decisions.decisions where campaign = ? and as_of = ?"
        found = self.session.arrow(query, [campaign, as_of.day]).to_pylist()
        return {row["customer_token"].removeprefix("t1_k1_"): row for row in found}

    def reasons(self, campaign: str = "spring") -> dict[str, list[str]]:
        return {name: row["reasons"] for name, row in self.rows(campaign).items()}
