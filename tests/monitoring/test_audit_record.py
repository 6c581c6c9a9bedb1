"""The findings of the monthly audit are kept by month and shown without addresses."""

from __future__ import annotations

from pathlib import Path

from personalization.stages.monitoring.audit import Audit
from personalization.stages.monitoring.audit_record import PLATFORM_AUDIT, audit_table, record_audit
from personalization.warehouse import Warehouse


def audits() -> list[Audit]:
    wrong = Audit("mailchimp", source=100, found=98)
    wrong.add("missing", "t1_k_a", "december")
    wrong.add("missing", "t1_k_b")
    return [wrong, Audit("file", source=5, found=5)]


def test_a_month_is_replaced_and_other_months_stay(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as session:
        record_audit(session, "2017-11-01", audits())
        rows = record_audit(session, "2017-12-01", audits())
        assert record_audit(session, "2017-12-01", audits()) == rows
        assert session.rows(f"select month, count(*) from {PLATFORM_AUDIT} group by all order by all") == [
            ("2017-11-01", rows),
            ("2017-12-01", rows),
        ]
        missing = f"select contacts from {PLATFORM_AUDIT} where destination = 'mailchimp' and finding = 'missing'"
        assert session.rows(missing) == [(2,), (2,)]


def test_only_what_was_found_is_shown() -> None:
    assert audit_table(audits()).splitlines()[2:4] == [
        "| mailchimp | acknowledged, but not there | 2 of 100 acknowledged, 98 found | `t1_k_a`, `t1_k_b` |",
        "| file | clean | 5 acknowledged, 5 found |  |",
    ]
    assert audit_table(audits()).splitlines()[5:] == [
        "| destination | audience | missing | stale | extra | duplicate | opted out but active |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| mailchimp | none | 1 | 0 | 0 | 0 | 0 |",
        "| mailchimp | december | 1 | 0 | 0 | 0 | 0 |",
    ]
