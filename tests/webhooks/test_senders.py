"""What each sender's events are called, when they happened, and which of them are opt-outs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from personalization.webhooks.senders import SENDERS, Statement
from tests.webhooks.signing import ACTIVECAMPAIGN, SIGNERS, form, request, sign_standard

MINUTE_BEFORE = datetime(2026, 6, 1, 11, 59, tzinfo=UTC)
ANN = "ann@example.com"


def only_event(sender: str, body: bytes) -> dict[str, Any]:
    ((event, _),) = SENDERS[sender].events(request(body, []))
    assert isinstance(event, dict)
    return event


def example(sender: str) -> dict[str, Any]:
    return only_event(sender, ACTIVECAMPAIGN if sender == "activecampaign" else SIGNERS[sender].body)


@pytest.mark.parametrize(
    ("sender", "key", "statements"),
    [
        ("mailchimp", None, [Statement("withdraw", "Ann@Example.com")]),
        ("hubspot", "7:1:512:1780315140000", [Statement("withdraw")]),
        ("salesforce", None, [Statement("withdraw", ANN)]),
        ("activecampaign", None, [Statement("withdraw", ANN)]),
        ("klaviyo", "event:klaviyo.unsubscribed_from_email_marketing:73WCCK7JKtE", [Statement("withdraw", ANN)]),
        ("customerio", "01E4C4CT6YDC7Y5M7FE1GWWPQJ", [Statement("withdraw", ANN, "42")]),
        ("shopify", None, [Statement("withdraw", ANN)]),
        ("stripe", "evt_1", []),
        ("segment", "ajs-1", [Statement("withdraw", ANN, "42")]),
        ("standard", None, []),
    ],
)
def test_ids_times_and_opt_outs(sender: str, key: str | None, statements: list[Statement]) -> None:
    event = example(sender)
    assert SENDERS[sender].event_key(event) == key
    assert SENDERS[sender].event_at(event) == MINUTE_BEFORE
    assert SENDERS[sender].statements(event) == statements


def test_every_sender_of_sources_yaml_is_here() -> None:
    from typing import get_args

    from personalization.program.models import Sender

    assert list(SENDERS) == list(get_args(Sender))


def test_standard_webhooks_have_their_id_in_a_header() -> None:
    signer = SIGNERS["standard"]
    webhook = request(b"{}", sign_standard(b"{}", signer.secret, MINUTE_BEFORE, "msg_7"))
    assert SENDERS["standard"].request_key(webhook) == "msg_7"


MAILCHIMP = {
    "type": "cleaned",
    "fired_at": "2026-06-01 11:59:00",
    "data[email]": ANN,
    "data[campaign_id]": "4fjk2",
}
BOUNCE = {"type": "bounce", "contact[email]": ANN}


@pytest.mark.parametrize(
    ("sender", "body", "statements"),
    [
        ("mailchimp", form({**MAILCHIMP, "data[reason]": "hard"}), [Statement("bounced", ANN)]),
        ("mailchimp", form({**MAILCHIMP, "data[reason]": "abuse"}), [Statement("complained", ANN)]),
        (
            "mailchimp",
            form({**MAILCHIMP, "type": "unsubscribe", "data[reason]": "abuse"}),
            [Statement("withdraw", ANN), Statement("complained", ANN)],
        ),
        ("mailchimp", form({**MAILCHIMP, "type": "subscribe"}), []),
        ("activecampaign", form({**BOUNCE, "bounce[type]": "hard"}), [Statement("bounced", ANN)]),
        ("activecampaign", form({**BOUNCE, "bounce[type]": "soft"}), []),
        ("hubspot", b'[{"propertyName": "hs_email_optout", "propertyValue": "false"}]', []),
        (
            "salesforce",
            b'[{"eventCategoryType": "TransactionalSendEvents.EmailBounced",'
            b' "info": {"to": "ann@example.com", "subscriberKey": "42", "bounceCode": "HARD"}}]',
            [Statement("bounced", ANN, "42")],
        ),
        (
            "salesforce",
            b'[{"eventCategoryType": "TransactionalSendEvents.EmailBounced", "info": {"bounceCode": "SOFT"}}]',
            [],
        ),
        (
            "salesforce",
            b'[{"eventCategoryType": "EngagementEvents.EmailUnsubscribe",'
            b' "info": {"subscriberKey": "ann@example.com"}}]',
            [Statement("withdraw", ANN)],
        ),
        (
            "customerio",
            b'{"object_type": "email", "metric": "spammed", "data": {"recipient": "ann@example.com"}}',
            [Statement("complained", ANN)],
        ),
        (
            "customerio",
            b'{"object_type": "email", "metric": "bounced", "data": {"recipient": "ann@example.com"}}',
            [Statement("bounced", ANN)],
        ),
        ("customerio", b'{"object_type": "sms", "metric": "unsubscribed", "data": {"customer_id": "42"}}', []),
        ("segment", b'{"type": "track", "event": "Email Bounced", "userId": "42"}', []),
        (
            "segment",
            b'{"type": "track", "event": "Email Bounced", "userId": "42", "properties": {"bounce_type": "hard"}}',
            [Statement("bounced", None, "42")],
        ),
        ("segment", b'{"type": "identify", "event": "Unsubscribed", "userId": "42"}', []),
        ("shopify", b'{"email_address": "ann@example.com", "email_marketing_consent": {"state": "subscribed"}}', []),
    ],
)
def test_opt_outs_bounces_and_complaints(sender: str, body: bytes, statements: list[Statement]) -> None:
    assert SENDERS[sender].statements(only_event(sender, body)) == statements


def test_what_senders_report_about_mailings() -> None:
    row = {"detail": None, "customer_id": None, "email": ANN, "occurred_at": MINUTE_BEFORE.isoformat()}
    assert SENDERS["mailchimp"].email_events(only_event("mailchimp", form({**MAILCHIMP, "data[reason]": "hard"}))) == [
        {**row, "campaign_id": "4fjk2", "event": "bounced", "detail": "hard"}
    ]
    assert SENDERS["mailchimp"].email_events(example("mailchimp")) == [], "it belongs to no campaign"
    assert SENDERS["salesforce"].email_events(example("salesforce")) == [
        {**row, "campaign_id": "1722201", "event": "unsubscribed"}
    ]
    opened = {
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1780315140,
        "data": {"campaign_id": 23, "recipient": ANN, "customer_id": "42"},
    }
    assert SENDERS["customerio"].email_events(opened) == [
        {**row, "campaign_id": "23", "event": "opened", "customer_id": "42"}
    ]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(
    "event",
    [
        {},
        {"data": None, "type": {}, "info": [], "event": 7, "topic": []},
        {"data": [], "payload": {"data": {"attributes": []}}, "properties": "x", "context": {"traits": [1]}},
        {"type": "unsubscribe", "metric": "unsubscribed", "object_type": "customer", "data": 1, "contact": "x"},
        {"eventCategoryType": "EngagementEvents.EmailUnsubscribe", "info": None, "timestampUTC": "x"},
        {"email_marketing_consent": "unsubscribed", "timestamp": True, "fired_at": {}, "created": []},
        {"propertyName": "hs_email_optout", "propertyValue": ["true"], "eventId": {}, "callbackId": 1},
    ],
    ids=str,
)
def test_events_of_any_shape_are_no_error(sender: str, event: dict[str, Any]) -> None:
    one = SENDERS[sender]
    one.event_key(event)
    one.event_at(event)
    for statement in one.statements(event):
        assert statement.email is None or isinstance(statement.email, str)
    one.email_events(event)


def test_batches_are_taken_apart() -> None:
    hubspot = json.dumps([{"eventId": number} for number in range(3)]).encode()
    assert len(SENDERS["hubspot"].events(request(hubspot, []))) == 3
    klaviyo = b'{"meta": {}, "data": [{"topic": "a", "external_id": "1"}, {"topic": "a", "external_id": "2"}]}'
    assert [raw for _, raw in SENDERS["klaviyo"].events(request(klaviyo, []))] == [
        b'{"topic": "a", "external_id": "1"}',
        b'{"topic": "a", "external_id": "2"}',
    ]
    segment = b'{"batch": [{"messageId": "1"}, {"messageId": "2"}]}'
    assert len(SENDERS["segment"].events(request(segment, []))) == 2
    assert len(SENDERS["segment"].events(request(b'{"messageId": "1"}', []))) == 1


def test_a_handshake_has_an_id_of_its_own() -> None:
    event = {"callbackId": "c-1", "verificationKey": "k-1"}
    assert SENDERS["salesforce"].event_key(event) == "handshake:c-1"


@pytest.mark.parametrize(
    ("sender", "secret", "problem"),
    [
        ("standard", "whsec_!!!", "is not base64"),
        ("standard", "", "holds 0 bytes; Standard Webhooks needs 24 to 64"),
        ("standard", "whsec_AAAA", "holds 3 bytes; Standard Webhooks needs 24 to 64"),
        ("standard", "whsec_" + "AAAA" * 22, "holds 66 bytes; Standard Webhooks needs 24 to 64"),
        *((sender, "fifteen-letters", "is 15 characters long; at least 16") for sender in list(SENDERS)[1:]),
    ],
)
def test_secrets_that_are_none(sender: str, secret: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SENDERS[sender].key(secret)
