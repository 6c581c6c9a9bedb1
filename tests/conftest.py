"""Fixtures that tests of several areas share: one real PostgreSQL server a session."""

from tests.postgres import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]
