"""A day on which no stage has run, and one on which all have; the report of the latter is written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personalization.runtime import Runtime
from personalization.stages.monitoring.metrics import run_summary
from personalization.stages.monitoring.report.site import write_report
from personalization.workspace import Workspace
from tests.monitoring.day import DAY, make_full_day, make_workspace


@pytest.fixture
def empty(tmp_path: Path) -> Runtime:
    return make_workspace(tmp_path)


@pytest.fixture(scope="session")
def full_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace to copy: making it takes longer than most tests."""
    root = tmp_path_factory.mktemp("day") / "shop"
    make_full_day(root)
    return root


@pytest.fixture
def full(full_day: Path, tmp_path: Path) -> Runtime:
    return Runtime(Workspace.at(shutil.copytree(full_day, tmp_path / "shop")))


@pytest.fixture(scope="session")
def report(full_day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a full day's report."""
    runtime = Runtime(Workspace.at(shutil.copytree(full_day, tmp_path_factory.mktemp("report") / "shop")))
    return write_report(runtime, run_summary(runtime, DAY), DAY, failed_checks=["unique of marts/customers"]).parent
