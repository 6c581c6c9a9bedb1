"""Opt-outs during an export: looking only at what is new finds what a look at everybody finds (invariants 31, 36)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from personalization.as_of import AsOf
from personalization.ledger import Ledger
from personalization.ledger.engine import bulk_insert
from personalization.ledger.export_schema import acknowledged
from personalization.ledger.outbox import Outcome, RunHead
from personalization.ledger.schema import from_micros
from personalization.stages.export.late import LateOptOuts
from tests.export.test_cut_watch import Town

DAY = AsOf.parse("2017-12-03", "UTC")
HEAD = RunHead("shop", DAY, "hash", "version", 1, 0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        yield ledger


def addresses(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["address_token"] for row in rows)


def take_as_known(town: Town) -> None:
    """The destination has acknowledged the contacts of the first purpose."""
    names = ("destination", "address_token", "customer_token", "purpose", "state", "row_hash", "payload", "run")
    rows = {
        row["address_token"]: ("shop", row["address_token"], row["customer_token"], "mail", "present", "h", "{}", 1, 0)
        for row in town.contacts.to_pylist()
    }
    with town.ledger.begin() as connection:
        bulk_insert(connection, acknowledged, (*names, "acked_at"), list(rows.values()))


@pytest.mark.parametrize("tidy", [True, False])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_looks_at_what_is_new_add_up_to_a_look_at_everybody(ledger: Ledger, seed: int, tidy: bool) -> None:
    town = Town(ledger, seed, tidy=tidy)
    take_as_known(town)
    town.speak(8)
    late = LateOptOuts(ledger, town.cut, "shop")
    found = set(addresses(late.rows(None)))
    for _ in range(10):
        before = set(addresses(LateOptOuts(ledger, town.cut, "shop").rows(None)))
        town.speak(2)
        everybody = set(addresses(LateOptOuts(ledger, town.cut, "shop").rows(None)))
        new = set(addresses(late.rows(None)))
        assert everybody - before <= new <= everybody, "whoever is out now and was not, and nobody who is not out"
        found |= new
    assert found


def test_who_opts_out_on_the_way_is_found_on_arrival(ledger: Ledger) -> None:
    town = Town(ledger, 1, tidy=True)
    planned = {
        "operation": "add",
        "customer_token": "c1",
        "address_token": "e1",
        "campaign": "x",
        "purpose": "mail",
        "payload": "{}",
        "row_hash": "h",
        "state": "planned",
        "reason": None,
    }
    with ledger.leases.held("export:shop") as lease:
        run = ledger.outbox.start(lease, HEAD, [planned])
        (row,) = ledger.outbox.rows(run, ("planned",))
        late = LateOptOuts(ledger, town.cut, "shop")
        assert late.any_news()
        assert late.rows(run) == []
        assert ledger.outbox.cut(lease, run, 1, from_micros(1), [row.id], []) == [row.id]
        ledger.suppressions.add(["e1"], "unsubscribed", "test")
        assert late.any_news()
        assert late.rows(run) == [], "to opt out before it arrives would be undone by its arrival"
        assert late.any_news(), "nothing new was said, but it was on its way"
        ledger.outbox.settle(lease, run, [Outcome(row.id, "acked")])
        assert addresses(late.rows(run)) == ["e1"]
        assert not late.any_news()
