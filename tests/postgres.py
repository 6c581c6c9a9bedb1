"""A real PostgreSQL server for tests: started once a session from the machine's own package, thrown away afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

USER = "postgres"


def _binaries() -> Path:
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or not (found[-1] / "initdb").exists():
        pytest.fail("these tests need PostgreSQL's server programs: apt-get install postgresql", pytrace=False)
    return found[-1]


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root: the user to run it as, or None when we are not root."""
    return "nobody" if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, user=_other_user(), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{command[0]} failed:\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running server, without a database: `postgresql+psycopg://postgres@127.0.0.1:PORT`."""
    binaries = _binaries()
    # not pytest's own temporary folder: that one is closed to the user the server runs as
    folder = Path(tempfile.mkdtemp(prefix="personalization-postgres-"))
    if _other_user():
        shutil.chown(folder, _other_user())
    data = folder / "data"
    _run([binaries / "initdb", "--pgdata", data, "--username", USER, "--auth", "trust", "--no-sync"], folder)
    port = _free_port()
    with (folder / "log").open("wb") as log:
        # fsync off: these tests look at what PostgreSQL answers, not at whether it survives a power cut
        command = [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        server = subprocess.Popen(command, user=_other_user(), cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(server, port, folder / "log")
        yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user=USER, dbname="postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}", pytrace=False)


def new_database(server_url: str) -> str:
    """Create an empty database on the server and return its URL."""
    name = f"test_{uuid.uuid4().hex}"
    plain = server_url.replace("+psycopg", "")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{server_url}/{name}"


@pytest.fixture(scope="session")
def postgres(postgres_server: str) -> str:
    """The SQLAlchemy URL of a fresh database, shared by the tests of a session."""
    return new_database(postgres_server)
