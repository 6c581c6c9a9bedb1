"""Applying webhook events: from sealed bodies in the ledger to Parquet files of the landing zone, events a second."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pyarrow as pa
import pyarrow.parquet as pq

from personalization.ledger import Keyring, Ledger
from personalization.ledger.inbox_event import Arrival
from personalization.program import load_program
from personalization.stages.sync.inbox import apply_inbox
from personalization.workspace import Workspace

MOMENT = datetime(2017, 12, 2, tzinfo=UTC)
FILES = {
    "program": "name: Shop\nstart: 2017-01-01\n",
    "consent": "purposes:\n  email.marketing: {title: News}\n",
    "sources": """
sources:
  shop:
    kind: webhook
    sender: standard
    secrets: ["${env:SHOP_SECRET}"]
    tables:
      orders:
        entity: order_lines
        when: {type: order.paid}
        records: lines
        columns: {order_id: id, customer_id: customer, ordered_at: at, product_id: .sku, quantity: .n, amount: .amount}
""",
}


def bench_inbox(events: int) -> list[tuple[str, float]]:
    """Seconds for parsing the bodies and writing their rows by hand, and for applying them.

    Each event is an order of two lines, by one of a hundredth as many customers. By hand means neither tokens nor
    decryption, checks, nor a watermark: a floor that can't be reached.
    """
    with TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        workspace.program.mkdir(parents=True)
        for name, text in FILES.items():
            (workspace.program / f"{name}.yaml").write_text(text)
        keys = Keyring.create(workspace.keys)
        bodies = list(_bodies(events))
        with Ledger.open(workspace.ledger_url) as ledger:
            for start in range(0, events, 20_000):
                ledger.inbox.receive(
                    [
                        Arrival.sealed(keys, source="shop", event_key=f"e{start + n}", body=body, received_at=MOMENT)
                        for n, body in enumerate(bodies[start : start + 20_000])
                    ]
                )
            started = perf_counter()
            _by_hand(bodies, Path(folder) / "by-hand.parquet")
            by_hand = perf_counter() - started
            started = perf_counter()
            done = apply_inbox(load_program(workspace.program), workspace, keys, ledger)
            ours = perf_counter() - started
        if done.rows != {"shop.orders": 2 * events} or done.dead:
            raise RuntimeError(f"not every event was applied: {done}")
    return [("parsed and written by hand", by_hand), (f"applied ({events / ours:,.0f} events/s)", ours)]


def _bodies(events: int) -> list[bytes]:
    choice = random.Random(7)
    return [
        json.dumps(
            {
                "type": "order.paid",
                "id": f"o{number}",
                "customer": str(choice.randrange(max(1, events // 100))),
                "at": "2017-12-01T10:00:00Z",
                "lines": [{"sku": f"p{choice.randrange(5000)}", "n": 1, "amount": 9.5} for _ in range(2)],
            }
        ).encode()
        for number in range(events)
    ]


def _by_hand(bodies: list[bytes], path: Path) -> None:
    rows = [
        {"order": event["id"], "customer": event["customer"], "at": event["at"], **line}
        for event in map(json.loads, bodies)
        for line in event["lines"]
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
