"""Events to canonical records, as sources.yaml says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from personalization.program.models import WebhookTable
from personalization.webhooks.mapping import MappingError, applies, records
from personalization.webhooks.moments import moment, not_ahead

ORDER = {
    "type": "order.placed",
    "test": False,
    "version": Decimal("2.0"),
    "data": {
        "id": 7,
        "customer": {"id": "42", "tags": ["a", "b"]},
        "lines": [{"sku": "p1", "qty": 2, "total": Decimal("3.50")}, {"sku": "p2", "qty": None}],
    },
}


def table(**settings: Any) -> WebhookTable:
    return WebhookTable(**{"entity": "order_lines", "columns": {}, **settings})


def test_one_row_an_element_with_values_of_the_event_and_constants() -> None:
    spec = table(
        when={"type": "order.placed"},
        records="data.lines",
        columns={
            "order_id": "data.id",
            "product_id": ".sku",
            "quantity": ".qty",
            "amount": ".total",
            "store_id": ".x.y",
        },
        constants={"currency": "EUR", "discount": 0.1},
    )
    assert records(spec, ORDER) == [
        {
            "order_id": 7,
            "product_id": "p1",
            "quantity": 2,
            "amount": Decimal("3.50"),
            "store_id": None,
            "currency": "EUR",
            "discount": Decimal("0.1"),
        },
        {
            "order_id": 7,
            "product_id": "p2",
            "quantity": None,
            "amount": None,
            "store_id": None,
            "currency": "EUR",
            "discount": Decimal("0.1"),
        },
    ]


def test_paths_lead_through_objects_lists_and_keys_with_dots() -> None:
    spec = table(
        columns={"order_id": "data.lines.1.sku", "customer_id": "data.customer.id", "store_id": "data.customer.tags.5"}
    )
    assert records(spec, ORDER) == [{"order_id": "p2", "customer_id": "42", "store_id": None}]
    assert records(table(columns={"customer_id": "a.b.c"}), {"a": {"b.c": "dotted"}}) == [{"customer_id": "dotted"}]


def test_forms_have_numbered_objects_where_json_has_lists() -> None:
    spec = table(records="lines", columns={"product_id": ".sku"})
    assert records(spec, {"lines": {"0": {"sku": "a"}, "1": {"sku": "b"}}}) == [
        {"product_id": "a"},
        {"product_id": "b"},
    ]


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"type": "order.placed"}, True),
        ({"type": ["order.paid", "order.placed"]}, True),
        ({"type": "order.paid"}, False),
        ({"type": "order.placed", "test": "true"}, False),
        ({"test": "false"}, True),
        ({"version": "2"}, True),
        ({"data.id": "7"}, True),
        ({"data": "7"}, False),
        ({"nowhere": ""}, False),
    ],
)
def test_when(when: dict[str, Any], holds: bool) -> None:
    assert applies(table(when=when, columns={"order_id": "data.id"}), ORDER) is holds
    assert bool(records(table(when=when, columns={"order_id": "data.id"}), ORDER)) is holds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"order_id": "data"}}, "data: one value is expected there, found an object"),
        ({"columns": {"order_id": "data.lines"}}, "data.lines: one value is expected there, found a list of 2"),
        ({"records": "data.items", "columns": {}}, "data.items: a list is expected there, found nothing"),
        ({"records": "data.id", "columns": {}}, "data.id: a list is expected there, found a number"),
        ({"records": "data.customer.tags", "columns": {}}, r"tags.0: an object is expected there, found a text"),
        ({"columns": {"order_id": ".sku"}}, r".sku: a path that begins with a dot needs `records`"),
    ],
)
def test_what_does_not_fit_is_named_by_path_and_kind(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        records(table(**settings), ORDER)


def test_a_nul_character_is_kept_out_of_the_database() -> None:
    with pytest.raises(MappingError, match="data: a text with a NUL character"):
        records(table(columns={"order_id": "data"}), {"data": "canary\x00"})


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-06-01T12:00:00Z", NOON),
        ("2026-06-01T14:00:00.000000+02:00", NOON),
        ("2026-06-01 12:00:00", NOON),
        ("01.06.2026 12:00", NOON),
        ("Mon, 01 Jun 2026 12:00:00 +0000", NOON),
        (1780315200, NOON),
        (1780315200000, NOON),
        (Decimal("1780315200.25"), NOON + timedelta(milliseconds=250)),
        ("1780315200", NOON),
        ("1780315200000", NOON),
        (" 2026-06-01 ", NOON.replace(hour=0)),
        ("", None),
        ("soon", None),
        ("03/04/2026", None),
        (True, None),
        (None, None),
        (-1, None),
        (10**400, None),
        (Decimal("1E+99"), None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01", None),
    ],
)
def test_moments(value: Any, found: datetime | None) -> None:
    assert moment(value) == found


def test_a_time_without_zone_is_local() -> None:
    assert moment("2026-06-01 08:00", ZoneInfo("America/New_York")) == NOON
    assert moment("03/04/2026", slash_dates="day_first") == datetime(2026, 4, 3, tzinfo=UTC)


def test_nobody_says_today_what_happens_tomorrow() -> None:
    assert not_ahead(NOON + timedelta(minutes=4), NOON) == NOON + timedelta(minutes=4)
    assert not_ahead(NOON + timedelta(minutes=6), NOON) == NOON
    assert not_ahead(None, NOON) == NOON
    assert not_ahead(NOON - timedelta(days=9), NOON) == NOON - timedelta(days=9)
