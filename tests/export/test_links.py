"""Links to the pages as fields of a destination: each person's own, the same until something ends them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.errors import ProgramError
from personalization.ledger.preferences import FREQUENCY, PreferenceEvent
from personalization.program import load_program
from personalization.sandbox import Sandbox
from tests.export.shop import DAY, Shop, address, fields, folders

URL = "https://mail.example.com/shop/"


def with_links(shop: Shop) -> None:
    shop.edit(
        "destinations",
        "    fields: &fields\n",
        "    fields: &fields\n"
        "      - {name: PREFS_URL, link: preferences}\n      - {name: UNSUB_URL, link: unsubscribe}\n",
    )
    shop.edit("program", "start:", f"serve: {{public_url: {URL}}}\nstart:")


def upserts(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "upserts.csv").open(encoding="utf-8", newline="") as file:
        return {row["email"]: row for row in csv.DictReader(file)}


def test_everybody_gets_links_of_their_own_which_work(shop: Shop) -> None:
    with_links(shop)
    shop.export("file")
    runtime, rows = shop.runtime, upserts(folders(shop)[0])
    assert len({row["PREFS_URL"] for row in rows.values()}) == len(rows) == 8
    for number in range(8):
        row = rows[address(number)]
        for kind, value in (("preferences", row["PREFS_URL"]), ("unsubscribe", row["UNSUB_URL"])):
            head, link = value.rsplit("/", 1)
            assert head == f"https://mail.example.com/shop/{kind}"
            found = runtime.ledger.links.read(runtime.keys, kind, link, datetime.now(UTC))
            assert (found.subject_token, found.scope) == (shop.customer(number), "file")


def test_unchanged_input_makes_no_export_and_a_revoked_link_is_replaced(shop: Shop) -> None:
    with_links(shop)
    shop.export("file")
    assert not shop.plan("file").sends
    before = upserts(folders(shop)[0])[address(3)]
    shop.runtime.ledger.links.revoke(shop.customer(3), "forwarded", kind="preferences")
    assert shop.plan("file").counts["change"] == 1
    shop.export("file")
    [(email, after)] = upserts(folders(shop)[1]).items()
    assert email == address(3)
    assert after["PREFS_URL"] != before["PREFS_URL"]
    assert after["UNSUB_URL"] == before["UNSUB_URL"]


def test_two_platforms_can_not_be_joined_by_them(shop: Shop, sandbox: Sandbox) -> None:
    with_links(shop)
    shop.export("file")
    shop.export("mailchimp")
    mine = upserts(folders(shop)[0])
    held = fields(sandbox)
    assert held.keys() == mine.keys()
    assert not {row["PREFS_URL"] for row in mine.values()} & {values["PREFS_URL"] for values in held.values()}


def test_a_destination_with_links_needs_the_address_of_the_pages(shop: Shop) -> None:
    with_links(shop)
    shop.edit("program", f"serve: {{public_url: {URL}}}\n", "")
    with pytest.raises(ProgramError, match=r"set serve\.public_url in program\.yaml"):
        load_program(shop.runtime.workspace.program)


def test_a_persons_own_frequency_holds_at_the_cut(shop: Shop) -> None:
    """Invariant 40: at most one in thirty days is what they chose, whatever the program would send."""
    (shop.root / "program" / "consent.yaml").write_text(
        "purposes:\n  email.marketing: {title: News by e-mail}\n"
        "frequency:\n  all: {title: Every mail}\n  monthly: {title: At most one a month, sends: 1, days: 30}\n"
    )
    shop.edit("program", "start:", "fatigue: {min_gap_days: 0}\nstart:")
    shop.edit("destinations", "platform: csv\n    mails: false\n", "platform: csv\n    mails: true\n")
    ledger = shop.runtime.ledger
    ledger.preferences.append(
        PreferenceEvent(
            event_id=f"choice-{number}",
            subject_token=shop.customer(number),
            kind=FREQUENCY,
            value=value,
            effective_at=datetime(2017, 1, 1, tzinfo=UTC),
            source="pages",
            method="preference page",
        )
        for number, value in ((1, "monthly"), (2, "all"))
    )
    shop.export("file", DAY)
    for row in shop.rows.values():
        row["campaign"] = "favourites"
    later = "2017-12-10"
    shop.decide(later)
    plan = shop.plan("file", later)
    stopped = [row for row in plan.rows.to_pylist() if row["state"] == "suppressed"]
    assert [(row["customer_token"], row["reason"]) for row in stopped] == [(shop.customer(1), "own_frequency")]
