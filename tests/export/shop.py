"""A small shop at the point where decisions are made: program, warehouse, ledger and keys in a folder of its own."""

from __future__ import annotations

import atexit
import copy
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from personalization.ledger import ConsentEvent, Keyring, VaultItem
from personalization.ledger.export_books import Books, ExportBooks
from personalization.runtime import Runtime
from personalization.sandbox import Sandbox
from personalization.stages.export.exporter import Exported, export_destination
from personalization.stages.export.planner import Plan, plan_destination
from personalization.workspace import Workspace

DAY = "2017-12-03"
PURPOSE = "email.marketing"
FILES = {
    "program": "name: Test shop\ntimezone: America/New_York\nstart: 2017-01-01\n",
    "sources": "sources: {}\n",
    "consent": "purposes:\n  email.marketing: {title: News by e-mail}\n",
    "content": (
        "blocks:\n"
        "  hero:\n    title: Picture\n    branches: [{code: FLOWERS, when: recency_days > 1}]\n"
        "    otherwise: {code: WEEKLY}\n"
    ),
    "campaigns": (
        "campaigns:\n"
        "  december:\n    title: December\n    purpose: email.marketing\n    audience: recency_days > 1\n"
        "    priority: 10\n    blocks: [hero]\n    destinations: [mailchimp, file]\n"
        "  favourites:\n    title: Favourites\n    purpose: email.marketing\n    audience: recency_days > 1\n"
        "    priority: 20\n    blocks: [hero]\n    destinations: [mailchimp, file]\n"
    ),
    "destinations": (
        "destinations:\n"
        "  mailchimp:\n    platform: mailchimp\n    base_url: ${env:MAILCHIMP_BASE_URL}\n"
        "    api_key: ${env:MAILCHIMP_API_KEY}\n    list_id: demo000001\n    mails: false\n"
        "    fields: &fields\n"
        "      - {name: CAMPAIGN, column: campaign, max_length: 60}\n"
        "      - {name: PB_HERO, column: hero, max_length: 20}\n"
        "      - {name: OFFER, column: offer, max_length: 20}\n"
        '      - {name: SCORE, column: purchase_score, type: number, "null": clear}\n'
        "  file:\n    platform: csv\n    mails: false\n    fields: *fields\n"
    ),
}
DECISION_COLUMNS = (
    "as_of date, campaign varchar, customer_token varchar, email_token varchar, outcome varchar, reason varchar,"
    " variant varchar, offer varchar, purchase_score double, hero varchar"
)


def address(number: int) -> str:
    return f"u{number}@example.com"


@dataclass
class Shop:
    """A workspace with `customers` people, all consented, and the tools to change one thing at a time."""

    root: Path
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    ledger_url: str | None = None

    @classmethod
    def open(cls, root: Path, customers: int = 0) -> Shop:
        """A shop in a new folder with that many customers, each with a decision to send."""
        template, rows = _template(customers)
        shutil.copytree(template, root)
        return cls(root, copy.deepcopy(rows))

    @classmethod
    def make(cls, root: Path, customers: int, ledger_url: str | None = None) -> Shop:
        """`open` without a template to copy."""
        program = root / "program"
        program.mkdir(parents=True)
        for name, text in FILES.items():
            (program / f"{name}.yaml").write_text(text)
        shop = cls(root, ledger_url=ledger_url)
        Keyring.create(shop.runtime.workspace.keys)
        shop.add(range(customers))
        shop.decide()
        return shop

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime(Workspace.at(self.root, None, self.ledger_url))

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a program file; from then on the shop runs with it."""
        path = self.root / "program" / f"{file}.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.__dict__.pop("runtime", None)

    def add_destination(self, name: str, settings: str) -> None:
        """A destination that all campaigns go to instead of Mailchimp, with the same fields.

        Parameters
        ----------
        settings : str
            Its entry in destinations.yaml: a setting a line; `fields` may be left out.
        """
        lines = "".join(f"    {line}\n" for line in settings.strip().splitlines())
        if "    fields:" not in lines:
            lines += "    fields: *fields\n"
        self.edit("destinations", "  file:\n", f"  {name}:\n{lines}  file:\n")
        self.edit("campaigns", "[mailchimp, file]", f"[{name}, file]")  # one of them mails

    def customer(self, number: int) -> str:
        return self.runtime.keys.token("customer", str(number))

    def email(self, number: int) -> str:
        return self.runtime.keys.token("email", address(number))

    def add(self, numbers: Iterable[int]) -> None:
        """People with an address in the vault, consent, and a decision to send (see `decide`)."""
        numbers = list(numbers)
        runtime = self.runtime
        customers = runtime.keys.tokens("customer", [str(number) for number in numbers])
        emails = runtime.keys.tokens("email", [address(number) for number in numbers])
        runtime.ledger.vault(runtime.keys).put(
            VaultItem(customer, "email", email, address(number))
            for number, customer, email in zip(numbers, customers, emails, strict=True)
        )
        self.consent(customers, "grant", datetime(2017, 1, 1, tzinfo=UTC))
        for number, customer, email in zip(numbers, customers, emails, strict=True):
            self.rows[number] = {
                "campaign": "december",
                "customer_token": customer,
                "email_token": email,
                "outcome": "send",
                "offer": "BACK15",
                "purchase_score": number % 100 / 100,
                "hero": "FLOWERS",
            }

    def consent(self, tokens: Sequence[str], action: str, at: datetime) -> None:
        self.runtime.ledger.consent.append(
            ConsentEvent(
                event_id=f"{token}-{action}-{at.isoformat()}",
                subject_token=token,
                purpose=PURPOSE,
                action=action,
                effective_at=at,
                source="test",
            )
            for token in tokens
        )

    def withdraw(self, *numbers: int) -> None:
        """Now, that is after the day of the decisions: only the cut can know of it."""
        self.consent([self.customer(number) for number in numbers], "withdraw", datetime(2018, 1, 1, tzinfo=UTC))

    def decide(self, day: str = DAY, columns: str = DECISION_COLUMNS) -> None:
        """Write the rows as the day's decisions, and everyone's identifiers."""
        names = [column.split()[0] for column in columns.split(", ")]
        defaults: dict[str, Any] = {"as_of": day, "reason": "send"}
        rows = [{**defaults, **row} for row in self.rows.values()]
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        identity = pa.table(
            {
                "identifier_token": [row[key] for row in rows for key in ("customer_token", "email_token") if row[key]],
                "customer_token": [
                    row["customer_token"] for row in rows for key in ("customer_token", "email_token") if row[key]
                ],
            }
        )
        with self.runtime.warehouse.connect() as session:
            session.execute("create schema if not exists decisions; create schema if not exists landed")
            session.execute(f"create or replace table decisions.decisions ({columns})")
            session.execute(
                "create or replace table landed.identity"
                " (identifier_token varchar, kind varchar, customer_token varchar, linked_by varchar)"
            )
            if rows:
                with session.registered(_rows=table, _identity=identity):
                    session.execute("insert into decisions.decisions select * from _rows")
                    session.execute("insert into landed.identity by name select distinct * from _identity")

    def plan(self, destination: str = "mailchimp", day: str = DAY) -> Plan:
        runtime = self.runtime
        return plan_destination(runtime, destination, runtime.as_of(day))

    def export(self, destination: str = "mailchimp", day: str = DAY, **options: Any) -> Exported:
        runtime = self.runtime
        return export_destination(runtime, destination, runtime.as_of(day), **options)

    def books(self, destination: str = "mailchimp") -> list[Books]:
        return ExportBooks(self.runtime.ledger).history(destination=destination)

    def wanted(self) -> dict[str, dict[str, Any]]:
        """Merge fields by address as the platform should have them for the rows with the outcome `send`."""
        return {
            address(number): {
                "CAMPAIGN": row["campaign"],
                "PB_HERO": row["hero"] or "",
                "OFFER": row["offer"] or "",
                "SCORE": "" if row["purchase_score"] is None else row["purchase_score"],
            }
            for number, row in self.rows.items()
            if row["outcome"] == "send"
        }


@cache
def _template(customers: int) -> tuple[Path, dict[int, dict[str, Any]]]:
    """A shop to copy, made once: keys, migrations and consent take longer than the tests themselves."""
    folder = Path(tempfile.mkdtemp(prefix="shop-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shop = Shop.make(folder / "shop", customers)
    shop.runtime.ledger.close()
    return shop.root, shop.rows


def fields(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """What the sandbox holds: merge fields by address, without the token, of contacts with a campaign."""
    return {
        email: {tag: value for tag, value in member["merge_fields"].items() if tag != "EXTERNALID"}
        for email, member in sandbox.members().items()
        if member["merge_fields"].get("CAMPAIGN")
    }


@contextmanager
def when_requested(sandbox: Sandbox, path: str, action: Callable[[], object]) -> Iterator[None]:
    """While the block runs, do something as soon as a request with this path has arrived at the sandbox."""
    sandbox.forget_requests()

    def wait() -> None:
        while not any(request["path"] == path for request in sandbox.request_log()):
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def folders(shop: Shop) -> list[Path]:
    """The folders of CSV runs so far, also unfinished ones."""
    root = shop.root / "var" / "exports" / "file"
    return sorted(root.iterdir()) if root.exists() else []


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())
