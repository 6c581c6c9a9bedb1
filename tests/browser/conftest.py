"""The system's Chromium, headless, for tests that look at pages as a person does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.monitoring.conftest import full_day as full_day
from tests.monitoring.conftest import report as report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running browser. Playwright's own download is not used: it is not in any package registry."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.fail("these tests need Chromium: run scripts/install-system-packages.sh", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
