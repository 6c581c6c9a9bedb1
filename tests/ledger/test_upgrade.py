"""A ledger of an earlier version keeps what it holds when it is opened by this one."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from personalization.errors import LedgerError
from personalization.ledger import Ledger
from personalization.ledger.engine import open_engine, write
from personalization.ledger.migrate import configuration

SEND = (
    "insert into sends (campaign, version, customer_token, address_token, destination, day, as_of, state, outbox_id,"
    " ended_day, reserved_at) values ('spring', '1', :customer, :address, 'shop', '2017-12-01', '2017-12-01', :state,"
    " 7, :ended, 1)"
)
RUN = (
    "insert into export_runs (run, destination, as_of, state, plan_hash, mapping_version, desired, unchanged, planned,"
    " adds, changes, removes, retractions, epoch, started_at) values (1, 'shop', '2017-12-01', 'open', 'h', 'v', 1, 0,"
    " 1, 1, 0, 0, 0, 1, 1)"
)
ROW = (
    "insert into outbox (run, destination, customer_token, address_token, purpose, operation, payload, row_hash, state,"
    " attempt, batch, receipt, epoch, changed_at) values (1, 'shop', 'c1', 'a1', 'mail', 'add', '{}', 'h', 'uncertain',"
    " 1, 3, 'old-receipt', 1, 1)"
)


def _up_to(revision: str, url: str) -> Engine:
    engine = open_engine(url, 5.0)
    with write(engine) as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def test_releases_and_receipts_of_schema_0013_are_kept(new_url: str) -> None:
    engine = _up_to("0013", new_url)
    sent = [("c1", "a1", "kept", None), ("c2", "a2", "reserved", None), ("c3", "a3", "kept", "2017-12-02")]
    with write(engine) as connection:
        for customer, address, state, ended in sent:
            values = {"customer": customer, "address": address, "state": state, "ended": ended}
            connection.execute(text(SEND), values)
        connection.execute(text(RUN))
        connection.execute(text(ROW))
    engine.dispose()
    with Ledger.open(new_url) as ledger:
        with ledger.read() as connection:
            columns = "customer_token, address_token, state, ended_day"
            found = connection.execute(text(f"select {columns} from sends order by id")).all()
        assert [tuple(row) for row in found] == sent
        (row,) = ledger.outbox.rows(1, ("uncertain",))
        assert row.batch == 3
        assert ledger.outbox.receipt(1, 3) == "old-receipt"
        assert ledger.outbox.next_batch_number(1) == 4


@pytest.mark.parametrize(
    ("customer", "address", "state"), [("c1", "a2", "kept"), ("c2", "a1", "kept"), ("c2", "a2", "sent")]
)
def test_the_rebuilt_table_refuses_what_the_old_one_refused(
    new_url: str, customer: str, address: str, state: str
) -> None:
    engine = _up_to("0013", new_url)
    with write(engine) as connection:
        connection.execute(text(SEND), {"customer": "c1", "address": "a1", "state": "kept", "ended": None})
    engine.dispose()
    with Ledger.open(new_url) as ledger, pytest.raises((IntegrityError, LedgerError)), ledger.begin() as connection:
        connection.execute(text(SEND), {"customer": customer, "address": address, "state": state, "ended": None})
