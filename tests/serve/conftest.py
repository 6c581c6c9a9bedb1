"""A workspace with webhook sources, served by the real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from personalization.ledger import Keyring, Ledger
from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.ledger.conftest import empty_sqlite
from tests.serve.server import Served, serving
from tests.webhooks.conftest import secrets
from tests.webhooks.program import write_program
from tests.webhooks.signing import NOW

__all__ = ["empty_sqlite", "secrets"]


class Clock:
    """The time, as the test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(tmp_path: Path, secrets: dict[str, str], empty_sqlite: Path) -> Iterator[Runtime]:
    """A workspace of its own, with keys and an empty ledger."""
    workspace = Workspace.at(write_program(tmp_path / "home"))
    Keyring.create(workspace.keys)
    shutil.copy(empty_sqlite, workspace.state / "ledger.sqlite")
    runtime = Runtime(workspace)
    yield runtime
    runtime.ledger.close()


@pytest.fixture
def ledger(runtime: Runtime) -> Ledger:
    return runtime.ledger


@pytest.fixture
def serve(runtime: Runtime, clock: Clock) -> Iterator[Callable[..., Served]]:
    """Serves the workspace, with settings of `create_app`."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Served:
            return stack.enter_context(serving(create_app(runtime, **{"clock": clock, **settings})))

        yield start


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()
