"""No feature at T knows of T or later: events of all kinds are planted from T on, and nothing before moves."""

from __future__ import annotations

import os

import pytest

from personalization.warehouse import Session
from personalization.workspace import Workspace
from tests.normalise.landed import Shop, build, line

T = "2017-12-03"
FIRST_INSTANT = "2017-12-03T05:00:00Z"  # midnight in New York
LATER = "2017-12-20T17:00:00Z"


def planted() -> Shop:
    """The shop, and a busy future."""
    shop = Shop()
    for number, (customer, instant) in enumerate(
        [("anna", FIRST_INSTANT), ("anna", LATER), ("carl", FIRST_INSTANT), ("eve", LATER), ("gus", FIRST_INSTANT)]
    ):
        shop.order_lines.append(line(f"future-{number}", "p2", customer, instant, 99, "999.00", discount="99.00"))
    for event in ("sent", "opened", "clicked", "converted", "bounced", "unsubscribed", "complained"):
        for customer, instant in (("anna", FIRST_INSTANT), ("carl", FIRST_INSTANT), ("hal", LATER)):
            shop.email_events.append(
                {"campaign_id": "1", "customer_key": customer, "event": event, "occurred_at": instant}
            )
    shop.customers.append({"customer_key": "ida", "email_token": "e-ida", "created_at": "2017-12-03 00:00:00"})
    return shop


@pytest.fixture(scope="module")
def future(tmp_path_factory: pytest.TempPathFactory, shop: Session):
    workspace = Workspace.at(tmp_path_factory.mktemp("future"))
    workspace.state.mkdir()
    os.symlink(tmp_path_factory.getbasetemp() / "shop" / "var" / "dbt", workspace.dbt_target)
    with build(workspace, planted(), "--exclude-resource-type", "unit_test").connect(read_only=True) as session:
        yield session


def test_the_planted_events_arrived(future: Session) -> None:
    assert future.value("select count(*) from marts.customer_day where event_day >= ? and events > 0", [T]) > 20
    assert future.value("select count(*) from marts.customers where customer_token in ('gus', 'hal', 'ida')") == 3


def test_no_feature_at_or_before_t_moves(shop: Session, future: Session) -> None:
    query = "select * from features.customer_features order by as_of, customer_token"
    assert future.arrow(query).equals(shop.arrow(query))


def test_no_label_of_a_window_closed_by_t_moves(shop: Session, future: Session) -> None:
    query = "select * from features.customer_labels where as_of + 28 <= ? order by as_of, customer_token"
    assert future.rows(query, [T]) == shop.rows(query, [T])


def test_labels_from_t_on_do_move(future: Session) -> None:
    """The plant is strong enough to be seen where it may be seen."""
    query = (
        "select purchased, purchase_amount from features.customer_labels where as_of = ? and customer_token = 'carl'"
    )
    [(purchased, amount)] = future.rows(query, [T])
    assert purchased
    assert amount == 999
