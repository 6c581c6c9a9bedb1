"""The town, made once and copied for every test; a Mailchimp stand-in that starts empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.privacy.town import Town, copy_town, make_town


@pytest.fixture(scope="session")
def first_town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return make_town(tmp_path_factory.mktemp("town") / "town")


@pytest.fixture(scope="session")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    server.reset()
    monkeypatch.setenv("MAILCHIMP_BASE_URL", server.base_url)
    monkeypatch.setenv("MAILCHIMP_API_KEY", server.api_key)
    return server


@pytest.fixture
def town(first_town: Town, sandbox: Sandbox, tmp_path: Path) -> Iterator[Town]:
    copied = copy_town(first_town, tmp_path)
    yield copied
    copied.runtime.ledger.close()
