"""A program with one source a sender, its secrets, and a ledger on SQLite or PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalization.program import Program
from tests.ledger.conftest import backend, empty_sqlite, keys, ledger, new_url, shared_postgres, sqlite_ledger, url
from tests.webhooks.program import program_with
from tests.webhooks.signing import OTHER_SECRET, SECRET, SIGNERS, STANDARD_SECRET, URL_SECRET

__all__ = ["backend", "empty_sqlite", "keys", "ledger", "new_url", "shared_postgres", "sqlite_ledger", "url"]

ENVIRONMENT = {
    "HOOKS_SECRET": STANDARD_SECRET,
    "HOOKS_NEXT_SECRET": SIGNERS["standard"].other,
    "SECRET": SECRET,
    "NEXT_SECRET": OTHER_SECRET,
    "URL_SECRET": URL_SECRET,
}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return ENVIRONMENT


@pytest.fixture
def program(tmp_path: Path, secrets: dict[str, str]) -> Program:
    return program_with(tmp_path)
