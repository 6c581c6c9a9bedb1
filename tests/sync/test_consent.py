"""Consent events that landed reach the ledger, each once, whatever happens in between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from personalization.ledger import Ledger, notice_sha256
from personalization.stages.sync.consent import append_consent
from tests.sync.shop import CONSENT, Shop

COLUMNS = {
    "event_id": "id",
    "customer_id": "customer",
    "email": "mail",
    "purpose": "purpose",
    "action": "action",
    "effective_at": "at",
    "method": "method",
    "notice_version": "notice",
}


def event(number: int, **values: Any) -> dict[str, Any]:
    usual = {"id": number, "customer": f"c{number}", "mail": None, "purpose": "email.marketing", "action": "grant"}
    return usual | {"at": "2017-01-02T12:00:00Z", "method": "form", "notice": "1"} | values


def use(shop: Shop, *events: dict[str, Any]) -> None:
    shop.write_jsonl("consents.jsonl", events)
    table = {"entity": "consent_events", "path": "consents.jsonl", "columns": COLUMNS}
    shop.use_files(consents=table)


def granted(shop: Shop) -> dict[str, str]:
    rows = shop.ledger.consent.snapshot("email.marketing").to_pylist()
    return {row["subject_token"]: row["state"] for row in rows}


def test_valid_events_are_appended_once(shop: Shop) -> None:
    use(shop, event(1), event(2, action="Withdraw "))
    assert shop.sync().consent_events == 2
    assert shop.sync().consent_events == 0
    use(shop, event(1), event(2, action="withdraw"), event(3))
    assert shop.sync().consent_events == 1
    assert granted(shop) == {
        shop.keys.token("customer", "c1"): "granted",
        shop.keys.token("customer", "c2"): "withdrawn",
        shop.keys.token("customer", "c3"): "granted",
    }
    assert shop.ledger.consent.conflicts() == 0


def test_invalid_events_stay_out_and_are_explained_in_quarantine(shop: Shop) -> None:
    use(
        shop,
        event(1, purpose="email.markting"),
        event(2, action="maybe"),
        event(3, at="31.02.2017"),
        event(4, customer=None),
        event(5, customer=None, mail="ann@example.com"),
    )
    assert shop.sync().consent_events == 1
    assert list(granted(shop)) == [shop.keys.token("email", "ann@example.com")]
    shop.split("consent_events")
    assert shop.query("select event_id, reasons from quarantine.consent_events order by event_id") == [
        ("1", ["purpose: not a purpose of consent.yaml (email.marketing) ('email.markting')"]),
        ("2", ["action: not one of grant, confirm, withdraw, object, expire ('maybe')"]),
        ("3", ["effective_at: not a date ('31.02.2017')"]),
        ("4", ["customer_key: neither customer_id nor email"]),
    ]


def test_a_time_without_zone_is_local_time_of_the_program(shop: Shop) -> None:
    use(shop, event(1, at="2017-07-02 12:00:00"), event(2, at="2017-07-02T12:00:00+05:00"))
    shop.sync()
    rows = shop.ledger.consent.snapshot("email.marketing").to_pylist()
    times = {row["subject_token"]: row["effective_at"] for row in rows}
    assert times[shop.keys.token("customer", "c1")] == datetime(2017, 7, 2, 10, tzinfo=UTC)
    assert times[shop.keys.token("customer", "c2")] == datetime(2017, 7, 2, 7, tzinfo=UTC)


def test_two_systems_may_number_their_events_alike(shop: Shop) -> None:
    shop.write_jsonl("crm.jsonl", [event(1)])
    shop.write_jsonl("web.jsonl", [event(1, action="withdraw", at="2017-02-02T12:00:00Z")])
    tables = {
        name: {"entity": "consent_events", "path": f"{name}.jsonl", "columns": COLUMNS} for name in ("crm", "web")
    }
    shop.use_files(**tables)
    assert shop.sync().consent_events == 2
    assert granted(shop) == {shop.keys.token("customer", "c1"): "withdrawn"}
    assert shop.split("consent_events").valid == 2


def test_what_was_loaded_but_not_appended_is_appended_by_the_next_run(shop: Shop) -> None:
    """As after a kill between the load and the ledger: the note of what was appended is not there yet."""
    use(shop, event(1), event(2))
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql(
            "create trigger f before insert on consent_events begin select raise(abort, 'x'); end"
        )
    with pytest.raises(Exception, match="x"):
        shop.sync()
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger f")
    result = shop.sync()
    assert result.tables[0].unchanged
    assert result.consent_events == 2


def test_a_ledger_restored_from_an_old_backup_gets_its_events_again(shop: Shop) -> None:
    use(shop, event(1))
    shop.sync()
    path = shop.workspace.state / "ledger.sqlite"
    shop.ledger.close()
    for file in path.parent.glob("ledger.sqlite*"):
        file.unlink()
    with Ledger.open(shop.workspace.ledger_url) as restored:
        assert append_consent(shop.program, shop.workspace, restored) == 1
        assert append_consent(shop.program, shop.workspace, restored) == 0


def test_events_of_a_purpose_that_is_added_later_are_appended_then(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    use(shop, event(1, purpose="sms.marketing"))
    assert shop.sync().consent_events == 0
    monkeypatch.setitem(CONSENT["purposes"], "sms.marketing", {"title": "SMS"})
    use(shop, event(1, purpose="sms.marketing"))
    assert shop.sync().consent_events == 1


def test_other_events_in_the_ledger_do_not_make_everything_be_read_again(shop: Shop) -> None:
    from personalization.ledger import ConsentEvent

    use(shop, event(1))
    shop.sync()
    note = (shop.workspace.dlt / "consent_appended.json").read_bytes()
    web = ConsentEvent(
        event_id="web:1",
        subject_token=shop.keys.token("customer", "c1"),
        purpose="email.marketing",
        action="withdraw",
        effective_at=datetime(2017, 3, 1, tzinfo=UTC),
        source="web",
    )
    shop.ledger.consent.append([web])
    shop.sync()
    assert (shop.workspace.dlt / "consent_appended.json").read_bytes() == note
    assert granted(shop) == {shop.keys.token("customer", "c1"): "withdrawn"}


def test_a_grant_of_a_purpose_with_double_opt_in_waits_for_its_confirmation(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = {"title": "Letter", "double_opt_in": True, "confirm_within": "2 days"}
    monkeypatch.setitem(CONSENT["purposes"], "email.marketing", letter)
    late = event(3, action="confirm", at="2017-01-05T12:00:00Z", customer="c2")
    use(shop, event(1), event(2), late)
    assert shop.sync().consent_events == 3
    assert granted(shop) == {}
    use(shop, event(1), event(2), late, event(4, action="Confirm", at="2017-01-03T12:00:00Z", customer="c1"))
    assert shop.sync().consent_events == 1
    assert granted(shop) == {shop.keys.token("customer", "c1"): "granted"}


def test_the_hash_is_of_the_text_that_was_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"en": "We may write.", "de": "Wir dürfen schreiben."}
    monkeypatch.setitem(CONSENT["purposes"]["email.marketing"], "notices", [{"version": "1", "text": text}])
    shop.write_jsonl(
        "consents.jsonl", [event(1, language="de-AT", gpp="DBABLA~BVQqAAAA"), event(2), event(3, notice="0")]
    )
    columns = COLUMNS | {"locale": "language", "gpp_string": "gpp"}
    shop.use_files(consents={"entity": "consent_events", "path": "consents.jsonl", "columns": columns})
    shop.sync()
    events = [each.event for each in shop.ledger.consent.history(granted(shop))]
    assert [each.evidence for each in events if each.evidence] == [{"gpp_string": "DBABLA~BVQqAAAA"}]
    assert [(each.locale, each.notice_sha256) for each in sorted(events, key=lambda each: each.event_id)] == [
        ("de-AT", notice_sha256("Wir dürfen schreiben.")),
        (None, None),
        (None, None),
    ]
