"""Experiment protocols, trained models, and the book of runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger import Ledger

DAY = AsOf.parse("2017-12-03")
SHA_A, SHA_B = "a" * 64, "b" * 64


def test_a_protocol_is_fixed_once(ledger: Ledger) -> None:
    assert ledger.protocols.fixed("hero", 1) is None
    assert ledger.protocols.fix("hero", 1, SHA_A, DAY)
    assert not ledger.protocols.fix("hero", 1, SHA_A, DAY.shift(1))
    assert ledger.protocols.fixed("hero", 1) == SHA_A


def test_a_protocol_changed_after_its_first_use_is_refused(ledger: Ledger) -> None:
    ledger.protocols.fix("hero", 1, SHA_A, DAY)
    with pytest.raises(
        LedgerError,
        match=r"'hero' version 1, first used for 2017-12-03, was changed afterwards\n  hint: undo .* `version: 2`",
    ):
        ledger.protocols.fix("hero", 1, SHA_B, DAY.shift(7))
    assert ledger.protocols.fix("hero", 2, SHA_B, DAY.shift(7))


def test_the_newest_model_of_the_past_is_found(ledger: Ledger) -> None:
    models = ledger.models
    assert models.latest("propensity", DAY) is None
    for day, sha in ((DAY, SHA_A), (DAY.shift(7), SHA_B)):
        models.record("propensity", trained_as_of=day, sha256=sha, path=f"{sha[:4]}.joblib", metrics={"auc": 0.88})
    assert models.latest("propensity", DAY.shift(-1)) is None
    assert models.latest("churn", DAY) is None
    found = models.latest("propensity", DAY.shift(6))
    assert found is not None
    assert (found.sha256, found.version, found.path) == (SHA_A, "2017-12-03-aaaaaaaa", "aaaa.joblib")
    assert found.metrics == {"auc": 0.88}
    newest = models.latest("propensity", DAY.shift(7))
    assert newest is not None
    assert newest.sha256 == SHA_B


def test_the_model_of_a_day_entered_last_counts_also_when_it_was_entered_before(ledger: Ledger) -> None:
    for sha in (SHA_A, SHA_A, SHA_B, SHA_A):
        entered = ledger.models.record("propensity", trained_as_of=DAY, sha256=sha, path="m", metrics={})
        assert ledger.models.latest("propensity", DAY) == entered
        assert entered.sha256 == sha


def test_a_model_version_with_other_bytes_is_refused(ledger: Ledger) -> None:
    ledger.models.record("propensity", trained_as_of=DAY, sha256=SHA_A, path="m", metrics={}, version="7")
    with pytest.raises(
        LedgerError, match=r"'propensity' version 7 is registered already with other bytes \(aaaaaaaaaa"
    ):
        ledger.models.record("propensity", trained_as_of=DAY, sha256=SHA_B, path="m", metrics={}, version="7")


def test_a_run_is_entered_and_closed_once(ledger: Ledger) -> None:
    run = ledger.runs.start(DAY, program_sha256=SHA_A, code_version="0.1.0")
    assert (run.as_of, run.status, run.finished_at) == ("2017-12-03", "running", None)
    closed = ledger.runs.finish(run.run_id, "failed", "disk full")
    assert (closed.status, closed.message) == ("failed", "disk full")
    assert closed.finished_at is not None
    with pytest.raises(LedgerError, match=f"run {run.run_id} is closed already: failed"):
        ledger.runs.finish(run.run_id, "succeeded")
    with pytest.raises(LedgerError, match="knows no run nowhere"):
        ledger.runs.finish("nowhere", "succeeded")
    with pytest.raises(ValueError, match="succeeded or failed, not as 'fine'"):
        ledger.runs.finish(run.run_id, "fine")


def test_the_newest_runs_come_first(ledger: Ledger) -> None:
    ids = [ledger.runs.start(DAY, program_sha256=SHA_A, code_version="0.1.0").run_id for _ in range(3)]
    assert [run.run_id for run in ledger.runs.recent(2)] == ids[:0:-1]


def test_a_sweep_closes_runs_of_processes_that_died_and_no_others(ledger: Ledger) -> None:
    mine = ledger.runs.start(DAY, program_sha256=SHA_A, code_version="0.1.0")
    code = f"""
import os
from personalization.as_of import AsOf
from personalization.ledger import Ledger
ledger = Ledger.open({ledger.engine.url.render_as_string(hide_password=False)!r})
print(ledger.runs.start(AsOf.parse("2017-12-03"), program_sha256="p", code_version="1").run_id, flush=True)
os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    assert [run.run_id for run in ledger.runs.sweep()] == [died]
    assert ledger.runs.get(died).message == "its process ended without closing the run"
    assert ledger.runs.get(died).status == "dead"
    assert ledger.runs.get(mine.run_id).status == "running"
    assert ledger.runs.sweep() == []
