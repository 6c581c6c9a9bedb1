"""What is answered to whom: signed and unsigned, large and slow, again and at once. Invariants 2, 3, 5, 6, 9."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from personalization.ledger import Ledger
from personalization.runtime import Runtime
from tests.serve.conftest import Clock
from tests.serve.server import Answer, Served
from tests.webhooks.signing import (
    ACTIVECAMPAIGN,
    NOW,
    SIGNERS,
    URL_SECRET,
    Headers,
    Signer,
    sign_hubspot,
    sign_standard,
)

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
BODY = b'{"type": "other"}'
MEGABYTE = 1024 * 1024
HEAD = b"POST /webhooks/hooks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def signed(body: bytes, event_id: str = "msg_1", at: timedelta = timedelta(0)) -> Headers:
    return [JSON, *sign_standard(body, SIGNERS["standard"].secret, NOW + at, event_id)]


def post(served: Served, body: bytes = BODY, headers: Headers | None = None, path: str = "/webhooks/hooks") -> Answer:
    return served.send("POST", path, body, signed(body) if headers is None else headers)


def path_of(signer: Signer) -> str:
    source = "hooks" if signer.sender == "standard" else signer.sender
    return f"/webhooks/{source}" + (f"/{URL_SECRET}" if signer.sender in ("mailchimp", "salesforce") else "")


def headers_of(signer: Signer, body: bytes, secret: str | None = None) -> Headers:
    sign = signer.sign
    if signer.sender == "hubspot":
        url = f"https://mail.example.com{path_of(signer)}"
        return [JSON, *sign_hubspot(body, secret or signer.secret, NOW, url)]
    return [("content-type", signer.content_type), *sign(body, secret or signer.secret, NOW)]


@pytest.mark.parametrize("signer", SIGNERS.values(), ids=list(SIGNERS))
def test_every_sender_gets_in_with_its_signature_only(served: Served, ledger: Ledger, signer: Signer) -> None:
    path, plain = path_of(signer), [("content-type", signer.content_type)]
    if signer.sender != "mailchimp":  # its secret is in the address; see below
        assert served.send("POST", path, signer.body, plain).status == 401
        assert served.send("POST", path, signer.body, headers_of(signer, signer.body, signer.other)).status == (
            200 if signer.sender == "standard" else 401
        ), "the second secret of the standard source is that other one"
    before = ledger.inbox.last_seq()
    answer = served.send("POST", path, signer.body, headers_of(signer, signer.body))
    assert (answer.status, answer.json["received"]) == (200, 1)
    assert ledger.inbox.last_seq() == before + (0 if before else 1)
    other = [("content-type", "text/plain"), *headers_of(signer, signer.body)[1:]]
    assert served.send("POST", path, signer.body, other).status == 415


def test_a_flipped_bit_in_any_part_keeps_it_out(served: Served, ledger: Ledger) -> None:
    (_, *headers) = signed(BODY)
    for place, (name, value) in enumerate(headers):
        flipped = [*headers[:place], (name, value[:-2] + chr(ord(value[-2]) ^ 1) + value[-1]), *headers[place + 1 :]]
        assert post(served, BODY, [JSON, *flipped]).status == 401
    assert post(served, BODY.replace(b"other", b"othes"), [JSON, *headers]).status == 401
    assert ledger.inbox.last_seq() == 0


def test_a_secret_in_the_address(served: Served, ledger: Ledger) -> None:
    for source in ("mailchimp", "activecampaign"):
        for path in (f"/webhooks/{source}", f"/webhooks/{source}/wrong", f"/webhooks/{source}/{URL_SECRET[:-1]}"):
            assert served.send("POST", path, ACTIVECAMPAIGN, [FORM]).status == 401
    assert ledger.inbox.last_seq() == 0
    assert served.send("POST", f"/webhooks/activecampaign/{URL_SECRET}", ACTIVECAMPAIGN, [FORM]).status == 200
    assert post(served, path=f"/webhooks/hooks/{URL_SECRET}").status == 401, "a source without one has none"


def test_mailchimp_checks_the_address_with_a_get(served: Served) -> None:
    assert served.send("GET", f"/webhooks/mailchimp/{URL_SECRET}").status == 200
    assert served.send("HEAD", f"/webhooks/mailchimp/{URL_SECRET}").status == 200
    assert served.send("GET", "/webhooks/mailchimp/wrong").status == 401
    assert served.send("GET", "/webhooks/hooks").status == 405
    assert served.send("PUT", "/webhooks/hooks", b"{}", [JSON]).status == 405
    assert served.send("GET", "/webhooks/nobody").status == 404
    assert served.send("POST", "/webhooks/nobody", b"{}", [JSON]).json == {"error": "there is no such source"}


def test_salesforce_shakes_hands_and_the_key_is_kept_for_the_operator(
    served: Served, ledger: Ledger, runtime: Runtime
) -> None:
    body = b'{"callbackId": "c-1", "verificationKey": "k-1"}'
    assert served.send("POST", "/webhooks/salesforce", body, [JSON]).status == 401
    assert served.send("POST", f"/webhooks/salesforce/{URL_SECRET}", body, [JSON]).status == 200
    (row,) = ledger.inbox.rows(0)
    assert (row.event_key, row.body(runtime.keys)) == ("handshake:c-1", body)


@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-299, 200), (299, 200), (301, 401)])
def test_the_replay_window_is_by_our_clock(served: Served, ledger: Ledger, seconds: int, status: int) -> None:
    assert post(served, BODY, signed(BODY, at=timedelta(seconds=seconds))).status == status
    assert ledger.inbox.last_seq() == (status == 200)


def test_a_captured_request_counts_once_and_not_at_all_when_it_is_old(
    served: Served, ledger: Ledger, clock: Clock
) -> None:
    headers = signed(BODY)
    assert post(served, BODY, headers).json == {"received": 1, "new": 1}
    assert post(served, BODY, headers).json == {"received": 1, "new": 0}
    clock.now += timedelta(seconds=301)
    assert post(served, BODY, headers).status == 401
    again = post(served, BODY, signed(BODY, at=timedelta(seconds=301)))
    assert again.json == {"received": 1, "new": 0}, "the sender's own retry"
    assert len(ledger.inbox.rows(0)) == 1


def test_a_body_of_a_megabyte_and_one_byte_more(served: Served, ledger: Ledger) -> None:
    fits = b'{"a": "%s"}' % (b"x" * (MEGABYTE - 9))
    assert len(fits) == MEGABYTE
    assert post(served, fits, signed(fits, "fits")).status == 200
    over = fits + b" "
    assert post(served, over, signed(over, "over")).json == {"error": "a body may have 1048576 bytes"}
    lying = [*signed(over, "over"), ("transfer-encoding", "chunked")]
    parts = [over[start : start + 65_536] for start in range(0, len(over), 65_536)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    assert served.send("POST", "/webhooks/hooks", chunks + b"0\r\n\r\n", lying).status == 413
    assert len(ledger.inbox.rows(0)) == 1


def test_a_large_body_is_refused_by_its_header_before_it_comes(served: Served) -> None:
    for length in ("1048577", "9" * 18):
        head = HEAD + f"content-length: {length}\r\n\r\n".encode()
        assert served.raw(head).startswith(b"HTTP/1.1 413")


def test_memory_stays_bounded_under_many_large_bodies(served: Served) -> None:
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (8 * MEGABYTE, b"x" * (8 * MEGABYTE))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        threads = [threading.Thread(target=_flood, args=(served, chunked)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2 * MEGABYTE, f"{peak:,} bytes for 16 requests of 8 MiB"


def _flood(served: Served, chunked: bytes) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        connection.sendall(chunked)  # until it hangs up on us, as it should


def test_a_compressed_body_is_not_unpacked(served: Served, ledger: Ledger) -> None:
    bomb = gzip.compress(b" " * 50 * MEGABYTE)
    for encoding in ("gzip", "br", "deflate", "gzip, identity", "x"):
        answer = post(served, bomb, [*signed(bomb), ("content-encoding", encoding)])
        assert (answer.status, answer.json) == (415, {"error": "bodies must not be compressed"})
    assert post(served, BODY, [*signed(BODY), ("content-encoding", "identity")]).status == 200
    assert post(served, bomb, signed(bomb, "packed")).status == 200, "authentic, so it is kept as it is"
    assert [letter.seq for letter in ledger.inbox.dead_letters.all()] == [2]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json5", "json"])
def test_another_content_type(served: Served, kind: str) -> None:
    headers = signed(BODY)[1:]
    answer = post(served, BODY, [("content-type", kind), *headers] if kind else headers)
    assert (answer.status, answer.json) == (415, {"error": "the content type must be application/json"})


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"]
)
def test_the_same_content_type_written_otherwise(served: Served, kind: str) -> None:
    assert post(served, BODY, [("content-type", kind), *signed(BODY)[1:]]).status == 200


def test_repeated_headers_are_refused(served: Served, ledger: Ledger) -> None:
    headers = signed(BODY)
    for header in headers[1:]:
        assert post(served, BODY, [*headers, header]).status == 401
    assert post(served, BODY, [*headers, JSON]).status == 415
    assert ledger.inbox.last_seq() == 0


UNREADABLE = [b"", b"\xff\xfe\x00", b"{", b"[1]", b'{"timestamp": NaN}', b"[" * 100_000, b'"\\ud800"']


@pytest.mark.parametrize("body", UNREADABLE)
def test_what_is_authentic_is_kept_even_when_nobody_can_read_it(served: Served, ledger: Ledger, body: bytes) -> None:
    assert post(served, body).json == {"received": 1, "new": 1}
    assert [letter.seq for letter in ledger.inbox.dead_letters.all()] == [1]
    assert post(served, BODY, signed(BODY, "msg_2")).status == 200, "others proceed"


def test_a_body_that_does_not_come(serve: Callable[..., Served], ledger: Ledger) -> None:
    served = serve(read_seconds=0.2)
    assert served.raw(HEAD + b"content-length: 5\r\n\r\n{").startswith(b"HTTP/1.1 408")
    assert post(served).status == 200


def test_a_client_that_hangs_up(served: Served, ledger: Ledger) -> None:
    connection = served.connect()
    connection.putrequest("POST", "/webhooks/hooks")
    for name, value in [*signed(BODY), ("content-length", "1000")]:
        connection.putheader(name, value)
    connection.endheaders(b"{")
    connection.close()
    assert post(served, BODY, signed(BODY, "msg_2")).status == 200
    assert [row.event_key for row in ledger.inbox.rows(0)] == ["msg_2"]


def test_garbage_instead_of_http(served: Served) -> None:
    assert served.raw(b"\x16\x03\x01 garbage\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert post(served).status == 200


def test_one_id_over_many_connections_has_one_effect(served: Served, ledger: Ledger) -> None:
    """One thousand deliveries of one event over fifty connections (invariant 6)."""
    path = f"/webhooks/activecampaign/{URL_SECRET}"
    answers: list[Answer] = []

    def deliver() -> None:
        connection = served.connect()
        for _ in range(20):
            answers.append(served.send("POST", path, ACTIVECAMPAIGN, [FORM], connection))
        connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 1_000
    assert sum(answer.json["new"] for answer in answers) == 1
    assert ledger.inbox.last_seq() == 1
    assert ledger.consent.verify().seq == 4, "two purposes, for the address and for it as an erased one"


def test_same_id_with_another_body_is_told_without_its_content(
    served: Served, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        post(served)
        other = b'{"type": "canary-1"}'
        assert post(served, other, signed(other)).json == {"received": 1, "new": 0}
    assert ledger.inbox.conflicts() == {"hooks": 1}
    assert "source hooks: the event of inbox row 1 came again with other content; the first is kept" in caplog.messages
    assert "canary" not in caplog.text


def test_refusals_are_told_but_not_each_of_them(served: Served, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        post(served, BODY, [JSON, ("webhook-id", "canary-2"), ("webhook-signature", "canary-3")])
    clock.now += timedelta(seconds=11)
    post(served, BODY, [JSON])
    told = [message for message in caplog.messages if "refused" in message]
    assert told == [
        "source hooks: a request was refused: the header webhook-timestamp is missing",
        "source hooks: a request was refused: the header webhook-id is missing (49 more before it)",
    ]
    assert "canary" not in caplog.text


def test_health(served: Served) -> None:
    answer = served.send("GET", "/health")
    assert (answer.status, answer.json) == (200, {"status": "ok", "waiting": 0})
