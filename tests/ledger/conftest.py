"""Every test of the ledger that asks for `ledger` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from personalization.ledger import Keyring, Ledger
from tests.postgres import new_database


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a new ledger, to copy: migrations need not run for every test."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: str) -> str:
    """The URL of a ledger that tests use one after the other: emptying it is quicker than making another."""
    url = new_database(postgres_server)
    Ledger.open(url).close()
    return url


def _emptied(url: str) -> str:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # the guards of append-only tables are off
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (table,) in tables:
            if table != "alembic_version":
                connection.execute(f"delete from {table}")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger that does not exist yet."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'new.sqlite'}"
    return new_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger."""
    if backend == "sqlite":
        copy = shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "ledger.sqlite")
        return f"sqlite:///{copy}"
    return _emptied(request.getfixturevalue("shared_postgres"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url, wait_seconds=1) as opened:
        yield opened


@pytest.fixture
def sqlite_ledger(empty_sqlite: Path, tmp_path: Path) -> Iterator[Ledger]:
    copy = shutil.copy(empty_sqlite, tmp_path / "ledger.sqlite")
    with Ledger.open(f"sqlite:///{copy}", wait_seconds=0.2) as opened:
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys.json")
