"""A workspace with a few people, and its pages behind a real web server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.applications import Starlette

from personalization.ledger import ConsentEvent, Keyring, Ledger, VaultItem, notice_sha256
from personalization.ledger.consent_declared import declared_event
from personalization.runtime import Runtime
from personalization.serve.pages import routes
from personalization.workspace import Workspace

JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOTICE = "We may send you offers and news. You can stop it at any time with one click."
PROGRAM = """name: Corner shop
timezone: Europe/Berlin
start: 2026-01-01
languages: [en, de]
"""
CONSENT = f"""purposes:
  email.marketing:
    title: {{en: Offers and news by e-mail, de: Angebote und Neuigkeiten per E-Mail}}
    description: {{en: Chosen from what we have this week., de: "Aus dem, was es diese Woche gibt."}}
    jurisdiction: EU
    notices:
      - {{version: "1", text: An old text.}}
      - version: "2"
        text:
          en: {NOTICE}
          de: Wir dürfen Ihnen Angebote und Neuigkeiten senden. Sie können das jederzeit mit einem Klick beenden.
  email.newsletter:
    title: {{en: Monthly recipe letter, de: Monatlicher Rezeptbrief}}
    double_opt_in: true
    notices: [{{version: "1", text: {{en: We may send you our letter., de: Wir dürfen Ihnen den Brief senden.}}}}]
  email.service:
    title: {{en: Tips for what you bought, de: Tipps zu Ihren Einkäufen}}
    lawful_basis: legitimate_interest
  email.transactional:
    title: {{en: Messages about your orders, de: Nachrichten zu Ihren Bestellungen}}
    lawful_basis: contract
  personalization.ml_scoring:
    title: {{en: Offers chosen by prediction, de: Angebote nach Vorhersage}}
    notices: [{{version: "1", text: {{en: We may predict what you like., de: Wir dürfen vorhersagen.}}}}]
  share.third_party:
    title: {{en: Sharing data with partners, de: Weitergabe an Partner}}
  sale:
    title: {{en: Selling data, de: Verkauf von Daten}}
topics:
  recipes: {{title: {{en: Recipes, de: Rezepte}}}}
  wine: {{title: {{en: Wine, de: Wein}}}}
frequency:
  all: {{title: {{en: Every e-mail, de: Jede E-Mail}}}}
  weekly: {{title: {{en: At most once a week, de: Höchstens einmal pro Woche}}, sends: 1, days: 7}}
"""
MARKETING = ("email.marketing", "email.newsletter", "email.service")


@dataclass
class House:
    """`now` is the clock of the pages; it can be moved."""

    root: Path
    now: datetime = JUNE
    base: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    @classmethod
    def build(cls, root: Path) -> House:
        (root / "program").mkdir(parents=True)
        for name, text in (("program", PROGRAM), ("consent", CONSENT), ("sources", "sources: {}\n")):
            (root / "program" / f"{name}.yaml").write_text(text)
        house = cls(root)
        Keyring.create(house.runtime.workspace.keys)
        return house

    @cached_property
    def runtime(self) -> Runtime:
        runtime = Runtime(Workspace.at(self.root))
        runtime.__dict__["ledger"] = Ledger.open(runtime.workspace.ledger_url, wait_seconds=0.3)
        return runtime

    @property
    def ledger(self) -> Ledger:
        return self.runtime.ledger

    @property
    def keys(self) -> Keyring:
        return self.runtime.keys

    def person(self, name: str, *, grants: tuple[str, ...] = ("email.marketing", "sale", "share.third_party")) -> str:
        """A customer with address and name, who agreed to some purposes; their token."""
        customer, address = self.keys.token("customer", name), f"{name}@example.com"
        email, first = self.keys.token("email", address), self.keys.token("first_name", name)
        self.ledger.vault(self.keys).put(
            [
                VaultItem(customer, "email", email, address, "crm.customers"),
                VaultItem(customer, "first_name", first, name.title(), "crm.customers"),
                VaultItem(customer, "phone", self.keys.token("phone", name), "+49301234567", "crm.customers"),
            ]
        )
        self.say(customer, "grant", *grants, at=JUNE - timedelta(days=30))
        return customer

    def email_of(self, name: str) -> str:
        return self.keys.token("email", f"{name}@example.com")

    def say(self, token: str, action: str, *purposes: str, at: datetime, link: str | None = None) -> None:
        program = self.runtime.program
        self.ledger.consent.append(
            declared_event(
                purpose,
                program.purposes[purpose],
                event_id=f"{token}-{purpose}-{action}-{at.isoformat()}",
                subject_token=token,
                action=action,
                effective_at=at,
                source="crm.consents",
                method="sign-up form",
                notice_version="1",
                double_opt_in_id=link,
            )
            for purpose in purposes
        )

    def link(self, kind: str, token: str, scope: str = "shop", **options: Any) -> str:
        """The whole address of a page for a person."""
        [link] = self.ledger.links.issue(self.keys, kind, [token], scope, **options)
        return f"{self.base}/{kind}/{link}"

    def states(self, token: str) -> dict[str, str]:
        """Where a person stands on every purpose that was ever spoken of."""
        found = self.ledger.consent.person([token], self.runtime.program.purposes)
        return {purpose: state.state for purpose, state in found.items() if state.state != "none"}

    def events(self, token: str) -> list[ConsentEvent]:
        """What the pages recorded under a token."""
        return [each.event for each in self.ledger.consent.history([token]) if each.event.source == "pages"]

    def count(self) -> int:
        with self.ledger.read() as connection:
            total = 0
            for table in ("consent_events", "preference_events", "suppressions"):
                total += connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
            return total

    @contextmanager
    def open(self) -> Iterator[House]:
        """Serve the pages on a free port of this machine."""
        app = Starlette(routes=routes(self.runtime, clock=lambda: self.now))
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="debug", log_config=None, access_log=False)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()
            self.ledger.close()


SHOWN = notice_sha256(NOTICE)
