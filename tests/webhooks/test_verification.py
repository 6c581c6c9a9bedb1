"""Nobody but the sender gets in: flipped bits, other keys, old requests, repeated headers. Invariants 2, 3, 4."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.senders import SENDERS
from tests.webhooks.signing import (
    NOW,
    SIGNERS,
    STANDARD_SECRET,
    URL,
    Headers,
    Signer,
    request,
    sign_hubspot,
    sign_standard,
)

ALL = pytest.mark.parametrize("signer", SIGNERS.values(), ids=list(SIGNERS))
TIMESTAMPED = pytest.mark.parametrize(
    "signer", [s for s in SIGNERS.values() if s.timestamped], ids=[s.sender for s in SIGNERS.values() if s.timestamped]
)


def verify(signer: Signer, webhook: WebhookRequest, *secrets: str, now: datetime = NOW) -> None:
    sender = SENDERS[signer.sender]
    sender.verify(webhook, [sender.key(secret) for secret in secrets or (signer.secret,)], now)


def refused(signer: Signer, webhook: WebhookRequest, *secrets: str, now: datetime = NOW) -> str:
    with pytest.raises(NotAuthentic) as caught:
        verify(signer, webhook, *secrets, now=now)
    return str(caught.value)


@ALL
def test_a_request_of_the_sender_is_authentic(signer: Signer) -> None:
    verify(signer, signer.request())
    verify(signer, signer.request(), signer.other, signer.secret)


@ALL
def test_another_key_is_not(signer: Signer) -> None:
    assert refused(signer, signer.request(secret=signer.other)) == "the signature does not match"
    assert refused(signer, signer.request(), signer.other) == "the signature does not match"


@ALL
def test_while_a_secret_is_changed_both_count_and_afterwards_only_the_new_one(signer: Signer) -> None:
    old, new = signer.request(secret=signer.secret), signer.request(secret=signer.other)
    for webhook in (old, new):
        verify(signer, webhook, signer.secret, signer.other)
    verify(signer, new, signer.other)
    assert refused(signer, old, signer.other) == "the signature does not match"


def flips(value: bytes) -> Iterator[bytes]:
    for index in {0, len(value) // 2, len(value) - 1}:
        for bit in (0x01, 0x20, 0x80):
            yield value[:index] + bytes([value[index] ^ bit]) + value[index + 1 :]


@ALL
def test_no_flipped_bit_gets_in(signer: Signer) -> None:
    webhook = signer.request()
    for body in (*flips(webhook.body), webhook.body + b" ", webhook.body[:-1], b""):
        refused(signer, WebhookRequest(body, webhook.headers, webhook.url))
    checked = 0
    for place, (name, value) in enumerate(webhook.headers):
        if name == b"x-shopify-topic":
            continue  # it is not signed, so we do not look at it
        # the part of a header that holds nothing, such as v0=ignored of Stripe's, is no part of the signature
        for flipped in flips(value.removesuffix(b",v0=ignored")):
            headers = [*webhook.headers[:place], (name, flipped), *webhook.headers[place + 1 :]]
            if signer.sender in ("klaviyo", "customerio", "segment") and flipped.lower() == value.lower():
                continue  # hex in capitals says the same
            refused(signer, WebhookRequest(webhook.body, headers, webhook.url))
            checked += 1
    assert checked >= 6


@ALL
def test_every_signed_header_is_needed_and_must_come_once(signer: Signer) -> None:
    webhook = signer.request()
    for place, (name, value) in enumerate(webhook.headers):
        if name == b"x-shopify-topic":
            continue
        without = [*webhook.headers[:place], *webhook.headers[place + 1 :]]
        assert "is missing" in refused(signer, WebhookRequest(webhook.body, without, URL))
        for twice in (value, b"x"):
            again = [*webhook.headers, (name, twice)]
            assert "came 2 times" in refused(signer, WebhookRequest(webhook.body, again, URL))
        for bad in (b"", b"\xff\xfe", b" ", b"\xc3\xa4", b"NaN", b"-1", b"1e3", b"v1,", b"t=,v1=", b"t=1,t=2,v1=x"):
            refused(signer, WebhookRequest(webhook.body, [*without, (name, bad)], URL))


@TIMESTAMPED
@pytest.mark.parametrize("seconds", [-299, 0, 299])
def test_five_minutes_either_way_are_allowed(signer: Signer, seconds: int) -> None:
    verify(signer, signer.request(at=NOW + timedelta(seconds=seconds)))


@TIMESTAMPED
@pytest.mark.parametrize("seconds", [-301, 301, -86_400 * 365, 86_400 * 365 * 50])
def test_older_and_later_requests_are_not(signer: Signer, seconds: int) -> None:
    webhook = signer.request(at=NOW + timedelta(seconds=seconds))
    assert "300 seconds before or after" in refused(signer, webhook)


@pytest.mark.parametrize(
    "timestamp", ["1780315200.5", "١٧٨٠٣١٥٢٠٠", "NaN", "inf", "1e9", "+1780315200", "", "9" * 15, "9" * 30, "0x1"]
)
def test_a_timestamp_is_digits_only(timestamp: str) -> None:
    headers = [("webhook-id", "m"), ("webhook-timestamp", timestamp), ("webhook-signature", "v1,AAAA")]
    refused(SIGNERS["standard"], request(b"{}", headers))


def test_the_published_vector_of_standard_webhooks() -> None:
    headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    webhook = request(b'{"test": 2432232314}', headers)
    verify(SIGNERS["standard"], webhook, now=datetime.fromtimestamp(1614265330, UTC))


def test_svix_uses_other_names_for_the_same() -> None:
    signer = SIGNERS["standard"]
    headers = [(name.replace("webhook", "svix"), value) for name, value in sign_standard(b"{}", signer.secret, NOW)]
    webhook = request(b"{}", headers)
    verify(signer, webhook)
    assert SENDERS["standard"].request_key(webhook) == "msg_1"


def test_one_of_several_signatures_is_enough() -> None:
    signer = SIGNERS["standard"]
    headers = dict(sign_standard(b"{}", signer.secret, NOW))
    good = headers["webhook-signature"]
    for signatures in (f"v1,AAAA {good}", f"{good} v1a,AAAA", f"v2,x  {good}  v1,é".replace("é", "e")):
        verify(signer, request(b"{}", list({**headers, "webhook-signature": signatures}.items())))
    for signatures in (good.removeprefix("v1,"), good.replace("v1,", "v1a,"), good.replace("v1,", "v2,"), "v1"):
        refused(signer, request(b"{}", list({**headers, "webhook-signature": signatures}.items())))


def test_an_id_with_a_dot_could_be_cut_in_two_ways() -> None:
    signer = SIGNERS["standard"]
    assert "has a dot" in refused(signer, request(b"{}", sign_standard(b"{}", signer.secret, NOW, "a.b")))


@given(body=st.text().map(str.encode), event_id=st.text("abcXYZ019_-", min_size=1), seconds=st.integers(-400, 400))
@settings(max_examples=150, deadline=None)
def test_we_agree_with_the_library(body: bytes, event_id: str, seconds: int) -> None:
    real_now = datetime.now(UTC)  # the library has no other clock
    if abs(abs(seconds) - 300) <= 2:
        return
    at = real_now + timedelta(seconds=seconds)
    library = standardwebhooks.Webhook(STANDARD_SECRET)
    headers: Headers = [
        ("webhook-id", event_id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", library.sign(event_id, at, body.decode())),
    ]
    try:
        library.verify(body, dict(headers))
        theirs = True
    except standardwebhooks.WebhookVerificationError:
        theirs = False
    except ValueError:  # verified, and then not JSON
        theirs = True
    try:
        verify(SIGNERS["standard"], request(body, headers), now=real_now)
        ours = True
    except NotAuthentic:
        ours = False
    assert ours == theirs == (abs(seconds) < 300)


@given(
    headers=st.lists(st.tuples(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.binary()))
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_headers_are_the_answer_is_no(headers: list[tuple[str, bytes]]) -> None:
    webhook = WebhookRequest(b"{}", [(name.encode(), value) for name, value in headers], URL)
    refused(SIGNERS["standard"], webhook)


def test_hubspot_signs_the_public_address() -> None:
    signer = SIGNERS["hubspot"]
    webhook = signer.request()
    for url in ("http://127.0.0.1:8700/webhooks/hooks", URL + "?x=1", URL.replace("https", "http")):
        refused(signer, WebhookRequest(webhook.body, webhook.headers, url))
    signed = sign_hubspot(b"[]", signer.secret, NOW, "https://mail.example.com/webhooks/hooks?a=b:c")
    verify(signer, WebhookRequest(b"[]", request(b"", signed).headers, URL + "?a=b%3Ac"))


def test_klaviyo_header_times_that_are_hours_off_are_made_up_for_by_the_signed_body() -> None:
    signer = SIGNERS["klaviyo"]
    body = b'{"meta": {"timestamp": "2026-06-01T11:58:00.101159+00:00"}, "data": []}'
    verify(signer, signer.request(body, at=NOW + timedelta(hours=5)))
    old = body.replace(b"06-01", b"05-01")
    assert "300 seconds" in refused(signer, signer.request(old, at=NOW + timedelta(hours=5)))


def test_without_keys_only_the_handshake_of_salesforce_is_authentic() -> None:
    sender = SENDERS["salesforce"]
    handshake = b'{"callbackId": "c-1", "verificationKey": "k-1"}'
    sender.verify(request(handshake, []), [], NOW)
    for body in (
        b"[]",
        b"{}",
        handshake[:-1],
        handshake[:-1] + b', "x": 1}',
        b'{"callbackId": 1, "verificationKey": ""}',
    ):
        with pytest.raises(NotAuthentic, match="x-sfmc-ens-signature is missing"):
            sender.verify(request(body, []), [], NOW)
    with pytest.raises(NotAuthentic, match="does not match"):
        sender.verify(request(handshake, [("x-sfmc-ens-signature", "AAAA")]), [], NOW)


def test_mailchimp_needs_its_signature_only_where_a_signing_secret_is_set() -> None:
    sender, signer = SENDERS["mailchimp"], SIGNERS["mailchimp"]
    sender.verify(request(signer.body, []), [], NOW)
    assert "X-Mailchimp-Signature is missing" in refused(signer, request(signer.body, []))
