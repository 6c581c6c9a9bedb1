"""Identifiers: tokens in the landing zone, values in the vault, and nothing of them anywhere else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from personalization.errors import LedgerError, SourceError
from personalization.stages.sync.entities import ENTITIES
from personalization.stages.sync.tokenise import NO_ADDRESS, Tokeniser
from tests.sync.shop import Shop

TABLE = "customers__files_customers"
MAPPED = {
    "customer_id": "id",
    "email": "mail",
    "phone": "phone",
    "first_name": "first",
    "last_name": "last",
    "street": "street",
    "city": "city",
}
HEADER = "id,mail,phone,first,last,street,city"
SECRETS = ("ann@example.com", "Ann@Example.com", "bob(at)example.com", "4915112345678", "Lovelace", "Long Lane 1")


def use(shop: Shop, *lines: str) -> None:
    shop.write_lines("customers.csv", HEADER, *lines)
    shop.use_files(customers={"entity": "customers", "path": "customers.csv", "columns": MAPPED})


def test_tokens_land_and_values_go_to_the_vault(shop: Shop) -> None:
    use(shop, "7, Ann@Example.com ,+49 151 12345678,Ann,Lovelace,Long Lane 1,Köln")
    shop.sync()
    assert set(shop.landed_types(TABLE)) == {
        *("customer_key", "email_token", "email_problem", "phone_token", "city"),
        *("_source", "_row", "_rejected", "_dlt_load_id"),
    }
    customer, email, phone, problem = shop.landing(TABLE, "customer_key, email_token, phone_token, email_problem")[0]
    assert customer == shop.keys.token("customer", "7")
    assert email == shop.keys.token("email", "ann@example.com")
    assert phone == shop.keys.token("phone", "+4915112345678")
    assert problem is None
    names = {name: shop.keys.token(name, value) for name, value in (("first_name", "Ann"), ("street", "Long Lane 1"))}
    revealed = shop.ledger.vault(shop.keys).reveal([email, phone, *names.values()])
    assert revealed == {
        email: "Ann@Example.com",
        phone: "+49 151 12345678",
        names["first_name"]: "Ann",
        names["street"]: "Long Lane 1",
    }


def test_an_unusable_address_is_noted_without_being_shown(shop: Shop) -> None:
    use(shop, "1,bob(at)example.com,,,,,", "2,,,,,,", "3,  ,,,,,")
    shop.sync()
    assert shop.landing(TABLE, "email_token, email_problem") == [(None, NO_ADDRESS), (None, None), (None, None)]


def test_no_identifier_is_written_outside_the_vault(shop: Shop) -> None:
    use(
        shop,
        "7,Ann@Example.com,+49 151 12345678,Ann,Lovelace,Long Lane 1,Köln",
        "8,bob(at)example.com,,,,,",
        "9,ann@example.com,broken line",
    )
    shop.sync()
    shop.validate()
    for path in shop.workspace.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found = [secret for secret in SECRETS if secret.encode() in content]
            assert not found, (path, found)


def test_errors_do_not_show_identifiers(shop: Shop) -> None:
    shop.write_parquet("customers.parquet", {"id": ["7"], "mail": [["ann@example.com"]]})
    columns = {"customer_id": "id", "email": "mail"}
    shop.use_files(customers={"entity": "customers", "path": "customers.parquet", "columns": columns})
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert "ann@example.com" not in str(caught.value)


def test_nothing_lands_when_the_vault_cannot_take_it(shop: Shop) -> None:
    """The vault comes first: a token whose value is lost could never be mailed."""
    use(shop, "7,ann@example.com,,,,,")
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql(
            "create trigger full before insert on vault_items begin select raise(abort, 'no'); end"
        )
    with pytest.raises(LedgerError):
        shop.sync()
    assert shop.landing(TABLE) == []
    with shop.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    assert shop.sync().rows == 1


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, None], pa.int16()),
        pa.array([7.0, None]),
        pa.array(["7", ""]),
        pa.array([" 7 ", None]),
        pa.array(["7", None]).dictionary_encode(),
        pa.array([7, None], pa.decimal128(9, 2)),
    ],
)
def test_the_same_customer_has_the_same_token_whatever_type_the_id_has(shop: Shop, ids: pa.Array) -> None:
    tokeniser = Tokeniser(ENTITIES["order_lines"], shop.keys, shop.ledger.vault(shop.keys), "test.orders")
    decoded = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    rows = tokeniser.replace(pa.table({"customer_id": pa.chunked_array([decoded])}))
    assert rows["customer_key"].to_pylist() == [shop.keys.token("customer", "7"), None]
