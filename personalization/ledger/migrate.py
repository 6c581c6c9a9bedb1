"""Brings a ledger to the schema of this version. Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from personalization.errors import LedgerError
from personalization.ledger.engine import location, read, write

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """The newest revision this version knows. Revisions are numbered by their file names: `0001_ledger.py` is 0001."""
    return max(path.name.split("_", 1)[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def upgrade(engine: Engine) -> None:
    """Bring the schema to `head()`; quick when it is there already.

    Raises
    ------
    LedgerError
        The ledger was written by a newer version.
    """
    with read(engine) as connection:
        if _revision(connection) == head():
            return
    with write(engine) as connection:
        revision = _revision(connection)  # again, now that no other process can upgrade at the same time
        if revision is not None and revision > head():
            raise LedgerError(
                f"the ledger {location(engine)} has schema {revision}; this version knows up to {head()}",
                hint="it was written by a newer version of personalization: upgrade this one",
            )
        if revision != head():
            _run(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar()


def _run(connection: Connection) -> None:
    from alembic import command

    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def configuration() -> Any:
    """Alembic's settings, without an alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
