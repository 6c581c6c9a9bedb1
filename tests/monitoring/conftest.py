"""A day on which no stage has run, and one on which all have; the report of the latter is written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalization.runtime import Runtime
from personalization.stages.monitoring.metrics import run_summary
from personalization.stages.monitoring.report.site import write_report
from tests.monitoring.day import DAY, make_full_day, make_workspace


@pytest.fixture
def empty(tmp_path: Path) -> Runtime:
    return make_workspace(tmp_path)


@pytest.fixture
def full(tmp_path: Path) -> Runtime:
    return make_full_day(tmp_path)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a full day's report."""
    runtime = make_full_day(tmp_path_factory.mktemp("shop"))
    return write_report(runtime, run_summary(runtime, DAY), DAY, failed_checks=["unique of marts/customers"]).parent
