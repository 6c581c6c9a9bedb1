"""Privacy in Dagster: requests are worked off by themselves, the audit is an asset of its month."""

from __future__ import annotations

import dagster as dg
import pytest

from personalization.definitions import definitions
from personalization.privacy.answer import ready
from personalization.privacy.assets import open_privacy_requests
from personalization.resources import RuntimeResource
from tests.privacy.town import AT, BEN, Town


@pytest.fixture
def runtime(town: Town) -> RuntimeResource:
    return RuntimeResource(root=str(town.root), in_state=True)


def test_the_sensor_starts_the_job_and_the_job_answers(
    town: Town, runtime: RuntimeResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONALIZATION_HOME", str(town.root))
    requests = town.runtime.ledger.requests
    copy = requests.open("access", town.token(BEN), "preference page", AT)
    erasure = requests.open("erasure", town.token(BEN), "preference page", AT)
    assert [request.request_id for request in ready(town.runtime)] == [copy], "an erasure waits for approval"
    with dg.DagsterInstance.ephemeral() as instance:
        asked = open_privacy_requests(dg.build_sensor_context(instance=instance))
        assert isinstance(asked, dg.RunRequest)
        job = definitions(town.runtime).resolve_job_def("privacy_requests")
        assert job.execute_in_process(instance=instance, resources={"runtime": runtime}).success
        assert requests.get(copy).status == "answered"
        assert requests.get(erasure).is_open
        skipped = open_privacy_requests(dg.build_sensor_context(instance=instance))
        assert isinstance(skipped, dg.SkipReason)
    requests.approve(erasure, "privacy officer", AT)
    assert [request.request_id for request in ready(town.runtime)] == [erasure]


def test_the_audit_is_an_asset_of_its_month_with_a_check(town: Town, runtime: RuntimeResource) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions(town.runtime).resolve_job_def("monthly_audit")
        result = job.execute_in_process(
            instance=instance, partition_key="2026-10-01", resources={"runtime": runtime}, raise_on_error=True
        )
    (made,) = [event for event in result.get_asset_materialization_events() if "compliance" in str(event.asset_key)]
    assert made.materialization.metadata["critical"].value == 0
    assert (town.state / "privacy" / "audit-2026-10" / "audit.json").exists()
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks["no_critical_finding"] is True
