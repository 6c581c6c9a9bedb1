"""Workspaces for benchmarks of exports: a program with one destination, and a ledger and a warehouse to plan from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from personalization.ledger import Keyring
from personalization.ledger.consent import _COLUMNS
from personalization.ledger.engine import bulk_insert
from personalization.ledger.schema import consent_events
from personalization.runtime import Runtime
from personalization.stages.export.planner import IDENTITY
from personalization.warehouse import Session
from personalization.workspace import Workspace

DAY, PURPOSE, CAMPAIGN = "2017-12-03", "email.marketing", "december"
FILES = {
    "program": "name: Benchmark\ntimezone: America/New_York\nstart: 2017-01-01\n",
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
        "    priority: 10\n    blocks: [hero]\n    destinations: [there]\n"
    ),
}
FIELDS = """
    fields:
      - {name: CAMPAIGN, column: campaign, max_length: 60}
      - {name: PB_HERO, column: hero, max_length: 20}
      - {name: OFFER, column: offer, max_length: 20}
      - {name: SCORE, column: purchase_score, type: number, "null": clear}
"""
MOMENT = 1_483_228_800_000_000
"""2017-01-01, in microseconds."""


def make_workspace(root: Path, settings: str, fields: str = FIELDS) -> Runtime:
    """A program with the destination `there`, an empty ledger and new keys.

    Parameters
    ----------
    settings : str
        Of the destination in destinations.yaml, a setting a line, without `fields`.
    """
    program = root / "program"
    program.mkdir(parents=True)
    for name, text in FILES.items():
        (program / f"{name}.yaml").write_text(text)
    lines = "".join(f"    {line}\n" for line in settings.strip().splitlines())
    (program / "destinations.yaml").write_text(f"destinations:\n  there:\n{lines}{fields}")
    runtime = Runtime(Workspace.at(root))
    Keyring.create(runtime.workspace.keys)
    return runtime


def fill_warehouse(session: Session, people: pa.Table, decided: str = "true") -> None:
    """Identities for `people` (`customer_token`, `address_token`, `number`), and decisions to send for some of them."""
    session.execute("create schema if not exists decisions; create schema if not exists landed")
    with session.registered(_people=people):
        session.execute(f"""
            create table decisions.decisions as
            select date '{DAY}' as as_of, '{CAMPAIGN}' as campaign, customer_token, address_token as email_token,
                'send' as outcome, 'send' as reason, null::varchar as variant,
                ['BACK15', 'POINTS2', 'NEW10'][1 + number % 3] as offer,
                (number % 10000) / 10000.0 as purchase_score, ['FLOWERS', 'WEEKLY'][1 + number % 2] as hero
            from _people where {decided}
        """)
        session.execute(f"""
            create table {IDENTITY} as
            select customer_token as identifier_token, 'customer' as kind, customer_token, 'id' as linked_by
            from _people
            union all
            select address_token, 'email', customer_token, 'row' from _people
        """)


def fill_consent(runtime: Runtime, customers: list[str], suppressed: list[str]) -> None:
    """A grant for everybody, as one event each. Hashes are left out: nobody checks them here."""
    fixed = {
        "channel": "email",
        "purpose": PURPOSE,
        "lawful_basis": "consent",
        "source": "bench",
        "content_sha256": "",
        "action": "grant",
        "effective_at": MOMENT,
        "recorded_at": MOMENT,
        "prev_hash": "",
        "hash": "",
    }
    seq, subject, event = (_COLUMNS.index(name) for name in ("seq", "subject_token", "event_id"))
    template = [fixed.get(name) for name in _COLUMNS]

    def row(number: int, token: str) -> tuple[object, ...]:
        values = template.copy()
        values[seq], values[subject], values[event] = number, token, f"bench:{number}"
        return tuple(values)

    with runtime.ledger.begin() as connection:
        for start in range(0, len(customers), 100_000):
            chunk = customers[start : start + 100_000]
            bulk_insert(
                connection, consent_events, _COLUMNS, (row(number, t) for number, t in enumerate(chunk, start + 1))
            )
        runtime.ledger.suppressions.add(suppressed, "unsubscribed", "bench", connection=connection)
