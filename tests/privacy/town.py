"""A small company with one person whose data is everywhere: in every store, old and new, and in files nobody named."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personalization.ledger import ConsentEvent, Keyring
from personalization.ledger.inbox_event import Arrival
from personalization.runtime import Runtime
from personalization.stages.export.exporter import export_destination
from personalization.stages.sync.identity import write_identity
from personalization.stages.sync.load import sync
from personalization.stages.validation.validate import validate_landed
from personalization.workspace import Workspace

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = "2017-12-03"
PROGRAM = """
name: Canary & Sons
timezone: Europe/Berlin
currency: EUR
start: 2017-01-01
privacy: {retention_months: {order_lines: 24}}
"""
CONSENT = """
purposes:
  email.marketing:
    title: News by e-mail
    notices: [{version: "1", text: We may write to you about our canaries.}]
"""
SOURCES = """
sources:
  crm:
    kind: files
    location: data
    tables:
      customers:
        entity: customers
        path: customers.csv
        write: replace
        columns:
          {customer_id: id, email: email, phone: phone, first_name: first, last_name: last, street: street, city: city}
      orders:
        entity: order_lines
        path: orders.csv
        columns:
          {order_id: order, product_id: product, customer_id: id, quantity: quantity, amount: amount, ordered_at: at}
      consents:
        entity: consent_events
        path: consents.csv
        columns:
          event_id: event
          customer_id: id
          purpose: purpose
          action: action
          effective_at: at
          method: method
          notice_version: notice
  hooks:
    kind: webhook
    sender: standard
    secrets: ["${env:HOOKS_SECRET}"]
    tables:
      people: {entity: customers, columns: {customer_id: customer.id, email: customer.email}}
"""
CAMPAIGNS = """
campaigns:
  winter: {title: Winter, purpose: email.marketing, audience: recency_days > 1, destinations: [file, mailchimp]}
"""
DESTINATIONS = """
destinations:
  file:
    platform: csv
    fields: [{name: CAMPAIGN, column: campaign, max_length: 60}]
  mailchimp:
    platform: mailchimp
    base_url: ${env:MAILCHIMP_BASE_URL}
    api_key: ${env:MAILCHIMP_API_KEY}
    list_id: demo000001
    fields: [{name: CAMPAIGN, column: campaign, max_length: 60}]
"""
FILES = {
    "program": PROGRAM,
    "consent": CONSENT,
    "sources": SOURCES,
    "campaigns": CAMPAIGNS,
    "destinations": DESTINATIONS,
}

OLD, NEW = "anna.kanarek@example.org", "Anna.Kanarek+Neu@example.org"
PHONE = "+49 30 555 0147"
CANARY = {
    "email": NEW,
    "phone": PHONE,
    "first": "Annegret-Kanaria",
    "last": "Kanarienvogel",
    "street": "Kanarienweg 7b",
}
SECOND = {**CANARY, "email": "vogel@example.net", "first": "Anna", "street": "Zweitweg 99"}
ANNA, ANNA_TWO, BEN, OTHERS = "c-100", "c-200", "c-300", [f"c-{number}" for number in range(400, 420)]
BEN_VALUES = {
    "email": "ben@example.com",
    "phone": "+49 30 555 0999",
    "first": "Benedikt-Exemplar",
    "last": "Beispielmann",
    "street": "Beispielgasse 1",
}


@dataclass(frozen=True)
class Town:
    """The workspace."""

    root: Path
    ledger: str | None = None
    """URL of a ledger that is not in the workspace."""

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime(Workspace.at(self.root, None, self.ledger))

    @property
    def state(self) -> Path:
        return self.root / "var"

    def token(self, customer: str) -> str:
        return self.runtime.keys.token("customer", customer)

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path = self.root / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(buffer.getvalue(), encoding="utf-8")

    def write_customers(self, *, anna: dict[str, str] | None) -> None:
        """The customer file as it is now; without Anna when she was deleted there."""
        people = [{"id": BEN, **BEN_VALUES, "city": "Bonn"}]
        people += [
            {
                "id": id_,
                "email": f"{id_}@example.com",
                "phone": "",
                "first": "Otto",
                "last": "",
                "street": "",
                "city": "Köln",
            }
            for id_ in OTHERS
        ]
        if anna:
            people += [{"id": ANNA, **anna, "city": "Berlin"}, {"id": ANNA_TWO, **SECOND, "city": "Berlin"}]
        self.write("customers.csv", people)

    def sync(self) -> None:
        runtime = self.runtime
        sync(runtime.program, runtime.workspace, runtime.keys, runtime.ledger)
        with runtime.warehouse.connect() as session:
            validate_landed(runtime.program, runtime.workspace, session)
            write_identity(session, runtime.workspace.history)

    def decide(self) -> None:
        """Everyone who has an address is to be mailed."""
        with self.runtime.warehouse.connect() as session:
            session.execute("create schema if not exists decisions")
            session.execute(
                "create or replace table decisions.decisions as"
                " select date '2017-12-03' as as_of, 'winter' as campaign, i.customer_token,"
                " min(c.email_token) as email_token, 'send' as outcome, 'send' as reason, ['send'] as reasons,"
                " null::varchar as variant, 'BACK15' as offer, 0.5 as purchase_score"
                " from landed.customers c join landed.identity i on i.identifier_token = c.customer_key"
                " where c.email_token is not null group by i.customer_token"
            )

    def export(self, *destinations: str) -> None:
        for name in destinations:
            export_destination(self.runtime, name, self.runtime.as_of(DAY), override_guard="test: small")

    def plant(self) -> None:
        """What other programs and later versions may leave behind, each with Anna in it."""
        runtime, anna = self.runtime, self.token(ANNA)
        with runtime.warehouse.connect() as session:
            session.execute("create schema if not exists future")
            session.execute("create schema if not exists scores")
            session.execute(
                "create table scores.explanations as select date '2017-12-03' as as_of, $token as customer_token,"
                " 1 as rank, 'recency_days' as feature, 3.0 as value, 0.75 as contribution",
                {"token": anna},
            )
            session.execute(
                "create table future.unheard_of as select 'FUTURE-CANARY' as planted, {'who': [$token]} as nested,"
                ' \'{"who": "\' || $token || \'", "why": "long enough to be looked into"}\' as text',
                {"token": anna},
            )
            session.execute("create view future.seen as select * from future.unheard_of")
        history = runtime.workspace.history / "segments"
        history.mkdir(parents=True)
        members = {"segment": ["SEGMENT-CANARY", "birds"], "customer_token": [anna, self.token(BEN)]}
        pq.write_table(pa.table(members), history / "as_of=2017-12-03.parquet", compression="zstd")
        (self.state / "run.log").write_text(f"step done for {anna}\n")
        report = self.state / "reports" / "2017-12-03"
        report.mkdir(parents=True)
        (report / "index.html").write_text(f"<p>sample: {anna}</p>")
        model = self.state / "models" / "purchase_propensity" / "abc"
        model.mkdir(parents=True)
        (model / "model.joblib").write_bytes(pickle.dumps({"training": [anna]}))
        storage = self.state / "dagster" / "storage"
        storage.mkdir(parents=True)
        with closing(sqlite3.connect(storage / "events.db")) as database:
            database.execute("create table event_logs (id integer primary key, event text)")
            database.execute(
                "insert into event_logs (event) values (?)", [json.dumps({"sample": anna, "pad": "x" * 9000})]
            )
            database.commit()

    def receive(self) -> None:
        """Webhook events: one about Anna, one about Ben, one about both."""
        keys = self.runtime.keys
        bodies = [
            {"customer": {"id": ANNA, "email": OLD}, "note": "HOOK-CANARY"},
            {"customer": {"id": BEN, "email": BEN_VALUES["email"]}, "note": "BEN-HOOK"},
            {"batch": [{"email": NEW, "what": "BATCH-CANARY"}, {"email": BEN_VALUES["email"], "what": "BEN-BATCH"}]},
        ]
        self.runtime.ledger.inbox.receive(
            [
                Arrival.sealed(
                    keys, source="hooks", event_key=f"e{number}", body=json.dumps(body).encode(), received_at=AT
                )
                for number, body in enumerate(bodies)
            ]
        )

    def withdraw(self, customer: str, at: datetime) -> None:
        event = ConsentEvent(
            event_id=f"{customer}-withdraw-{at.isoformat()}",
            subject_token=self.token(customer),
            purpose="email.marketing",
            action="withdraw",
            effective_at=at,
            source="preference page",
            method="preference page",
        )
        self.runtime.ledger.consent.append([event])


def make_town(root: Path, ledger: str | None = None) -> Town:
    """The company after two syncs: Anna's address changed in between."""
    program = root / "program"
    program.mkdir(parents=True)
    for name, text in FILES.items():
        (program / f"{name}.yaml").write_text(text, encoding="utf-8")
    town = Town(root, ledger)
    Keyring.create(town.state / "keys.json")
    people = [ANNA, ANNA_TWO, BEN, *OTHERS]
    order = {"product": "p1", "quantity": 1, "amount": "9.99", "at": "2026-10-01T10:00:00"}
    orders = [{"order": f"o{number}", "id": id_, **order} for number, id_ in enumerate(people)]
    orders.append({**orders[0], "order": "ORDER-CANARY", "at": "2020-01-01T10:00:00"})
    town.write("orders.csv", orders)
    consent = {
        "purpose": "email.marketing",
        "action": "grant",
        "at": "2017-01-01T00:00:00Z",
        "method": "form",
        "notice": "1",
    }
    town.write("consents.csv", [{"event": f"CONSENT-{id_}", "id": id_, **consent, "notice": "1"} for id_ in people])
    town.write_customers(anna={**CANARY, "email": OLD})
    town.sync()
    town.decide()
    town.export("file")
    town.write_customers(anna=CANARY)
    town.sync()
    town.decide()
    town.export("file")
    town.receive()
    town.plant()
    town.runtime.ledger.close()
    return town


def copy_town(town: Town, folder: Path) -> Town:
    return Town(Path(shutil.copytree(town.root, folder / "town")))
