"""Opt-outs against exports: one process lets people opt out, another exports them again and again; both get killed.

Run as `python -m tests.export.race FOLDER ROWS SECONDS [early]` on a shop in FOLDER. It imports everything once and
forks the two. `early` runs an exporter that asks who may be written to *before* it renders, as many tools do: the test
must find it out. That exporter exists here only.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from personalization.errors import PersonalizationError
from personalization.ledger import ConsentEvent
from personalization.ledger.schema import now, to_micros
from personalization.runtime import Runtime
from personalization.stages.export import delivery, exporter
from personalization.stages.export.adapters.base import Limits
from personalization.stages.export.adapters.csv import CsvAdapter
from personalization.stages.export.cut import Block, Contact, Erased
from personalization.workspace import Workspace

CLIENTS = 50
BATCH = 500
DAY = "2017-12-03"
ACKNOWLEDGED = "acknowledged.log"
PURPOSE = "email.marketing"


class EarlyDelivery(delivery.Delivery):
    """The mistake: the filter runs before rendering, and rendering takes a while."""

    def _send(self, ready: delivery._Ready) -> None:
        cut, rows = self._cut, ready.rows
        seen = [Contact(str(row.id), row.purpose, (row.customer_token, row.address_token)) for row in rows]
        early = cut.blocked(seen)
        time.sleep(0.05)

        class Decided:
            def blocked(self, contacts: Iterable[Contact], *, erased: Erased) -> dict[str, Block]:
                return {contact.key: early[contact.key] for contact in contacts if contact.key in early}

            def person(self, customer: str, address: str) -> tuple[str, ...]:
                return cut.person(customer, address)

        self._cut = Decided()  # type: ignore[assignment]
        try:
            super()._send(delivery._Ready(rows, *self._prepare(rows)))
        finally:
            self._cut = cut


def export_for_ever(root: Path, early: bool) -> None:
    """Everybody's offer changes with each export, so that everybody is sent again."""
    CsvAdapter.limits = Limits(rows=BATCH)
    if early:
        exporter.Delivery = EarlyDelivery  # type: ignore[misc]
    runtime = Runtime(Workspace.at(root))
    number = random.randrange(10**6)
    while True:
        number += 1
        try:
            with runtime.warehouse.connect() as session:
                session.execute("update decisions.decisions set offer = ?", [f"R{number}"])
            exporter.export_destination(runtime, "file", runtime.as_of(DAY), override_guard="test: many opt out")
        except PersonalizationError as error:
            sys.stderr.write(f"{error}\n")
            time.sleep(0.2)


def opt_out_for_ever(root: Path, seconds: float) -> None:
    """Fifty clients opt people out, one after the other, each waiting for its answer; one thread writes."""
    runtime = Runtime(Workspace.at(root))
    ledger = runtime.ledger
    log = os.open(root / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = {line.split()[0] for line in (root / ACKNOWLEDGED).read_text().splitlines()}
    with runtime.warehouse.connect(read_only=True) as session:
        found = session.rows("select customer_token, email_token from decisions.decisions")
    people = [row for row in found if row[0] not in done]
    random.shuffle(people)
    pause = 2 * CLIENTS * seconds / len(found)  # half of them opt out in the time there is: others must be left to mail
    waiting: queue.SimpleQueue = queue.SimpleQueue()

    def client() -> None:
        while people:
            customer, address = people.pop()
            durable = threading.Event()
            waiting.put((customer, address, durable))
            durable.wait()
            os.write(log, f"{customer} {to_micros(now())}\n".encode())
            time.sleep(random.random() * 2 * pause)

    for _ in range(CLIENTS):
        threading.Thread(target=client, daemon=True).start()
    while True:
        taken = [waiting.get()]
        while not waiting.empty():
            taken.append(waiting.get())
        events = [
            ConsentEvent(
                event_id=f"out-{customer}",
                subject_token=random.choice((customer, address)),
                purpose=PURPOSE,
                action="withdraw",
                effective_at=datetime(2018, 1, 1, tzinfo=UTC),
                source="race",
            )
            for customer, address, _ in taken[::2]
        ]
        while True:
            try:
                with ledger.begin() as connection:
                    ledger.consent.append(events, connection=connection)
                    stopped = [address for _, address, _ in taken[1::2]]
                    ledger.suppressions.add(stopped, "unsubscribed", "race", connection=connection)
                break
            except PersonalizationError:
                time.sleep(0.05)
        for _, _, durable in taken:
            durable.set()


def sent(root: Path) -> int:
    with sqlite3.connect(f"file:{root / 'var' / 'ledger.sqlite'}?mode=ro", uri=True, timeout=30) as connection:
        query = "select count(*) from outbox where operation in ('add', 'change') and state = 'acked'"
        return int(connection.execute(query).fetchone()[0])


def main() -> None:
    root, rows, seconds, early = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), "early" in sys.argv
    (root / ACKNOWLEDGED).touch()
    workers = {"export": lambda: export_for_ever(root, early), "opt out": lambda: opt_out_for_ever(root, seconds)}
    running: dict[str, int] = {}
    kills = dict.fromkeys(workers, 0)
    begun, looked = time.monotonic(), 0.0
    kill_at = {name: begun + 4 + random.random() * seconds / 5 for name in workers}
    while time.monotonic() - begun < seconds:
        for name, work in workers.items():
            if name not in running:
                pid = os.fork()
                if pid == 0:
                    random.seed()
                    work()
                    os._exit(0)
                running[name] = pid
            if time.monotonic() > kill_at[name]:
                os.kill(running[name], signal.SIGKILL)
                os.waitpid(running.pop(name), 0)
                kills[name] += 1
                kill_at[name] = time.monotonic() + 4 + random.random() * seconds / 20
        time.sleep(0.05)
        if time.monotonic() - looked > 2:
            looked = time.monotonic()
            if sent(root) >= rows:
                break
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(kills["export"], kills["opt out"])


if __name__ == "__main__":
    main()
