"""Opening a ledger: made once, quick afterwards, and clear about what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from personalization.errors import LedgerError
from personalization.ledger import Ledger
from personalization.ledger.migrate import configuration, head
from personalization.ledger.schema import metadata


def test_a_new_ledger_has_every_table(new_url: str) -> None:
    with Ledger.open(new_url) as ledger, ledger.read() as connection:
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())


def test_migrations_and_schema_say_the_same(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    import personalization.ledger.inbox_schema
    import personalization.ledger.outbox
    import personalization.ledger.pushes
    import personalization.ledger.requests
    import personalization.ledger.results  # noqa: F401  (their tables belong to the schema as well)

    with ledger.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_newest_revision_is_the_one_alembic_knows() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(configuration()).get_current_head() == head()


def test_opening_again_needs_no_alembic(url: str) -> None:
    code = f"""
import sys
from personalization.ledger import Ledger
Ledger.open({url!r}).close()
print("alembic" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "False"


def test_a_new_file_and_its_companions_belong_to_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "made" / "ledger.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.suppressions.add(["a"], "unsubscribed", "test")
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"], "0o600")


def test_every_connection_is_durable_and_overwrites_what_it_deletes(sqlite_ledger: Ledger) -> None:
    with sqlite_ledger.read() as one, sqlite_ledger.read() as two:
        for connection in (one, two):
            settings = [
                connection.exec_driver_sql(f"pragma {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
            ]
            assert settings == ["wal", 2, 1, 1]


def test_several_processes_may_open_a_new_ledger_at_once(new_url: str) -> None:
    code = f"""
import os
import alembic.command
from personalization.ledger import Ledger
for _ in range(2):
    if os.fork() == 0:
        break
os.write(1, b"%d\\n" % Ledger.open({new_url!r}).suppressions.snapshot().num_rows)
"""
    opened = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert opened.stdout.split() == ["0"] * 3, opened.stderr


def test_a_ledger_of_a_newer_version_is_left_alone(new_url: str) -> None:
    with Ledger.open(new_url) as ledger, ledger.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(LedgerError, match=rf"has schema 9999; this version knows up to {head()}\n  hint: .*upgrade"):
        Ledger.open(new_url)


def test_a_write_waits_for_another_writer_and_then_gives_up(ledger: Ledger, url: str) -> None:
    with Ledger.open(url, wait_seconds=0.2) as other, ledger.begin():
        started = time.monotonic()
        with pytest.raises(
            LedgerError, match=r"the ledger .* is locked by another process\n  hint: wait for the other"
        ):
            other.suppressions.add(["a"], "unsubscribed", "test")
        assert 0.15 < time.monotonic() - started < 5
        assert other.suppressions.snapshot().num_rows == 0, "reading is not held up"


def test_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("pragma locking_mode = exclusive")
    holder.execute("begin exclusive")
    with pytest.raises(LedgerError, match=rf"the ledger {path} is locked by another process"):
        Ledger.open(f"sqlite:///{path}", wait_seconds=0.1)
    holder.close()


def test_opening_it_twice_in_a_process_leaves_its_locks_alone(sqlite_ledger: Ledger) -> None:
    """Another process that ends in between must not take the write-ahead log away with it."""
    url = f"sqlite:///{sqlite_ledger.engine.url.database}"
    visitor = [sys.executable, "-c", f"from personalization.ledger import Ledger; Ledger.open({url!r}).close()"]
    sqlite_ledger.suppressions.add(["before"], "unsubscribed", "test")
    Ledger.open(url)  # and kept open
    subprocess.run(visitor, check=True)
    sqlite_ledger.suppressions.add(["after"], "unsubscribed", "test")
    code = (
        f"import sqlite3; print(sqlite3.connect({url[10:]!r}).execute('select count(*) from suppressions').fetchone())"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen == "(2,)\n", "what was committed is there for others"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database " * 500)
    with pytest.raises(
        LedgerError, match=rf"the ledger {path} is damaged: file is not a database\n  hint: keep the file"
    ):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"not a database " * 500


def test_a_damaged_page_is_found(sqlite_ledger: Ledger) -> None:
    sqlite_ledger.suppressions.add([f"token-{number}" for number in range(5_000)], "unsubscribed", "test")
    with sqlite_ledger.read() as connection:
        page = connection.exec_driver_sql("select rootpage from sqlite_schema where name = 'suppressions'").scalar_one()
    path = Path(str(sqlite_ledger.engine.url.database))
    sqlite_ledger.engine.dispose()  # the last connection writes everything to the file
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(LedgerError, match=rf"the ledger {path} is damaged: "):
        sqlite_ledger.verify()
    with pytest.raises(LedgerError, match=rf"the ledger {path} is damaged: database disk image is malformed"):
        sqlite_ledger.suppressions.snapshot()


def test_a_full_disk(sqlite_ledger: Ledger) -> None:
    def fill() -> None:
        with sqlite_ledger.begin() as connection:
            connection.exec_driver_sql("pragma max_page_count = 1")  # no page more than there are
            tokens = (f"token-{number}" for number in range(50_000))
            sqlite_ledger.suppressions.add(tokens, "unsubscribed", "test", connection=connection)

    with pytest.raises(LedgerError, match=r"can't be opened or written: database or disk is full\n  hint: .* not full"):
        fill()
    assert sqlite_ledger.suppressions.snapshot().num_rows == 0
    sqlite_ledger.verify()


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        LedgerError, match=rf"the ledger {tmp_path} can't be opened: Is a directory\n  hint: check that"
    ):
        Ledger.open(f"sqlite:///{tmp_path}")


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"can't be opened: (File exists|Not a directory)"):
        Ledger.open(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite'}")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://user:hidden@host/database", "ledger.sqlite"]
)
def test_other_places_are_refused(url: str) -> None:
    with pytest.raises(LedgerError, match=r"hint: use sqlite:///path/to/ledger\.sqlite or postgresql://") as caught:
        Ledger.open(url)
    assert "hidden" not in str(caught.value)


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(
        LedgerError, match=r"the ledger .*127\.0\.0\.1:1/ledger can't be reached: .*\n  hint: is the"
    ) as caught:
        Ledger.open("postgresql://user:hidden@127.0.0.1:1/ledger", wait_seconds=1)
    assert "hidden" not in str(caught.value)


def test_an_exception_undoes_the_transaction(ledger: Ledger) -> None:
    def add_and_fail() -> None:
        with ledger.begin() as connection:
            ledger.suppressions.add(["a"], "unsubscribed", "test", connection=connection)
            raise KeyError("our own")

    with pytest.raises(KeyError, match="our own"):
        add_and_fail()
    assert ledger.suppressions.snapshot().num_rows == 0
