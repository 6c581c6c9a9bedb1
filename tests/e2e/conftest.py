"""One small workspace, run once, shared by the tests that only look at it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from personalization.sandbox import run_sandbox
from personalization.warehouse import Warehouse
from tests.e2e.small import API_KEY, DAY, Cli, make_small_workspace


def fingerprints(root: Path) -> dict[str, str]:
    """A hash of the rows of every table and view in the warehouse."""
    with Warehouse(root / "var" / "warehouse.duckdb").connect() as session:
        names = session.rows(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_schema not in ('main', 'information_schema', 'pg_catalog') order by 1"
        )
        return {name: session.fingerprint(name) for (name,) in names}


@dataclass(frozen=True)
class Line:
    """A workspace after its first run, the stand-in it exported to, and what the run printed."""

    cli: Cli
    sandbox: Any
    state: Path
    first: dict[str, Any]
    tables: dict[str, str]

    @contextmanager
    def copy(self, folder: Path) -> Iterator[Cli]:
        """The same workspace on a platform of its own with the same contacts, for tests that change something."""
        root = Path(shutil.copytree(self.cli.root, folder / "shop"))
        state = folder / "mailchimp.sqlite"
        _copy_state(self.state, state)
        with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001", state=state) as sandbox:
            yield Cli(root, sandbox.base_url)


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Program, data and keys of a small workspace that was never run. Copy it, don't use it."""
    from personalization.ledger import Keyring

    root = make_small_workspace(tmp_path_factory.mktemp("blank") / "shop")
    Keyring.create(root / "var" / "keys.json")
    return root


@pytest.fixture(scope="session")
def built(blank: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a workspace after its first run: made by one test process, for all of them. Copy it, don't use it.

    `shop` is the workspace, `mailchimp.sqlite` the platform's state, `first.json` what the run printed.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "built"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "first.json").exists():
            root = Path(shutil.copytree(blank, folder / "shop"))
            state = folder / "mailchimp.sqlite"
            with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001", state=state) as sandbox:
                result = Cli(root, sandbox.base_url).run("run", "--as-of", DAY, "--json")
            assert result.returncode == 0, result.stderr[-4000:]
            (folder / "first.json").write_text(result.stdout)
    return folder


@pytest.fixture(scope="session")
def line(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    root = Path(shutil.copytree(built / "shop", tmp_path_factory.mktemp("line") / "shop"))
    state = tmp_path_factory.mktemp("platform") / "mailchimp.sqlite"
    _copy_state(built / "mailchimp.sqlite", state)
    with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001", state=state) as sandbox:
        first = json.loads((built / "first.json").read_text())
        yield Line(Cli(root, sandbox.base_url), sandbox, state, first, fingerprints(root))


def _copy_state(source: Path, target: Path) -> None:
    """Copy a database whose latest changes may still be in its write-ahead log."""
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copied:
        original.backup(copied)
