"""The demo's program finds its stand-in whenever it is run, and another Mailchimp when one is set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import requests

from personalization.demo import surroundings
from personalization.runtime import Runtime
from personalization.workspace import Workspace

PROGRAM = Path(__file__).parents[2] / "program"


@pytest.mark.slow
def test_a_further_day_of_the_demo_finds_the_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PROGRAM, tmp_path / "program")
    runtime = Runtime(Workspace.at(tmp_path))
    for name in ("MAILCHIMP_BASE_URL", "MAILCHIMP_API_KEY"):
        monkeypatch.setenv(name, "of somebody else")
    with surroundings(runtime):
        assert os.environ["MAILCHIMP_BASE_URL"] == "of somebody else"
    for name in ("MAILCHIMP_BASE_URL", "MAILCHIMP_API_KEY"):
        monkeypatch.delenv(name)
    with surroundings(runtime):
        address = os.environ["MAILCHIMP_BASE_URL"] + "/ping"
        assert requests.get(address, auth=("any", os.environ["MAILCHIMP_API_KEY"]), timeout=10).ok
