"""What a refused export leaves in Dagster, and what it does to the other destinations and to the command line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from personalization.errors import ExportError
from personalization.jobs import run_in_process
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters import registry
from tests.contract.wrong_input import ECHO, WrongInput, secrets_in
from tests.export.shop import DAY, Shop


def test_every_platform_over_http_has_the_table_of_wrong_input() -> None:
    """A seventh can't be forgotten."""
    platforms = set(registry._LIMITS) - {"csv"}
    for platform in platforms:
        importlib.import_module(f"tests.contract.test_{platform}")
    assert {each.whole.destination for each in WrongInput.__subclasses__()} == platforms


@pytest.mark.slow
def test_a_platform_that_refuses_stops_no_other_and_leaves_no_secret_in_dagster(shop: Shop, sandbox: Sandbox) -> None:
    echo = ECHO.replace("KEY", sandbox.api_key)
    sandbox.fault("status", status=401, times=100, body={"title": echo, "detail": echo})
    runtime = shop.runtime
    with pytest.raises(ExportError, match="'mailchimp': Mailchimp refused the key") as refused:
        run_in_process(runtime, runtime.as_of(DAY), selection=["export/mailchimp", "export/file"])
    assert secrets_in(str(refused.value), sandbox.api_key) == []
    assert shop.books("file")[0].acked == 8
    assert shop.books("mailchimp")[0].held == 8
    kept = [path for path in runtime.workspace.state.rglob("*") if path.is_file() and "exports" not in path.parts]
    assert [path for path in kept if "dagster" in path.as_posix()]
    told = {str(path): secrets_in(path.read_bytes().decode("latin-1"), sandbox.api_key) for path in kept}
    assert {path: found for path, found in told.items() if found} == {}


@pytest.mark.slow
def test_the_command_ends_with_the_code_of_a_refused_export(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("html", times=100, body=ECHO.replace("KEY", sandbox.api_key), status=403)
    (shop.root / "var" / "reports" / DAY).mkdir(parents=True)
    command = [sys.executable, "-m", "personalization.cli", "export", "run", "mailchimp", "--as-of", DAY]
    done = subprocess.run(command, cwd=shop.root, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 8
    assert "error: 'mailchimp': Mailchimp" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert secrets_in(done.stdout + done.stderr, sandbox.api_key) == []
