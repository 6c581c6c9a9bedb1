"""Killed at any moment, a writer leaves what it was told is written, and nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from personalization.ledger import Ledger

# Imports once, then forks a writer for every line it reads: the number of the first event to add. The writer prints
# its process id, then after each transaction how many events are in the ledger by then.
WRITERS = """
import os, sys
from datetime import UTC, datetime, timedelta
from personalization.ledger import ConsentEvent, Ledger

def write(first):
    ledger = Ledger.open(sys.argv[1])
    os.write(1, b"%d\\n" % os.getpid())  # one write: a kill leaves no half line
    while True:
        events = [
            ConsentEvent(
                event_id=f"e{number}", subject_token=f"s{number}", purpose="email.marketing", action="grant",
                effective_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number), source="test",
            )
            for number in range(first, first + 1 + first % 40)
        ]
        subjects = [event.subject_token for event in events]
        with ledger.begin() as connection:
            ledger.consent.append(events, connection=connection)
            ledger.suppressions.add(subjects, "unsubscribed", "test", connection=connection)
        first += len(events)
        os.write(1, b"%d\\n" % first)

for line in sys.stdin:
    writer = os.fork()
    if writer == 0:
        write(int(line))
    os.waitpid(writer, 0)
    os.write(1, b"over\\n")
"""


@pytest.mark.parametrize("rounds", [8, pytest.param(30, marks=pytest.mark.slow)])
def test_sigkill_while_appending_loses_nothing_acknowledged(url: str, rounds: int) -> None:
    draw = random.Random(7)
    first = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for _ in range(rounds):
            print(first, file=writers.stdin, flush=True)
            writer = int(writers.stdout.readline())
            acknowledged = int(writers.stdout.readline())
            threading.Timer(draw.uniform(0, 0.2), os.kill, [writer, signal.SIGKILL]).start()
            while (line := writers.stdout.readline()) != "over\n":
                acknowledged = int(line)
            with Ledger.open(url) as ledger:
                found = ledger.verify().seq
                consents, suppressions = ledger.consent.snapshot("email.marketing"), ledger.suppressions.snapshot()
            assert found >= acknowledged, "more than was acknowledged may be there, less may not"
            assert consents.num_rows == suppressions.num_rows == found, "a transaction is whole or absent"
            first = found
