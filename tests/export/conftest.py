"""Shops, and a Mailchimp sandbox that starts empty for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.sandbox import Sandbox, run_sandbox
from tests.export.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Eight customers with decisions to send."""
    return Shop.open(tmp_path / "shop", 8)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with run_sandbox("mailchimp", batch_seconds=0.1) as running:
        yield running


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """An empty Mailchimp stand-in; destinations find it through the environment."""
    server.reset()
    monkeypatch.setenv("MAILCHIMP_BASE_URL", server.base_url)
    monkeypatch.setenv("MAILCHIMP_API_KEY", server.api_key)
    return server
