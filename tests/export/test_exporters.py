"""Two exporters: one works. A stale one, whatever it still wants to do, writes nothing and sends nothing."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import delete, update

from personalization.errors import ExportError
from personalization.ledger.export_schema import leases
from personalization.ledger.export_schema import outbox as outbox_table
from personalization.ledger.leases import LeaseLost
from personalization.ledger.outbox import Outcome, RunHead
from personalization.ledger.schema import from_micros
from personalization.sandbox import Sandbox
from tests.export.shop import Shop, address, fields, when_requested

ROW = {
    "operation": "add",
    "customer_token": "c",
    "address_token": "a",
    "campaign": "x",
    "purpose": "p",
    "payload": "{}",
    "row_hash": "h",
    "state": "planned",
    "reason": None,
}


def expire(shop: Shop) -> None:
    with shop.runtime.ledger.begin() as connection:
        connection.execute(update(leases).values(expires_at=from_micros(0)))


def test_the_second_exporter_says_who_works_and_ends(shop: Shop) -> None:
    with (
        shop.runtime.ledger.leases.held("export:file"),
        pytest.raises(ExportError, match=r"'export:file' is being worked on by process \d+ on ") as refused,
    ):
        shop.export("file")
    assert refused.value.exit_code == 8
    assert shop.export("file").books.acked == 8


def test_the_lease_of_a_process_that_is_gone_is_taken_over_at_once(shop: Shop) -> None:
    shop.runtime.ledger.leases.acquire("export:file")
    with shop.runtime.ledger.begin() as connection:
        holder = connection.execute(leases.select()).one().process
        host, pid, start = holder.rsplit(":", 2)
        connection.execute(
            update(leases).values(process=f"{host}:{pid}:{int(start) - 1}")
        )  # the pid, but an older process
    assert shop.export("file").books.acked == 8


def test_each_holder_has_a_higher_epoch(shop: Shop) -> None:
    manager = shop.runtime.ledger.leases
    epochs = []
    for _ in range(3):
        with manager.held("x") as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3]


def test_an_overtaken_exporter_sends_nothing_more(shop: Shop, sandbox: Sandbox) -> None:
    """The first exporter hangs on a slow answer; meanwhile its lease expires and a second one does all the work."""
    sandbox.fault("hang_after", path="/lists/demo000001/merge-fields", method="GET", seconds=2.0)
    finished: list[int] = []

    def overtake() -> None:
        expire(shop)
        finished.append(Shop(shop.root, shop.rows).export().books.acked)

    with (
        when_requested(sandbox, "/lists/demo000001/merge-fields", overtake),
        pytest.raises(LeaseLost, match="was taken over by another process"),
    ):
        shop.export()
    writes = [request for request in sandbox.request_log() if request["method"] in ("PUT", "PATCH")]
    assert (finished, len(writes)) == ([8], 8)
    assert fields(sandbox) == shop.wanted()


@pytest.mark.parametrize("step", ["cut", "keep_receipt", "put_back", "settle", "append", "resume", "close"])
def test_every_step_checks_the_epoch(shop: Shop, step: str) -> None:
    outbox, manager = shop.runtime.ledger.outbox, shop.runtime.ledger.leases
    stale = manager.acquire("export:file")
    head = RunHead("file", shop.runtime.as_of("2017-12-03"), "hash", "version", 1, 0)
    run = outbox.start(stale, head, [ROW])
    expire(shop)
    manager.acquire("export:file")
    steps = {
        "cut": lambda: outbox.cut(stale, run, 1, from_micros(0), [1], []),
        "keep_receipt": lambda: outbox.keep_receipt(stale, run, 1, "receipt"),
        "put_back": lambda: outbox.put_back(stale, [1]),
        "settle": lambda: outbox.settle(stale, run, [Outcome(1, "acked")]),
        "append": lambda: outbox.append(stale, run, "file", [ROW]),
        "resume": lambda: outbox.resume(stale, run, "file", [ROW]),
        "close": lambda: outbox.close(stale, run),
    }
    with pytest.raises(LeaseLost, match=r"the lease on 'export:file' \(epoch 1\) was taken over"):
        steps[step]()
    (kept,) = outbox.rows(run, ("planned",))
    assert (kept.state, kept.attempt) == ("planned", 0)


def test_no_batch_number_is_given_twice_although_its_rows_never_arrived(shop: Shop) -> None:
    outbox = shop.runtime.ledger.outbox
    head = RunHead("file", shop.runtime.as_of("2017-12-03"), "hash", "version", 1, 0)
    with shop.runtime.ledger.leases.held("export:file") as lease:
        run = outbox.start(lease, head, [ROW])
        assert outbox.next_batch_number(run) == 1
        (row,) = outbox.rows(run, ("planned",))
        assert outbox.cut(lease, run, 1, from_micros(0), [row.id], []) == [row.id]
        outbox.keep_receipt(lease, run, 1, "job-1")
        outbox.put_back(lease, [row.id])
        assert outbox.next_batch_number(run) == 2
        assert outbox.cut(lease, run, 2, from_micros(0), [row.id], []) == [row.id]
        assert outbox.receipt(run, 1) == "job-1"
        assert outbox.receipt(run, 2) is None, "what an earlier batch was called is not of this one"
        outbox.settle(lease, run, [Outcome(row.id, "acked")])
        assert outbox.close(lease, run).closes


def test_books_that_do_not_close_fail_the_run(shop: Shop) -> None:
    outbox = shop.runtime.ledger.outbox
    with shop.runtime.ledger.leases.held("export:file") as lease:
        head = RunHead("file", shop.runtime.as_of("2017-12-03"), "hash", "version", 1, 0)
        row = {"customer_token": "c", "campaign": None, "purpose": "p", "payload": "{}", "row_hash": "", "reason": None}
        rows = [{**row, "operation": "add", "address_token": a, "state": "planned"} for a in "ab"]
        run = outbox.start(lease, head, rows)
        with shop.runtime.ledger.begin() as connection:
            connection.execute(delete(outbox_table).where(outbox_table.c.address_token == "a"))
        with pytest.raises(
            ExportError, match=r"the books of run 1 to 'file' do not close: 2 planned = 0 acked .* 1 held"
        ):
            outbox.close(lease, run)


def test_how_far_a_run_is(shop: Shop, sandbox: Sandbox) -> None:
    """Seen from outside while the platform answers: some contacts are settled, all are counted."""
    seen: list[tuple[int, int] | None] = []
    outbox = shop.runtime.ledger.outbox
    assert outbox.progress("mailchimp") is None
    shop.export()
    assert outbox.progress("mailchimp") is None
    shop.rows[1]["offer"] = "POINTS2"
    shop.decide()
    sandbox.fault("hang_after", path="/lists/demo000001/members/.*", seconds=0.3)
    member = f"/lists/demo000001/members/{hashlib.md5(address(1).encode()).hexdigest()}"
    with when_requested(sandbox, member, lambda: seen.append(outbox.progress("mailchimp"))):
        shop.export()
    assert seen == [(0, 1)]
