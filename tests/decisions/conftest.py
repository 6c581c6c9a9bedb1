"""A fresh DuckDB in memory and a fresh SQLite ledger for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.ledger import Ledger
from personalization.warehouse import Warehouse
from tests.decisions.world import World


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a new ledger, to copy: migrations need not run for every test."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def ledger(empty_ledger: Path, tmp_path: Path) -> Iterator[Ledger]:
    copy = shutil.copy(empty_ledger, tmp_path / "ledger.sqlite")
    with Ledger.open(f"sqlite:///{copy}") as opened:
        yield opened


@pytest.fixture
def world(ledger: Ledger, tmp_path: Path) -> Iterator[World]:
    with Warehouse(Path(":memory:"), threads=1).connect() as session:
        yield World(session, ledger, tmp_path / "program")
