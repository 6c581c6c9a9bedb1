"""Decisions and their checks run as Dagster assets, for one partition, in a workspace on disk."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from personalization.resources import RuntimeResource
from personalization.runtime import Runtime
from personalization.stages.decisions import assets, checks
from personalization.workspace import Workspace
from tests.decisions.world import AS_OF, Person, consent_events, fill, make_program, moment

DAILY = dg.DailyPartitionsDefinition(start_date="2017-12-01")
PEOPLE = [Person("anna"), Person("bert"), Person("never", consent=[])]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    program = make_program(tmp_path / "program")
    runtime = Runtime(Workspace.at(tmp_path))
    with runtime.warehouse.connect() as session:
        fill(session, runtime.ledger, program, PEOPLE)
    return runtime


def materialize(
    runtime: Runtime, *decided: dg.AssetsDefinition, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*decided, *checks.checks(runtime.program, DAILY)],
        partition_key=AS_OF.key,
        resources={"runtime": RuntimeResource(root=str(runtime.workspace.root), in_state=True)},
        raise_on_error=raise_on_error,
    )


@dg.asset(key=assets.DECISIONS, partitions_def=DAILY)
def decided_before() -> None:
    """Stands for decisions that are in the warehouse already."""


def test_decisions_are_made_shown_and_checked(runtime: Runtime) -> None:
    result = materialize(runtime, *assets.assets(runtime.program, DAILY))
    metadata = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata  # type: ignore[union-attr]
        for event in result.get_asset_materialization_events()
    }
    assert metadata["decisions/decisions"]["sends"].value == 2
    assert metadata["decisions/decisions"]["withheld"].value == 1
    assert "| spring | withheld | no_consent | 1 |" in str(metadata["decisions/summary"]["by_reason"].value)
    evaluated = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    blocking = {"one_decision_each", "nobody_against_their_will", "totals_add_up", "nobody_too_often"}
    assert evaluated == dict.fromkeys((*blocking, "few_complain"), True)
    assert {check.check_name for check in result.get_asset_check_evaluations() if check.blocking} == blocking


def test_a_check_that_fails_tells_whom_it_found(runtime: Runtime) -> None:
    materialize(runtime, *assets.assets(runtime.program, DAILY))
    at = moment("2017-02-01")
    runtime.ledger.consent.append(consent_events(Person("bert", consent=[("withdraw", at, "email")]), suffix="-late"))
    result = materialize(runtime, decided_before, raise_on_error=False)
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["nobody_against_their_will"]
    assert "t1_k1_bert is sent without consent to email.marketing" in str(failed[0].metadata["first"].value)
