"""Shared identifiers, corrections, explanations; opt-outs cover a person whatever was joined (invariant 36)."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from personalization.errors import DataError
from personalization.ledger import ConsentEvent
from personalization.program.models import Purpose
from personalization.stages.export.cut import Contact, Cut
from personalization.stages.export.planner import read_identity
from personalization.stages.sync.identity import SHARED_BY, IdentityResult, write_identity
from personalization.stages.sync.identity_explain import explain_identity
from tests.sync.shop import Shop

MAIL = "email.marketing"


def records(shop: Shop, *rows: tuple[str, str | None, str | None]) -> None:
    """Customer records (id, e-mail, phone) as they are after validation; plain words stand for tokens."""
    names = ("customer_key", "email_token", "phone_token")
    table = pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    )
    table = table.append_column("_source", pa.repeat(pa.scalar("crm/customers.csv"), len(table)))
    table = table.append_column("_row", pa.array(range(1, len(table) + 1), pa.int64()))
    with shop.warehouse.connect() as session, session.registered(_rows=table):
        session.execute("create schema if not exists landed; create or replace table landed.customers as from _rows")


def identify(shop: Shop) -> IdentityResult:
    with shop.warehouse.connect() as session:
        return write_identity(session, shop.workspace.history, shop.ledger.identity_corrections.holding())


def people(shop: Shop) -> dict[str, str]:
    return dict(shop.query("select identifier_token, customer_token from landed.identity"))


def correct(shop: Shop, kind: str, first: str, second: str) -> int:
    return shop.ledger.identity_corrections.add(kind, first, second, actor="Ada", reason="they called")


def blocked(shop: Shop, customer: str, address: str, *covered_by: str) -> str | None:
    with shop.warehouse.connect() as session:
        cut = Cut(shop.ledger, {MAIL: Purpose(title="Mail")}, read_identity(session))
    contact = Contact("x", MAIL, (customer, address), covered_by)
    found = cut.blocked([contact]).get("x")
    contacts = pa.table({"key": ["x"], "purpose": [MAIL], "customer_token": [customer], "address_token": [address]})
    if not covered_by:
        assert cut.stopped(contacts)["reason"].to_pylist() == ([found.reason] if found else [])
    return found.reason if found else None


def say(shop: Shop, action: str, token: str, day: int = 1, **more: Any) -> None:
    event = ConsentEvent(
        event_id=f"{action}-{token}-{day}",
        subject_token=token,
        purpose=MAIL,
        action=action,
        effective_at=datetime(2017, 1, day, tzinfo=UTC),
        source="test",
        **more,
    )
    shop.ledger.consent.append([event])


def test_the_address_of_an_office_joins_nobody(shop: Shop) -> None:
    many = SHARED_BY + 1
    records(
        shop,
        *((f"c{number}", "info", f"p{number}") for number in range(many)),
        ("d1", "home", None),
        ("d2", "home", None),
    )
    result = identify(shop)
    assert (result.shared, result.merged) == (1, 1)
    found = people(shop)
    assert [found[f"c{number}"] for number in range(many)] == [f"c{number}" for number in range(many)]
    assert found["info"] == "info"
    assert found["d2"] == "d1"


def test_an_opt_out_on_a_shared_address_covers_all_and_a_grant_on_it_nobody(shop: Shop) -> None:
    records(shop, *((f"c{number}", "info", None) for number in range(SHARED_BY + 1)), ("d", "other", None))
    identify(shop)
    say(shop, "grant", "info")
    assert blocked(shop, "c1", "info") is None  # the contact's own address said so
    assert blocked(shop, "c1", "own address of c1") == "no_consent"
    for customer in ("c1", "c2", "d"):
        say(shop, "grant", customer, 2)
    assert blocked(shop, "c1", "own address of c1") is None
    say(shop, "withdraw", "info", 3)
    assert [blocked(shop, name, "x") for name in ("c1", "c2", "d")] == ["withdrawn", "withdrawn", None]
    say(shop, "grant", "c1", 4)  # newer proof, from the person
    assert [blocked(shop, name, "x") for name in ("c1", "c2")] == [None, "withdrawn"]
    shop.ledger.suppressions.add(["info"], "complained", "test")
    assert blocked(shop, "c1", "x") == "suppressed: complained"


def test_a_split_takes_the_second_customer_out_and_opt_outs_cover_both(shop: Shop) -> None:
    records(shop, ("c1", "family", "p1"), ("c2", "family", "p2"), ("c3", "family", None))
    identify(shop)
    assert set(people(shop).values()) == {"c1"}
    number = correct(shop, "split", "c1", "c2")
    assert identify(shop).unresolved == ()
    found = people(shop)
    assert (found["c2"], found["p2"], found["family"], found["c3"]) == ("c2", "p2".replace("p2", "c2"), "c1", "c1")
    for customer in ("c1", "c2"):
        say(shop, "grant", customer)
    assert blocked(shop, "c2", "x") is None
    say(shop, "withdraw", "family", 2)
    assert blocked(shop, "c2", "x") == "withdrawn"
    shop.ledger.identity_corrections.undo(number, actor="Ada", reason="it was one person after all")
    identify(shop)
    assert set(people(shop).values()) == {"c1"}


def test_an_address_can_be_taken_from_a_customer(shop: Shop) -> None:
    records(shop, ("c1", "a", "p"), ("c2", "b", "p"))
    identify(shop)
    correct(shop, "split", "c2", "p")
    identify(shop)
    found = people(shop)
    assert (found["c1"], found["p"], found["c2"]) == ("c1", "c1", "c2")


def test_a_split_that_other_records_outdo_is_told(shop: Shop) -> None:
    records(shop, ("c1", "a", None), ("c1", "b", None), ("c2", "b", None))
    identify(shop)
    first = correct(shop, "split", "c2", "a")
    assert identify(shop).unresolved == (first,)


def test_a_link_joins_what_no_record_joins_and_can_be_undone(shop: Shop) -> None:
    records(shop, ("c1", "a", None), ("c2", "b", None))
    number = correct(shop, "link", "c1", "b")
    identify(shop)
    assert set(people(shop).values()) == {"c1"}
    say(shop, "grant", "c1")
    say(shop, "withdraw", "b", 2)
    assert blocked(shop, "c1", "a") == "withdrawn"
    with pytest.raises(DataError, match=f"correction {number} says already that the two are one person"):
        correct(shop, "split", "b", "c1")
    shop.ledger.identity_corrections.undo(number, actor="Ada", reason="wrong")
    identify(shop)
    assert people(shop)["b"] == "c2"
    with pytest.raises(DataError, match=f"no correction {number} holds"):
        shop.ledger.identity_corrections.undo(number, actor="Ada", reason="again")
    with pytest.raises(DataError, match="needs who decided it and why"):
        shop.ledger.identity_corrections.add("link", "a", "b", actor=" ", reason="x")


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_records_changes_nothing(shop: Shop, seed: int) -> None:
    dice = random.Random(seed)
    rows = [
        (
            f"c{dice.randrange(14)}",
            dice.choice([None, f"e{dice.randrange(10)}"]),
            dice.choice([None, f"p{dice.randrange(4)}"]),
        )
        for _ in range(30)
    ]
    correct(shop, "split", rows[0][0], next(row[0] for row in rows if row[0] != rows[0][0]))
    seen = set()
    for _ in range(3):
        dice.shuffle(rows)
        records(shop, *rows)
        with shop.warehouse.connect() as session:
            write_identity(session, shop.workspace.history, shop.ledger.identity_corrections.holding(), shared_by=5)
            rows_now = session.rows("select * from landed.identity order by all")
            covers = session.rows("select * from landed.identity_covers order by all")
        seen.add((tuple(rows_now), tuple(covers)))
    assert len(seen) == 1


def test_the_explanation_names_records_keys_and_corrections(shop: Shop) -> None:
    records(shop, ("c1", "a", "p"), ("c2", "b", "p"), ("c3", "c", None))
    correct(shop, "link", "c1", "c3")
    identify(shop)
    with shop.warehouse.connect() as session:
        told = explain_identity(session, shop.ledger, "c1")
    assert [(each.token, each.kind, each.linked_by) for each in told.identifiers if each.kind == "customer"] == [
        ("c1", "customer", "phone"),
        ("c2", "customer", "phone"),
        ("c3", "customer", None),
    ]
    assert told.shared == {"p": ["c1", "c2"]}
    text = told.to_text()
    assert "the phone p is in records of c1, c2" in text
    assert "customers crm/customers.csv row 2: customer c2, email b, phone p" in text
    assert "correction 1: link c1 c3 by Ada" in text


def test_an_address_that_opted_out_before_it_was_known_is_covered_when_it_comes(shop: Shop) -> None:
    """An unknown address opts out; then it comes with a sign-up import, for a customer who agreed on another one."""
    records(shop, ("c1", "a", None))
    identify(shop)
    say(shop, "grant", "c1")
    shop.ledger.suppressions.add(["late"], "unsubscribed", "webhook")
    assert blocked(shop, "c1", "a") is None
    records(shop, ("c1", "a", None), ("c1", "late", None))
    identify(shop)
    assert blocked(shop, "c1", "a") == "suppressed: unsubscribed"


@pytest.mark.parametrize(
    "written", ["ADA@example.com", " ada@EXAMPLE.com ", "ada@bücher.example", "ada@XN--BCHER-KVA.example"]
)
def test_the_way_an_address_is_written_does_not_matter(shop: Shop, written: str) -> None:
    from personalization.ledger import normalise_email

    plain = "ada@bücher.example" if "cher" in written.lower() else "ada@example.com"
    assert normalise_email(written) == normalise_email(plain)


def test_an_opt_out_of_the_mailbox_covers_its_tags(shop: Shop) -> None:
    from personalization.ledger.normalise import mailbox_of

    assert mailbox_of("Ada+News@Example.com") == "ada@example.com"
    assert mailbox_of("ada@example.com") is None
    assert mailbox_of("+x@example.com") is None
    records(shop, ("c1", "tagged", None))
    identify(shop)
    say(shop, "grant", "c1")
    assert blocked(shop, "c1", "tagged", "mailbox") is None
    say(shop, "withdraw", "mailbox", 2)
    assert blocked(shop, "c1", "tagged", "mailbox") == "withdrawn"
