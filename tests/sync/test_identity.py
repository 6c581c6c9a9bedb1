"""One person from several identifiers, always the same way, and opt-outs by addresses of the past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations

import numpy as np

from personalization.runtime import Runtime
from personalization.stages.sync.identity import connected, write_identity
from personalization.stages.sync.identity_links import record_links
from personalization.token_rotation import replace_token_key
from tests.sync.shop import Shop

COLUMNS = {"customer_id": "id", "email": "mail", "phone": "phone"}


def use(shop: Shop, *lines: str) -> None:
    shop.write_lines("customers.csv", "id,mail,phone", *lines)
    shop.use_files(customers={"entity": "customers", "path": "customers.csv", "columns": COLUMNS, "write": "replace"})
    shop.sync()


def identity(shop: Shop, kept: Sequence[str] = ()) -> dict[str, tuple[str, str | None]]:
    """Person and link of every identifier token."""
    for table in shop.program.sources["files"].tables.values():
        shop.split(table.entity)
    with shop.warehouse.connect() as session:
        write_identity(session, shop.workspace.history, kept=kept)
        rows = session.rows("select identifier_token, customer_token, linked_by from landed.identity")
    assert len({row[0] for row in rows}) == len(rows)
    return {token: (person, linked_by) for token, person, linked_by in rows}


def token(shop: Shop, kind: str, value: str) -> str:
    return shop.keys.token(kind, value)


def test_a_shared_address_or_phone_joins_records(shop: Shop) -> None:
    use(
        shop, "1,a@example.com,", "2,a@example.com,+4915112345678", "3,c@example.com,+4915112345678", "4,d@example.com,"
    )
    found = identity(shop)
    customers = [token(shop, "customer", str(number)) for number in (1, 2, 3, 4)]
    first = min(customers[:3])
    assert [found[customer] for customer in customers] == [
        (first, "email"),
        (first, "email, phone"),
        (first, "phone"),
        (customers[3], None),
    ]
    assert found[token(shop, "email", "c@example.com")] == (first, "customer")
    assert found[token(shop, "phone", "+4915112345678")] == (first, "customer")


def test_a_new_token_key_leaves_the_same_token_to_stand_for_the_person(shop: Shop) -> None:
    use(shop, *(f"{number},a@example.com," for number in range(6)))
    for _ in range(3):
        person = identity(shop, shop.ledger.kept.people())[shop.keys.token("email", "a@example.com")][0]
        shop.ledger.close()
        replace_token_key(Runtime(shop.workspace), datetime(2026, 11, 25, tzinfo=UTC))
        for name in ("keys", "ledger"):
            shop.__dict__.pop(name)
        shop.ledger.check_keys(shop.keys)
        again = identity(shop, shop.ledger.kept.people())
        assert {found[0] for found in again.values()} == {shop.keys.current_token(person)}


def test_somebody_known_by_an_address_only(shop: Shop) -> None:
    shop.write_lines("consents.csv", "id,mail,purpose,action,at", "1,a@example.com,email.marketing,grant,2017-01-02")
    columns = {"event_id": "id", "email": "mail", "purpose": "purpose", "action": "action", "effective_at": "at"}
    shop.use_files(consents={"entity": "consent_events", "path": "consents.csv", "columns": columns})
    shop.sync()
    address = token(shop, "email", "a@example.com")
    assert identity(shop) == {address: (address, None)}


def test_an_address_of_the_past_stays_with_who_had_it_last(shop: Shop) -> None:
    use(shop, "1,old@example.com,", "2,b@example.com,")
    use(shop, "1,new@example.com,", "2,b@example.com,")
    first = token(shop, "customer", "1")
    found = identity(shop)
    assert found[token(shop, "email", "old@example.com")] == (first, "former")
    assert found[token(shop, "email", "new@example.com")] == (first, "customer")
    use(shop, "1,new@example.com,", "2,old@example.com,")  # now somebody else's: the two are not joined by it
    found = identity(shop)
    assert found[token(shop, "email", "old@example.com")] == (token(shop, "customer", "2"), "customer")
    assert found[first] == (first, None)
    use(shop, "1,new@example.com,", "2,third@example.com,")
    assert identity(shop)[token(shop, "email", "old@example.com")] == (token(shop, "customer", "2"), "former")


def test_links_are_noted_once(shop: Shop) -> None:
    use(shop, "1,a@example.com,")
    assert record_links(shop.program, shop.workspace) == 0
    assert len(list((shop.workspace.history / "identity_links").iterdir())) == 1


def test_components_do_not_depend_on_the_order_of_links() -> None:
    links = [(0, 1), (1, 2), (3, 4)]
    for order in permutations(links):
        a, b = np.array(order).T
        component = connected(6, a, b)
        assert component[0] == component[1] == component[2]
        assert component[3] == component[4]
        assert len(set(component)) == 3


def test_no_identifiers_at_all(shop: Shop) -> None:
    use(shop)
    assert identity(shop) == {}
