"""Who is meant, and who is not: former, shared and corrected identifiers (invariants 36 and 49)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from personalization.errors import DataError
from personalization.ledger.identity_corrections import Correction
from personalization.privacy.answer import make_copy
from personalization.privacy.erase import erase
from personalization.privacy.found import found_of
from personalization.privacy.person import find_person
from personalization.sandbox import Sandbox
from personalization.stages.sync.identity import write_identity
from tests.privacy.town import ANNA, ANNA_TWO, AT, BEN, BEN_VALUES, CANARY, NEW, OLD, OTHERS, SECOND, Town

OFFICE = "+49 30 555 0000"


def offices(town: Town) -> None:
    """Ben and all others write from one office: its number is in nobody's identity."""
    plain = {"first": "Otto", "last": "", "street": "", "city": "Köln", "phone": OFFICE}
    people: list[dict[str, Any]] = [{"id": BEN, **BEN_VALUES, "city": "Bonn", "phone": OFFICE}]
    people += [{"id": id_, "email": f"{id_}@example.com", **plain} for id_ in OTHERS]
    town.write("customers.csv", [{name: row[name] for name in people[0]} for row in people])
    town.sync()


def test_every_identifier_leads_to_the_same_person(town: Town) -> None:
    people = [
        find_person(town.runtime, asked) for asked in (NEW, OLD, CANARY["phone"], ANNA, ANNA_TWO, SECOND["email"])
    ]
    assert len({person.tokens for person in people}) == 1
    assert {NEW, SECOND["email"], CANARY["street"]} <= set(people[0].values())


def test_a_number_that_many_share_is_nobodys(town: Town) -> None:
    offices(town)
    with pytest.raises(DataError, match="many customers have this identifier, so it does not say who is meant"):
        find_person(town.runtime, OFFICE)
    ben = find_person(town.runtime, BEN)
    assert OFFICE in ben.values(), "it is in his record"
    assert ben.own("phone") == []


def test_erasing_one_of_an_office_leaves_the_others_their_number(town: Town, sandbox: Sandbox) -> None:
    offices(town)
    before = found_of(town.runtime, OTHERS[0])
    erase(town.runtime, BEN, at=AT)
    assert found_of(town.runtime, OTHERS[0]) == before
    assert OFFICE in find_person(town.runtime, OTHERS[0]).values()
    suppressed = town.runtime.ledger.suppressions.snapshot()["identifier_token"].to_pylist()
    assert town.runtime.keys.suppression_token("+49305550000") not in suppressed


def test_a_row_of_somebody_else_with_the_persons_address_in_it_is_not_the_persons(town: Town, sandbox: Sandbox) -> None:
    """Support found that the address in Ben's record is Carl's: Carl gets a copy without Ben, and Ben keeps his row."""
    runtime = town.runtime
    carl, ben = town.token(OTHERS[0]), town.token(BEN)
    address = runtime.keys.token("email", BEN_VALUES["email"])
    said = ("support", "he called", AT)
    corrections = [Correction(1, "split", ben, address, *said), Correction(2, "link", carl, address, *said)]
    with runtime.warehouse.connect() as session:
        write_identity(session, runtime.workspace.history, corrections)
        rows = session.value("select count(*) from landed.customers where customer_key = $ben", {"ben": ben})
    copy = make_copy(runtime, OTHERS[0], at=AT)
    text = (copy.folder / "data.json").read_text()
    assert BEN_VALUES["email"] in text, "it is Carl's"
    assert [
        value for value in (BEN_VALUES["first"], BEN_VALUES["last"], BEN_VALUES["street"], "Bonn") if value in text
    ] == []
    erase(runtime, OTHERS[0], at=AT)
    with runtime.warehouse.connect() as session:
        kept = session.rows("select email_token from landed.customers where customer_key = $ben", {"ben": ben})
    assert kept == [(None,)] * rows


def test_without_a_warehouse_records_are_not_guessed_to_be_one_person(town: Town) -> None:
    town.runtime.workspace.warehouse.unlink()
    assert set(find_person(town.runtime, BEN).values()) == set(BEN_VALUES.values())
    with pytest.raises(DataError, match=r"2 records have this identifier, and the warehouse does not say"):
        find_person(town.runtime, CANARY["phone"])


def test_somebody_unknown_is_a_person_of_one_identifier(town: Town, tmp_path: Path) -> None:
    person = find_person(town.runtime, " Nobody@Example.COM ")
    assert person.tokens == (town.runtime.keys.token("email", "nobody@example.com"),)
    assert person.held == ()
    assert "nobody" not in repr(person).lower()
