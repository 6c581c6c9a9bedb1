"""From an event to consent and suppressions: with the inbox, and whatever the order. Invariants 6, 8, 9."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from personalization.ledger import ConsentState, Keyring, Ledger
from personalization.ledger.inbox_event import Receipt
from personalization.program import Program, load_program
from personalization.webhooks.receipt import Prepared, Preparer, record
from personalization.webhooks.replay import replay
from tests.webhooks.program import SOURCES, program_with
from tests.webhooks.signing import ACTIVECAMPAIGN, NOW, SIGNERS, form, request, sign_standard

ANN = "ann@example.com"
MARKETING, NEWSLETTER = "email.marketing", "email.newsletter"
MINUTE_BEFORE = datetime(2026, 6, 1, 11, 59, tzinfo=UTC)


class Shop:
    """Receives events of the sources of a program into a ledger."""

    def __init__(self, program: Program, ledger: Ledger, keys: Keyring) -> None:
        self.program, self.ledger, self.keys = program, ledger, keys

    def prepare(self, source: str, body: bytes, event_id: str = "msg_1", at: datetime = NOW) -> list[Prepared]:
        settings: Any = self.program.sources[source]
        headers = sign_standard(body, SIGNERS["standard"].secret, at, event_id) if settings.sender == "standard" else []
        return Preparer(self.program, source, settings, self.keys).prepare(request(body, headers), at)

    def write(self, prepared: list[Prepared]) -> list[Receipt]:
        with self.ledger.begin() as connection:
            return record(self.ledger, prepared, connection)

    def receive(self, source: str, body: bytes, event_id: str = "msg_1", at: datetime = NOW) -> list[Receipt]:
        return self.write(self.prepare(source, body, event_id, at))

    def state(self, namespace: str, identifier: str, purpose: str = MARKETING) -> ConsentState:
        token = self.keys.token(namespace, identifier)
        return self.ledger.consent.state([token], purpose)[token]

    def suppressed(self) -> set[tuple[str, str]]:
        rows = self.ledger.suppressions.snapshot().to_pylist()
        return {(row["identifier_token"], row["reason"]) for row in rows}

    def dead(self) -> list[tuple[int, str]]:
        return [(letter.seq, letter.reason) for letter in self.ledger.inbox.dead_letters.all()]


@pytest.fixture
def shop(program: Program, ledger: Ledger, keys: Keyring) -> Shop:
    return Shop(program, ledger, keys)


@pytest.fixture
def quick_shop(program: Program, sqlite_ledger: Ledger, keys: Keyring) -> Shop:
    return Shop(program, sqlite_ledger, keys)


def consent(action: str = "grant", *, at: str = "2026-06-01T11:59:00Z", **data: Any) -> bytes:
    told = {"id": "c1", "customer": "42", "email": ANN, "purpose": MARKETING, "action": action, "notice": "1", **data}
    return json.dumps({"type": "consent.given", "timestamp": at, "data": told}).encode()


WITH_UNSUBSCRIBES = ["mailchimp", "salesforce", "activecampaign", "klaviyo", "customerio", "shopify", "segment"]


@pytest.mark.parametrize("source", WITH_UNSUBSCRIBES)
def test_an_unsubscribe_at_a_sender_withdraws_at_once(quick_shop: Shop, source: str) -> None:
    shop = quick_shop
    body = ACTIVECAMPAIGN if source == "activecampaign" else SIGNERS[source].body
    assert [receipt.state for receipt in shop.receive(source, body)] == ["new"]
    state = shop.state("email", ANN)
    assert (state.state, state.effective_at) == ("withdrawn", MINUTE_BEFORE)
    assert shop.state("email", ANN, NEWSLETTER).state == ("none" if source == "mailchimp" else "withdrawn")
    assert shop.state("email", ANN, "email.transactional").state == "none"
    assert shop.state("email", ANN, "sms.marketing").state == "none"
    erased = shop.keys.suppression_token(ANN)
    assert shop.ledger.consent.state([erased], MARKETING)[erased].state == "withdrawn"
    if source in ("customerio", "segment"):
        assert shop.state("customer", "42").state == "withdrawn"
    assert shop.suppressed() == set()
    assert shop.dead() == []
    shop.ledger.consent.verify()


def test_an_event_is_kept_as_it_came_with_its_times(shop: Shop) -> None:
    body = consent()
    assert shop.receive("hooks", body) == [Receipt(1, "new")]
    (row,) = shop.ledger.inbox.rows(0)
    assert (row.source, row.event_key, row.event_at, row.received_at) == ("hooks", "msg_1", MINUTE_BEFORE, NOW)
    assert row.body(shop.keys) == body


def test_consent_is_recorded_with_its_proof_in_the_same_transaction(shop: Shop) -> None:
    prepared = shop.prepare("hooks", consent())

    def write_and_fail() -> None:
        with shop.ledger.begin() as connection:
            record(shop.ledger, prepared, connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert (shop.ledger.inbox.last_seq(), shop.state("customer", "42").state) == (0, "none")
    shop.write(prepared)
    state = shop.state("customer", "42")
    assert (state.state, state.effective_at, state.event_id) == ("granted", MINUTE_BEFORE, "hooks.consents:c1")
    assert shop.state("email", ANN).state == "none", "a grant is for one identifier, as from a file"


def test_a_withdrawal_counts_for_every_identifier_it_names(shop: Shop) -> None:
    shop.receive("hooks", consent("withdraw"))
    assert shop.state("customer", "42").state == shop.state("email", ANN).state == "withdrawn"


def test_a_repetition_has_one_effect(shop: Shop) -> None:
    for _ in range(3):
        shop.receive("hooks", consent("withdraw"))
    assert shop.receive("hooks", consent("withdraw"), at=NOW + timedelta(days=29)) == [Receipt(1, "duplicate")]
    assert len(shop.ledger.inbox.rows(0)) == 1
    assert shop.ledger.consent.verify().seq == 3


def test_under_a_known_id_an_opt_out_counts_and_a_grant_does_not(shop: Shop) -> None:
    shop.receive("hooks", consent("withdraw"))
    assert shop.receive("hooks", consent("grant", at="2026-06-01T11:59:30Z", id="c2")) == [Receipt(1, "conflict")]
    assert shop.state("customer", "42").state == "withdrawn"
    shop.receive("hooks", consent("grant", customer="7", id="c3"), "msg_2")
    assert shop.receive("hooks", consent("withdraw", customer="7", id="c4"), "msg_2") == [Receipt(2, "conflict")]
    assert shop.state("customer", "7").state == "withdrawn"
    assert shop.ledger.inbox.conflicts() == {"hooks": 2}


def test_what_differs_between_attempts_is_no_conflict(quick_shop: Shop) -> None:
    for source, before, after in (
        ("hubspot", b'"attemptNumber": 0', b'"attemptNumber": 1'),
        ("stripe", b'"pending_webhooks": 2', b'"pending_webhooks": 1'),
        ("segment", b"11:59:01.000Z", b"12:09:01.000Z"),
    ):
        body = SIGNERS[source].body
        assert before in body
        first, again = quick_shop.receive(source, body), quick_shop.receive(source, body.replace(before, after))
        assert [receipt.state for receipt in first + again] == ["new", "duplicate"]
    assert quick_shop.ledger.inbox.conflicts() == {}


def test_bounces_and_complaints_suppress_the_address_also_after_erasure(shop: Shop) -> None:
    for reason in ("hard", "abuse"):
        shop.receive("mailchimp", form({"type": "cleaned", "data[email]": "Ann@Example.com ", "data[reason]": reason}))
    tokens = {shop.keys.token("email", ANN), shop.keys.suppression_token(ANN)}
    assert {token for token, _ in shop.suppressed()} == tokens
    assert shop.state("email", ANN).state == "none", "a bounce is nobody's word"


@pytest.mark.parametrize(
    ("source", "body", "reason"),
    [
        ("hooks", b"canary", "not JSON: expecting value at character 0"),
        ("hooks", b"", "the body is empty"),
        ("hooks", b'{"a": "\\ud800"}', "a text in it is not Unicode: half of a surrogate pair"),
        ("hooks", consent(purpose="canary"), "hooks.consents: purpose: none of program/consent.yaml"),
        ("hooks", consent("canary"), "hooks.consents: action: none of"),
        ("hooks", consent(at="canary"), "hooks.consents: effective_at: not a date or time that can be read"),
        ("hooks", consent(customer=None, email="canary"), "hooks.consents: neither a customer id nor a valid e-mail"),
        (
            "hooks",
            consent(email=["canary"]),
            "hooks.consents: data.email: one value is expected there, found a list of 1",
        ),
        ("hooks", consent(customer="canary\x00"), "hooks.consents: data.customer: a text with a NUL character"),
        ("hooks", b'{"type": "order.placed", "timestamp": NaN}', "NaN is not JSON"),
        ("mailchimp", b"canary", "not the fields of a form in UTF-8"),
        ("mailchimp", form({"type": "unsubscribe"}), "an opt-out of nobody we could know"),
        ("mailchimp", form({"type": "cleaned", "data[email]": "canary"}), "a bounce of nobody we could know"),
        ("hubspot", SIGNERS["hubspot"].body, "an opt-out of nobody we could know: no e-mail address or customer id"),
    ],
)
def test_what_is_authentic_and_not_understood_is_kept_and_waits(
    shop: Shop, source: str, body: bytes, reason: str
) -> None:
    assert [receipt.state for receipt in shop.receive(source, body)] == ["new"]
    ((seq, told),) = shop.dead()
    assert (seq, told[: len(reason)]) == (1, reason)
    assert "canary" not in told
    assert [row.body(shop.keys) for row in shop.ledger.inbox.rows(0)] == [body[1:-1] if source == "hubspot" else body]


def test_one_bad_event_of_a_batch_does_not_take_the_others_with_it(shop: Shop) -> None:
    body = b'[{"messageId": "1"}, "canary", %s]' % SIGNERS["segment"].body[1:-1]
    assert [receipt.state for receipt in shop.receive("segment", body)] == ["new"] * 3
    assert shop.dead() == [(2, "a text where an object is expected")]
    assert shop.state("customer", "42").state == "withdrawn"


def test_a_mapped_opt_out_of_hubspot_needs_no_address(quick_shop: Shop) -> None:
    quick_shop.receive("mapped_hubspot", SIGNERS["hubspot"].body)
    assert quick_shop.dead() == []
    assert quick_shop.state("customer", "512").state == "withdrawn"


def test_an_event_without_times_counts_from_when_it_came(quick_shop: Shop) -> None:
    quick_shop.receive("mailchimp", form({"type": "unsubscribe", "data[email]": ANN}))
    assert quick_shop.state("email", ANN).effective_at == NOW


def test_an_opt_out_whose_time_can_not_be_read_counts_all_the_same(quick_shop: Shop) -> None:
    quick_shop.receive("hooks", consent("withdraw", at="canary"))
    assert quick_shop.state("customer", "42").state == "withdrawn"
    assert quick_shop.dead() == [(1, "hooks.consents: effective_at: not a date or time that can be read")]


def test_a_time_without_zone_is_the_programs(quick_shop: Shop) -> None:
    quick_shop.receive("hooks", consent(at="2026-06-01 07:30"))
    assert quick_shop.state("customer", "42").effective_at == datetime(2026, 6, 1, 11, 30, tzinfo=UTC)


def test_a_grant_dated_ahead_does_not_outlast_a_withdrawal(quick_shop: Shop) -> None:
    quick_shop.receive("hooks", consent(at="2099-01-01T00:00:00Z"))
    assert quick_shop.state("customer", "42").effective_at == NOW
    quick_shop.receive(
        "hooks", consent("withdraw", at="2026-06-01T12:00:01Z", id="c2"), "msg_2", NOW + timedelta(seconds=1)
    )
    assert quick_shop.state("customer", "42").state == "withdrawn"


def test_a_long_or_unprintable_id_is_replaced_by_its_hash(shop: Shop) -> None:
    for event_id in ("x" * 201, "a\x01b"):
        shop.receive("stripe", json.dumps({"id": event_id, "created": 1780315140}).encode())
        shop.receive("stripe", json.dumps({"id": event_id, "created": 1780315140}).encode())
    keys = [row.event_key for row in shop.ledger.inbox.rows(0)]
    assert [key.startswith("hash:") and len(key) == 37 for key in keys] == [True, True]


def story(shop: Shop) -> list[list[Prepared]]:
    """Seven deliveries about one person, as they are written."""

    def unsubscribed(**fields: str) -> bytes:
        return form({"type": "unsubscribe", "fired_at": "2026-05-05", "data[email]": ANN, **fields})

    return [
        shop.prepare("hooks", consent(at="2026-05-01T10:00:00Z", id="c1"), "m1"),
        shop.prepare("hooks", consent("withdraw", at="2026-05-02T10:00:00Z", id="c2"), "m2"),
        shop.prepare("hooks", consent(at="2026-05-03T10:00:00Z", id="c3"), "m3"),
        shop.prepare("hooks", consent("withdraw", at="2026-05-03T10:00:00Z", id="c4"), "m4"),
        shop.prepare("hooks", consent(at="2026-05-04T10:00:00Z", id="c5", customer="7"), "m5"),
        shop.prepare("mailchimp", unsubscribed()),
        shop.prepare("mailchimp", unsubscribed(type="cleaned", **{"data[reason]": "hard"})),
    ]


class _Undo(Exception):
    pass


def outcome(shop: Shop, deliveries: list[list[Prepared]]) -> tuple[Any, ...]:
    """What deliveries in this order amount to. All is undone, so that thousands of orders can be tried."""
    found: list[tuple[Any, ...]] = []
    try:
        with shop.ledger.begin() as connection:
            for prepared in deliveries:
                record(shop.ledger, prepared, connection)
            states = shop.ledger.consent.snapshot(MARKETING, connection=connection).to_pylist()
            suppressed = shop.ledger.suppressions.snapshot(connection=connection).to_pylist()
            rows = shop.ledger.inbox.rows(0, connection=connection)
            found.append(
                (
                    sorted((row["subject_token"], row["state"], row["effective_at"]) for row in states),
                    sorted((row["identifier_token"], row["reason"]) for row in suppressed),
                    sorted(row.event_key for row in rows),
                )
            )
            raise _Undo
    except _Undo:
        return found[0]


@pytest.mark.parametrize("orders", [40, pytest.param(None, marks=pytest.mark.slow)])
def test_the_order_of_arrival_does_not_matter(quick_shop: Shop, orders: int | None) -> None:
    """All 5,040 orders of seven events (slow), or some, with repetitions at random, give one and the same state."""
    told = story(quick_shop)
    expected = outcome(quick_shop, told)
    assert [state for _, state, _ in expected[0]].count("withdrawn") == 3
    assert [state for _, state, _ in expected[0]].count("granted") == 1
    draw = random.Random(8)
    every = list(permutations(told))
    for order in every if orders is None else draw.sample(every, orders):
        repeated = list(order)
        for _ in range(draw.randrange(4)):
            repeated.insert(draw.randrange(len(repeated)), draw.choice(order))
        assert outcome(quick_shop, repeated) == expected


def test_replay_understands_what_the_program_has_learnt(shop: Shop, tmp_path: Path) -> None:
    shop.receive("hubspot", SIGNERS["hubspot"].body)
    shop.receive("hooks", b"canary")
    shop.receive("hooks", consent(purpose="sms.new", id="c9"), "msg_2")
    assert [seq for seq, _ in shop.dead()] == [1, 2, 3]
    before = replay(shop.program, shop.ledger, shop.keys)
    assert [(one.seq, one.state) for one in before] == [(1, "dead"), (2, "dead"), (3, "dead")]
    opt_outs = SOURCES.partition("    tables:\n      opt_outs:")[2].partition("  salesforce:")[0]
    learnt = program_with(
        tmp_path / "learnt",
        SOURCES.replace(
            'sender: hubspot\n    secrets: ["${env:SECRET}"]\n  mapped',
            f'sender: hubspot\n    secrets: ["${{env:SECRET}}"]\n    tables:\n      opt_outs:{opt_outs}  mapped',
        ),
    )
    after = replay(learnt, shop.ledger, shop.keys, [1])
    assert [(one.seq, one.source, one.state, one.reason) for one in after] == [(1, "hubspot", "settled", None)]
    assert shop.state("customer", "512").state == "withdrawn"
    assert [seq for seq, _ in shop.dead()] == [2, 3]
    with (tmp_path / "learnt" / "program" / "consent.yaml").open("a") as file:
        file.write("  sms.new: {title: New, channel: sms}\n")
    learnt = load_program(tmp_path / "learnt" / "program")
    assert [(one.seq, one.state) for one in replay(learnt, shop.ledger, shop.keys, [3])] == [(3, "replay")]
    assert shop.state("customer", "42", "sms.new").state == "granted"
    shop.ledger.inbox.erase_bodies([2])
    (letter,) = replay(learnt, shop.ledger, shop.keys, [2])
    assert (letter.state, letter.reason) == ("dead", "its body was erased")
