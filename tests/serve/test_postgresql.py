"""The same on PostgreSQL: kept before the answer, and back again after the database was away. Invariants 1, 6, 7."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.postgres import new_database
from tests.serve.conftest import Clock
from tests.serve.server import Served, serving
from tests.serve.test_faults import busy, keys_in
from tests.serve.test_receiver import BODY, FORM, post, signed
from tests.webhooks.signing import ACTIVECAMPAIGN, URL_SECRET


@pytest.fixture
def postgres_runtime(runtime: Runtime, postgres_server: str) -> Iterator[Runtime]:
    runtime = Runtime(Workspace.at(runtime.workspace.root, ledger=new_database(postgres_server)))
    yield runtime
    runtime.ledger.close()


@pytest.fixture
def served(postgres_runtime: Runtime, clock: Clock) -> Iterator[Served]:
    with serving(create_app(postgres_runtime, clock=clock, lock_seconds=0.3)) as served:
        yield served


def test_events_and_opt_outs_are_kept_once(served: Served, postgres_runtime: Runtime, tmp_path: Path) -> None:
    path = f"/webhooks/activecampaign/{URL_SECRET}"
    assert served.send("POST", path, ACTIVECAMPAIGN, [FORM]).json == {"received": 1, "new": 1}
    assert served.send("POST", path, ACTIVECAMPAIGN, [FORM]).json == {"received": 1, "new": 0}
    token = postgres_runtime.keys.token("email", "ann@example.com")
    assert postgres_runtime.ledger.consent.state([token], "email.marketing")[token].state == "withdrawn"


def test_another_writer_and_lost_connections_are_survived(served: Served, postgres_runtime: Runtime) -> None:
    ledger = postgres_runtime.ledger
    with ledger.begin():
        assert busy(post(served, BODY, signed(BODY, "locked")))
    assert post(served, BODY, signed(BODY, "before")).status == 200
    url = postgres_runtime.workspace.ledger_url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            " and datname = current_database()"
        )
    ledger.close()
    answers = [post(served, BODY, signed(BODY, "after")) for _ in range(3)]
    assert all(answer.status == 200 or busy(answer) for answer in answers)
    assert answers[-1].status == 200
    assert served.send("GET", "/health").status == 200
    assert keys_in(ledger) == {"before", "after"}
