"""A small shop's landed tables: every way to write a date, and people known by records, orders or mails only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from personalization.stages.sync.entities import ENTITIES
from personalization.warehouse import Warehouse, dbt
from personalization.warehouse.date_formats import date_formats
from personalization.workspace import Workspace

Rows = list[dict[str, Any]]
IDENTITY = ("identifier_token", "kind", "customer_token", "linked_by")
VARIABLES = {
    "timezone": "America/New_York",
    "currency": "USD",
    "date_formats": date_formats(),
    "as_of": "2017-12-03",
    "cutoffs": ["2017-12-03", "2017-11-05", "2017-10-08"],
    "horizon_days": 28,
}


@dataclass
class Shop:
    """Rows of the landed tables. `types` gives columns other types than text, as Parquet and databases do."""

    customers: Rows = field(
        default_factory=lambda: [
            # two records of one person: the newer has an address, the older a birth date
            {"customer_key": "anna", "email_token": "e-anna", "country": "USA", "region": "Ohio", "postcode": "45202",
             "updated_at": "2017-05-01", "created_at": "2017-02-01 08:00:00", "household_size": "5+",
             "time_zone": "america/los_angeles"},
            {"customer_key": "anna-web", "email_token": "e-anna", "birth_date": "29.02.1980", "language": "en-US",
             "updated_at": "2016-01-01"},
            {"customer_key": "carl", "email_token": "e-carl", "country": "Atlantis"},
            {"customer_key": "dora", "email_token": "e-dora", "created_at": "2017-12-03 00:00:01"},
            {"customer_key": "eve", "email_token": "e-eve", "created_at": "2017-11-30"},
        ]
    )  # fmt: skip
    products: Rows = field(
        default_factory=lambda: [
            {"product_id": "p1", "department": "meat", "gtin": "4006381333931"},
            {"product_id": "p2", "department": "Produce", "gtin": "4006381333932"},
            {"product_id": "p3", "department": ""},
        ]
    )
    order_lines: Rows = field(
        default_factory=lambda: [
            # half past eleven in the evening of 30 November, in New York
            line("o1", "p1", "anna", "2017-12-01T04:30:00Z", 2, "10.00", discount="2.00"),
            line("o1", "p2", "anna", "2017-12-01T04:30:00Z", 1, "5.00", coupon_discount="1.00"),
            line("o2", "p3", "anna-web", "2017-11-20T15:00:00Z", 1, "5.00"),
            line("o3", "p1", "anna", "2017-10-15T16:00:00Z", 4, "20.00"),  # a Sunday
            line("o4", "p2", "anna", "2017-06-01T16:00:00Z", 1, "8.00"),
            line("o5", "p1", "ben", "2017-12-03T05:00:00Z", 1, "7.00"),  # the first instant of 3 December
            line("o6", "p9", "ben", "2018-01-02T17:00:00Z", 1, "1.00"),
        ]
    )
    campaign_history: Rows = field(
        default_factory=lambda: [
            {"campaign_id": "1", "kind": "Type A", "starts_at": "2017-11-10", "ends_at": "2017-12-20"}
        ]
    )
    email_events: Rows = field(
        default_factory=lambda: [
            {"campaign_id": "1", "customer_key": "anna", "event": "Delivered"},
            {"campaign_id": "1", "customer_key": "fay", "event": "sent"},
            *(
                {
                    "campaign_id": "1",
                    "customer_key": "anna",
                    "event": "redemption",
                    "occurred_at": "2017-11-20",
                    "detail": coupon,
                }
                for coupon in ("c1", "c2")
            ),
        ]
    )
    customer_events: Rows = field(
        default_factory=lambda: [
            {"customer_key": "anna-web", "event": "Added to Cart", "occurred_at": "2017-12-01T10:00:00Z",
             "product_id": "p1", "event_id": "1"},
            {"customer_key": "anna", "event": "visit", "occurred_at": "2017-12-02T04:59:59Z", "category": "Wine",
             "amount": "3.50", "event_id": "2"},
            {"customer_key": "eve", "event": "added-to-cart", "occurred_at": "2017-12-02T06:00:00Z", "event_id": "3"},
        ]
    )  # fmt: skip
    identity: Rows = field(
        default_factory=lambda: [
            {"identifier_token": "anna", "kind": "customer", "customer_token": "anna", "linked_by": "customer"},
            {"identifier_token": "anna-web", "kind": "customer", "customer_token": "anna", "linked_by": "email"},
            {"identifier_token": "e-anna", "kind": "email", "customer_token": "anna", "linked_by": "email"},
        ]
    )
    types: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Make schema `landed` of the warehouse at `path` anew."""
        tables = {name: [*entity.landed_columns, "_source", "_row"] for name, entity in ENTITIES.items()}
        with Warehouse(path).connect() as session:
            for name, columns in (tables | {"identity": list(IDENTITY)}).items():
                rows = getattr(self, name, [])
                with session.registered(rows_=_text_table(name, columns, rows)):
                    typed = ", ".join(
                        f"cast({c} as {self.types.get(c, _POSITION.get(c, 'varchar'))}) as {c}" for c in columns
                    )
                    session.replace_table(f"landed.{name}", f"select {typed} from rows_")


_POSITION = {"_row": "bigint"}


def line(order: str, product: str, customer: str, ordered_at: str, quantity: float, amount: str, **more: str) -> dict:
    """One order line."""
    return {
        "order_id": order,
        "product_id": product,
        "customer_key": customer,
        "ordered_at": ordered_at,
        "quantity": str(quantity),
        "amount": amount,
        **more,
    }


def _text_table(name: str, columns: Sequence[str], rows: Rows) -> pa.Table:
    numbered = [{"_source": f"shop/{name}.csv", "_row": number, **row} for number, row in enumerate(rows, start=1)]
    unknown = {key for row in rows for key in row} - set(columns)
    assert not unknown, f"landed.{name} has no columns {unknown}"
    return pa.table(
        {c: pa.array([None if row.get(c) is None else str(row[c]) for row in numbered], pa.string()) for c in columns}
    )


def build(workspace: Workspace, shop: Shop, *arguments: str) -> Warehouse:
    """Land a shop and run `dbt build` on it."""
    shop.write(workspace.warehouse)
    dbt.run(workspace, ["build", *arguments], VARIABLES, "test")
    return Warehouse(workspace.warehouse)


@cache
def built(folder: Path) -> Warehouse:
    """The shop as it is, built once for all tests, unit tests of the models included."""
    return build(Workspace.at(folder / "shop"), Shop())
