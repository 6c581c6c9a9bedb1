"""Plans: what counts as a change, what can't be sent, and when a run is stopped before its first request."""

from __future__ import annotations

import hashlib

import pytest

from personalization.errors import DataError, ExportError, ProgramError
from personalization.program.models import Guard
from personalization.stages.export.guard import mass_change
from tests.export.shop import DAY, DECISION_COLUMNS, Shop

CHANGED = "file"  # plans and deltas are tried on CSV files: no server is needed


def counts(shop: Shop) -> dict[str, int]:
    return {name: count for name, count in shop.plan(CHANGED).counts.items() if count}


# --- what is a change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        (
            "a decimal instead of a float",
            DECISION_COLUMNS.replace("purchase_score double", "purchase_score decimal(9,6)"),
        ),
        ("the score as text", DECISION_COLUMNS.replace("purchase_score double", "purchase_score varchar")),
        ("another order of columns", ", ".join(reversed(DECISION_COLUMNS.split(", ")))),
    ],
)
def test_type_and_layout_of_columns_are_no_change(shop: Shop, what: str, columns: str) -> None:
    shop.export(CHANGED)
    for row in shop.rows.values():
        if "varchar" in columns.split("purchase_score")[1].split(",")[0]:
            row["purchase_score"] = f"{row['purchase_score']}00"
    shop.decide(columns=columns)
    assert counts(shop) == {}, what


def test_unicode_forms_are_no_change(shop: Shop) -> None:
    shop.rows[1]["offer"] = "CAFÉ"
    shop.decide()
    shop.export(CHANGED)
    shop.rows[1]["offer"] = "CAFE\u0301"
    shop.decide()
    assert counts(shop) == {}


def test_noise_beyond_four_decimals_is_no_change(shop: Shop) -> None:
    shop.export(CHANGED)
    for row in shop.rows.values():
        row["purchase_score"] += 1e-9
    shop.decide()
    assert counts(shop) == {}


def test_a_value_that_becomes_unknown_is_a_change(shop: Shop) -> None:
    shop.export(CHANGED)
    shop.rows[1]["purchase_score"] = None
    shop.decide()
    assert counts(shop) == {"change": 1}


def test_another_mapping_sends_everyone_again(shop: Shop) -> None:
    shop.export(CHANGED)
    shop.edit("destinations", "- {name: OFFER, column: offer, max_length: 20}", "- {name: DEAL, column: offer}")
    assert counts(shop) == {"change": 8}


def test_the_same_list_at_another_address_knows_the_same_contacts(shop: Shop) -> None:
    from personalization.stages.export.adapters.registry import mapping_version

    destination = shop.runtime.program.destinations["mailchimp"]
    moved = destination.model_copy(update={"base_url": "http://127.0.0.1:1/3.0", "api_key": "other"})
    assert mapping_version(moved) == mapping_version(destination)
    assert mapping_version(destination.model_copy(update={"list_id": "other"})) != mapping_version(destination)


def test_plans_are_reproducible_and_differ_when_anything_differs(shop: Shop) -> None:
    first = shop.plan(CHANGED)
    assert shop.plan(CHANGED).hash == first.hash
    shop.rows[1]["offer"] = "POINTS2"
    shop.decide()
    assert shop.plan(CHANGED).hash != first.hash


def test_the_hash_is_over_a_line_for_each_row(shop: Shop) -> None:
    """Everybody who compares plans gets the same, so it must stay what it is."""
    shop.export(CHANGED)
    shop.withdraw(1)
    shop.rows[2].update(email_token=None, offer="Ü\u2028")
    shop.rows[3]["hero"] = "X" * 21
    shop.rows.pop(4)
    shop.decide()
    plan = shop.plan(CHANGED)
    assert {row["operation"] for row in plan.rows.to_pylist()} == {"retract", "remove", "change", "add"}
    names = ("operation", "state", "customer_token", "address_token", "row_hash", "reason")
    lines = ("\x1f".join(row[name] or "" for name in names) for row in plan.rows.to_pylist())
    assert plan.hash == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_a_plan_shows_tokens_never_addresses(shop: Shop) -> None:
    shown = shop.plan(CHANGED).to_dict()
    assert (shown["add"], shown["change"], shown["remove"], shown["unchanged"]) == (8, 0, 0, 0)
    assert len(shown["samples"]["add"]) == 5
    assert "@" not in str(shown)


def test_a_plan_knows_who_would_be_suppressed(shop: Shop) -> None:
    shop.withdraw(3)
    plan = shop.plan(CHANGED)
    assert (plan.counts["add"], plan.counts["suppressed"]) == (7, 1)
    assert plan.samples["suppressed"] == [f"{shop.customer(3)}: withdrawn"]


# --- what can't be sent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("offer", "X" * 21, "OFFER: 21 characters, at most 20 fit"),
        ("purchase_score", float("nan"), "SCORE: not a number"),
        ("email_token", None, "no address"),
    ],
)
def test_a_row_that_does_not_fit_is_invalid_and_holds_up_no_other(
    shop: Shop, column: str, value: object, reason: str
) -> None:
    shop.rows[1][column] = value
    shop.decide()
    plan = shop.plan(CHANGED)
    assert plan.samples["invalid"] == [f"{shop.customer(1)}: {reason}"]
    books = shop.export(CHANGED).books
    assert (books.acked, books.invalid, books.planned) == (7, 1, 8)


def test_text_longer_than_the_platform_keeps_is_invalid_in_bytes(shop: Shop) -> None:
    shop.edit("destinations", "- {name: OFFER, column: offer, max_length: 20}", "- {name: OFFER, column: offer}")
    shop.rows[1]["offer"] = "Ä" * 128
    shop.decide()
    assert shop.plan("mailchimp").samples["invalid"] == [f"{shop.customer(1)}: OFFER: 256 bytes, at most 255 fit"]
    assert shop.plan("file").counts["invalid"] == 0


def test_an_invalid_row_leaves_what_is_there(shop: Shop) -> None:
    shop.export(CHANGED)
    shop.rows[1]["offer"] = "X" * 21
    shop.decide()
    assert counts(shop) == {"invalid": 1}


def test_two_rows_for_one_address_send_the_campaign_of_higher_priority(shop: Shop) -> None:
    shop.rows[100] = {**shop.rows[1], "campaign": "favourites"}
    shop.decide()
    plan = shop.plan(CHANGED)
    assert plan.counts["add"] == 8
    assert plan.samples["invalid"] == [f"{shop.customer(1)}: the address has another row already"]


def test_of_two_customers_with_one_address_the_one_who_is_there_keeps_it(shop: Shop) -> None:
    shop.rows[2]["email_token"] = shop.rows[1]["email_token"]
    newcomer, there = sorted((1, 2), key=shop.customer)  # without anybody there the first token would be chosen
    row = shop.rows.pop(newcomer)
    shop.decide()
    shop.export(CHANGED)
    shop.rows[newcomer] = row
    shop.decide()
    plan = shop.plan(CHANGED)
    assert counts(shop) == {"invalid": 1}
    assert plan.samples["invalid"] == [f"{shop.customer(newcomer)}: the address has another row already"]
    shop.rows[there]["offer"] = "POINTS2"
    shop.decide()
    assert counts(shop) == {"invalid": 1, "change": 1}


def test_campaigns_for_other_destinations_are_not_sent(shop: Shop) -> None:
    shop.edit("campaigns", "priority: 20\n    blocks: [hero]\n    destinations: [mailchimp, file]", "priority: 20")
    shop.rows[1]["campaign"] = "favourites"
    shop.decide()
    assert counts(shop) == {"add": 7}


def test_a_column_of_the_profile_can_be_sent_too(shop: Shop) -> None:
    shop.edit("destinations", "  file:", "      - {name: RECENCY, column: recency_days, type: number}\n  file:")
    with shop.runtime.warehouse.connect() as session:
        session.execute("create schema features")
        session.execute(
            f"create table features.customer_profile as select date '{DAY}' as as_of, customer_token,"
            " 7 as recency_days from decisions.decisions"
        )
    rows = shop.plan(CHANGED).rows.to_pylist()
    assert all('"RECENCY":"7"' in row["payload"] for row in rows)


def test_a_column_that_does_not_exist_is_named_with_the_nearest(shop: Shop) -> None:
    shop.edit("destinations", "column: offer", "column: ofer")
    message = r"destinations.yaml:11:\d+: .*field OFFER reads the column 'ofer'.*did you mean 'offer'\?"
    with pytest.raises(ProgramError, match=message):
        shop.plan(CHANGED)


def test_no_decisions_is_an_error_not_an_empty_audience(shop: Shop) -> None:
    with shop.runtime.warehouse.connect() as session:
        session.execute("drop table decisions.decisions")
    with pytest.raises(DataError, match="there are no decisions"):
        shop.export(CHANGED)


def test_an_unknown_destination_is_named_with_the_nearest(shop: Shop) -> None:
    with pytest.raises(ExportError, match=r"unknown destination 'mailchip' \(did you mean 'mailchimp'\?\)"):
        shop.plan("mailchip")


# --- the guard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"desired": 0, "present": 7}, "no contact is wanted any more, while 7 are at the destination"),
        ({"desired": 0, "present": 0}, None),
        ({"removes": 100, "present": 1_000, "desired": 900}, None),
        ({"removes": 101, "present": 1_000, "desired": 899}, "101 of 1,000 contacts would be removed (10%)"),
        ({"removes": 500, "present": 10_000, "desired": 9_500}, None),
        ({"removes": 501, "present": 10_000, "desired": 9_499}, "501 of 10,000 contacts would be removed (5%)"),
        ({"removes": 5_000, "mailed": 4_900, "present": 9_000, "desired": 4_000}, None),
        ({"removes": 5_000, "mailed": 4_700, "present": 9_000, "desired": 4_000}, "300 of 4,300 contacts would"),
        ({"removes": 9_000, "mailed": 9_000, "present": 9_000, "desired": 0}, None),
        ({"adds": 5_000, "desired": 5_000}, None),
        ({"adds": 301, "desired": 9_000, "present": 8_699, "earlier_adds": [90, 100, 2_000]}, "3 times the usual 100"),
        ({"adds": 300, "desired": 9_000, "present": 8_700, "earlier_adds": [90, 100, 2_000]}, None),
        ({"adds": 99, "desired": 9_000, "present": 8_901, "earlier_adds": [1]}, None),
    ],
)
def test_what_the_guard_objects_to(numbers: dict[str, object], expected: str | None) -> None:
    plan = {"desired": 1, "present": 0, "removes": 0, "mailed": 0, "adds": 0, "earlier_adds": []} | numbers
    found = mass_change(Guard(), **plan)  # type: ignore[arg-type]
    assert (expected in found) if expected else (found is None)  # type: ignore[operator]


def test_who_leaves_an_audience_because_of_its_mailing_is_nothing_unusual(shop: Shop) -> None:
    shop.export(CHANGED)
    for row in shop.rows.values():
        row.update(outcome="withheld", reason="fatigue_gap")
    shop.decide()
    plan = shop.plan(CHANGED)
    assert (plan.counts["remove"], plan.guard) == (8, None)
    shop.rows[1]["reason"] = "incomplete_data"
    shop.decide()
    assert shop.plan(CHANGED).guard == "no contact is wanted any more, while 1 are at the destination"


def test_the_guard_stops_before_anything_is_sent_and_an_override_is_recorded(shop: Shop) -> None:
    shop.export(CHANGED)
    for row in shop.rows.values():
        row["outcome"] = "withheld"
    shop.decide()
    files = sorted(path.name for path in (shop.root / "var" / "exports").rglob("*"))
    with pytest.raises(ExportError, match="stopped before its first request: no contact is wanted any more"):
        shop.export(CHANGED)
    assert sorted(path.name for path in (shop.root / "var" / "exports").rglob("*")) == files
    assert len(shop.books(CHANGED)) == 1
    books = shop.export(CHANGED, override_guard="Ada: the campaign has ended").books
    assert (books.removes, books.acked, books.override) == (8, 8, "Ada: the campaign has ended")
