"""Fixtures that tests of several areas share: one real PostgreSQL server a session."""

from __future__ import annotations

import pytest

from tests.postgres import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]

_BUILDS = "tests/e2e/test_audit.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that makes the workspace of the whole-line tests goes first, far ahead of the others that look at it.

    Else one test process would wait for the other to finish it.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(_BUILDS))
