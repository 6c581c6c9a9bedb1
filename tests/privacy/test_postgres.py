"""Erasure with the ledger in PostgreSQL: what the server stores and what it would dump (invariants 41 and 44)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from personalization.ledger.schema import vault_subjects
from personalization.privacy.erase import erase
from personalization.privacy.receipt import verify
from personalization.sandbox import Sandbox
from tests.postgres import new_database
from tests.privacy.test_erase import VALUES, addresses_at
from tests.privacy.town import ANNA, AT, BEN, NEW, Town, make_town


@pytest.fixture
def town(tmp_path: Path, postgres_server: str, sandbox: Sandbox) -> Iterator[Town]:
    made = make_town(tmp_path / "town", new_database(postgres_server))
    made.__dict__.pop("runtime")
    yield made
    made.runtime.ledger.close()


def stored(url: str) -> bytes:
    """The files of all tables of a database as the server has them, dead rows and all, and its dump."""
    url = url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("checkpoint")
        folder = connection.execute("show data_directory").fetchone()
        paths = connection.execute(
            "select pg_relation_filepath(oid) from pg_class where relkind in ('r', 'i', 't')"
            " and relnamespace in ('public'::regnamespace, 'pg_toast'::regnamespace)"
        )
        assert folder is not None
        files = b"".join((Path(folder[0]) / path).read_bytes() for (path,) in paths)
    return files + subprocess.run(["pg_dump", "--dbname", url], check=True, capture_output=True).stdout


@pytest.mark.slow
def test_an_erasure_with_the_ledger_in_postgresql(town: Town, sandbox: Sandbox) -> None:
    town.export("mailchimp")
    assert town.ledger is not None
    anna, ben = (town.runtime.keys.token("customer", customer) for customer in (ANNA, BEN))
    with town.runtime.ledger.read() as connection:
        query = select(vault_subjects.c.wrapped_key).where(vault_subjects.c.subject == anna)
        wrapped = bytes(connection.execute(query).scalar_one())
    assert wrapped in stored(town.ledger), "what opens her values is there to be found"
    town.write_customers(anna=None)
    erased = erase(town.runtime, NEW, at=AT, manner="letter")
    receipt = verify(erased.receipt, town.runtime.keys)
    assert receipt["complete"] is True
    assert receipt["scan"]["left"] == []
    content = stored(town.ledger)
    assert wrapped not in content
    assert [value for value in VALUES if value.encode() in content or value.lower().encode() in content] == []
    assert not town.runtime.ledger.vault(town.runtime.keys).of_subjects([anna])
    assert town.runtime.ledger.vault(town.runtime.keys).of_subjects([ben])
    assert not {address.lower() for address in addresses_at(sandbox)} & {value.lower() for value in VALUES}
    assert anna in set(town.runtime.ledger.suppressions.snapshot()["identifier_token"].to_pylist())
    town.runtime.ledger.verify()
