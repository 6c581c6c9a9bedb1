"""Allowances and the circuit breaker: kept over processes, ending cleanly, and never in the way of an opt-out."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from personalization.errors import ExportError
from personalization.ledger.traffic import FIRST_WAIT, LONGEST_WAIT
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.retract import push_opt_outs
from personalization.stages.export.status import status_of
from tests.export.shop import Shop, address, fields

START = datetime.fromisoformat("2017-12-03T15:00:00+00:00")


class Time:
    """A clock whose moment a test sets, and whose pauses take no time."""

    def __init__(self) -> None:
        self.moment = START

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: 0.0, sleep=lambda _: None, now=lambda: self.moment)


@pytest.fixture
def time() -> Time:
    return Time()


def limited(shop: Shop, settings: str) -> None:
    shop.edit("destinations", "    list_id: demo000001\n", f"    list_id: demo000001\n    limits: {{{settings}}}\n")


def test_a_day_that_is_used_up_ends_as_held_and_the_next_day_goes_on(shop: Shop, sandbox: Sandbox, time: Time) -> None:
    limited(shop, "per_day: 12")
    books = shop.export(clock=time.clock).books
    made = len(sandbox.request_log())
    assert made == 12
    assert books.state == "closed"
    assert (books.acked + books.held, books.uncertain) == (8, 0)
    assert books.held
    reasons = {reason for state, reason, _ in _reasons(shop, books.run) if state == "held"}
    assert reasons == {"today's 12 requests to 'mailchimp' are used up"}

    shop = Shop(shop.root, shop.rows)  # another process, the same day
    again = shop.export(clock=time.clock).books
    assert len(sandbox.request_log()) == made
    assert again.held == books.held

    time.moment += timedelta(days=1)
    assert shop.export(clock=time.clock).books.acked == books.held
    assert len(fields(sandbox)) == 8
    status = status_of(shop.runtime, "mailchimp")
    assert status.requests_today == 0, "of today, which is long after these runs"


def test_a_year_is_counted_over_its_days(shop: Shop, sandbox: Sandbox, time: Time) -> None:
    limited(shop, "per_day: 12, per_year: 15")
    shop.export(clock=time.clock)
    time.moment += timedelta(days=1)
    books = shop.export(clock=time.clock).books
    assert len(sandbox.request_log()) == 15
    assert any(reason.startswith("this year's 15") for _, reason, _ in _reasons(shop, books.run))


def test_destinations_of_one_account_share_its_day(shop: Shop, sandbox: Sandbox, time: Time) -> None:
    limited(shop, "per_day: 12, account: ours")
    traffic = shop.runtime.ledger.traffic
    assert traffic.take("ours", START.date(), 10, per_day=12, per_year=None) == 10
    assert shop.export(clock=time.clock).books.acked == 0
    assert len(sandbox.request_log()) == 2


def test_a_platform_that_is_down_is_left_alone_then_tried_once_and_then_used_again(
    shop: Shop, sandbox: Sandbox, time: Time
) -> None:
    limited(shop, "failures: 4")
    sandbox.fault("status", path="/lists/.*", times=1000, status=500)
    with pytest.raises(ExportError):
        shop.export(clock=time.clock)
    made = len(sandbox.request_log())
    assert made == 4, "the circuit opened in the middle of the attempts"
    circuit = status_of(shop.runtime, "mailchimp").circuit
    assert circuit is not None
    assert "failed 4 times in a row" in circuit
    assert "left alone until 2017-12-03 15:00:30 UTC" in circuit

    shop = Shop(shop.root, shop.rows)  # the next process knows it
    with pytest.raises(ExportError, match="Nothing is asked of it until"):
        shop.export(clock=time.clock)
    assert len(sandbox.request_log()) == made

    time.moment += FIRST_WAIT
    with pytest.raises(ExportError):
        shop.export(clock=time.clock)
    assert len(sandbox.request_log()) == made + 1, "one request tries whether it is up"
    assert shop.runtime.ledger.traffic.circuit("mailchimp").retry_at == time.moment + 2 * FIRST_WAIT

    sandbox.clear_faults()
    time.moment += 2 * FIRST_WAIT
    assert shop.export(clock=time.clock).books.acked == 8
    assert status_of(shop.runtime, "mailchimp").circuit is None


def test_the_wait_grows_up_to_a_quarter_of_an_hour(shop: Shop) -> None:
    traffic = shop.runtime.ledger.traffic
    waits = []
    for _ in range(12):
        circuit = traffic.failed("x", "down", START, 1)
        assert circuit.retry_at is not None
        waits.append(circuit.retry_at - START)
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT


def test_an_opt_out_is_tried_although_the_circuit_is_open(shop: Shop, sandbox: Sandbox, time: Time) -> None:
    shop.export(clock=time.clock)
    for _ in range(20):
        shop.runtime.ledger.traffic.failed("mailchimp", "down", datetime.now().astimezone(), 10)
    shop.withdraw(3)
    (told,) = push_opt_outs(shop.runtime, ["mailchimp"])
    assert (told.state, told.contacts) == ("told", 1)
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"
    assert not shop.runtime.ledger.traffic.circuit("mailchimp").failures


def test_requests_a_second_are_kept(shop: Shop, sandbox: Sandbox) -> None:
    limited(shop, "per_second: 2, connections: 1")
    paused: list[float] = []
    moment = [0.0]

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        moment[0] += seconds

    shop.export(clock=Clock(monotonic=lambda: moment[0], sleep=sleep))
    requests = len(sandbox.request_log())
    assert sum(paused) == pytest.approx((requests - 1) / 2, abs=0.6)


@pytest.mark.parametrize("settings", ["per_day: 0", "connections: 100", "per_second: -1", "speed: 3"])
def test_limits_that_make_no_sense_are_named_with_their_place(tmp_path: Path, settings: str) -> None:
    shop = Shop.open(tmp_path / "shop", 1)
    limited(shop, settings)
    with pytest.raises(Exception, match=r"destinations\.yaml"):
        _ = shop.runtime.program


def test_limits_change_no_contact(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    limited(shop, "per_day: 5000")
    assert shop.export().books.planned == 0


def _reasons(shop: Shop, run: int) -> list[tuple[str, str, int]]:
    from personalization.ledger.export_books import ExportBooks

    return ExportBooks(shop.runtime.ledger).reasons(run)
