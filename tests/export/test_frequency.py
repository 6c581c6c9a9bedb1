"""The cut looks at frequency again, reserves a slot, and the books close (invariants 20, 40)."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from personalization.errors import ProgramError
from personalization.ledger.export_books import ExportBooks
from personalization.ledger.export_schema import outbox
from personalization.ledger.sends_schema import sends
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.frequency import release_day
from tests.export.shop import DAY, Shop, address

TWO = "destinations: [mailchimp, file]"


@pytest.fixture
def mailer(shop: Shop) -> Shop:
    """The shop, whose CSV folder is what mails: a company with a mail program of its own."""
    return mailing(shop)


def mailing(shop: Shop, destination: str = "file") -> Shop:
    """The shop, with a destination that mails; the shop's own only hold copies."""
    platform = {"file": "csv", "mailchimp": "mailchimp"}[destination]
    path = shop.root / "program" / "destinations.yaml"
    head, _, tail = path.read_text().partition(f"platform: {platform}\n")
    path.write_text(f"{head}platform: {platform}\n{tail.replace('mails: false', 'mails: true', 1)}")
    shop.__dict__.pop("runtime", None)
    return shop


def slots(shop: Shop) -> dict[int, tuple[str, str, str | None]]:
    numbers = {shop.customer(number): number for number in shop.rows}
    columns = (sends.c.customer_token, sends.c.campaign, sends.c.state, sends.c.ended_day)
    with shop.runtime.ledger.read() as connection:
        return {numbers[token]: tuple(rest) for token, *rest in connection.execute(select(*columns))}


def reasons(shop: Shop, destination: str = "file") -> list[tuple[str, str, int]]:
    books = ExportBooks(shop.runtime.ledger)
    return books.reasons(books.history(destination=destination)[0].run)


def move(shop: Shop, *numbers: int, campaign: str = "favourites", day: str = DAY) -> None:
    for number in numbers:
        shop.rows[number]["campaign"] = campaign
    shop.decide(day)


def test_a_release_takes_a_slot_and_a_second_run_exports_nothing(mailer: Shop) -> None:
    assert mailer.export("file").books.acked == 8
    assert slots(mailer) == dict.fromkeys(range(8), ("december", "kept", None))
    books = mailer.export("file").books
    assert (books.planned, books.unchanged) == (0, 8)


def test_other_fields_of_the_same_mailing_need_no_other_slot(mailer: Shop) -> None:
    mailer.export("file")
    mailer.rows[3]["offer"] = "POINTS2"
    mailer.decide("2017-12-04")
    assert mailer.export("file", "2017-12-04").books.acked == 1
    assert len(slots(mailer)) == 8


def test_another_campaign_too_soon_is_stopped_and_the_books_close(mailer: Shop) -> None:
    mailer.export("file")
    move(mailer, 1, 2, day="2017-12-06")
    plan = mailer.plan("file", "2017-12-06")
    assert (plan.counts["suppressed"], plan.counts["change"]) == (2, 0)
    books = mailer.export("file", "2017-12-06").books
    assert books.closes
    assert (books.planned, books.suppressed) == (2, 2)
    assert reasons(mailer) == [("suppressed", "fatigue_gap", 2)]
    move(mailer, 1, 2, day="2017-12-07")
    assert mailer.export("file", "2017-12-07").books.acked == 2
    assert slots(mailer)[1] in [("december", "kept", "2017-12-07"), ("favourites", "kept", None)]


def test_a_day_before_the_last_release_is_held_to_it_as_well(mailer: Shop) -> None:
    mailer.export("file")
    move(mailer, 1, day="2017-12-01")
    assert mailer.export("file", "2017-12-01").books.suppressed == 1


def test_who_leaves_the_audience_gets_the_version_no_second_time(mailer: Shop) -> None:
    mailer.export("file")
    mailer.rows[1]["outcome"] = "withheld"
    mailer.decide("2017-12-04")
    mailer.export("file", "2017-12-04")
    assert slots(mailer)[1] == ("december", "kept", "2017-12-04")
    mailer.rows[1]["outcome"] = "send"
    mailer.decide("2017-12-20")
    mailer.export("file", "2017-12-20")
    assert reasons(mailer) == [("suppressed", "already_mailed", 1)]
    mailer.edit("campaigns", "title: December\n", "title: December\n    version: 2\n")
    mailer.decide("2017-12-21")
    assert mailer.export("file", "2017-12-21").books.adds == 1


def test_the_cap_of_the_tier_decides_at_the_cut_and_the_strictest_where_none_is_known(mailer: Shop) -> None:
    caps = "fatigue: {min_gap_days: 0, caps: [{tier: a, when: recency_days > 1, sends: 1, days: 28}, "
    mailer.edit("program", "start:", caps + "{tier: b, sends: 2, days: 28}]}\nstart:")
    mailer.export("file")
    move(mailer, 1, 2, 3, day="2017-12-10")
    with mailer.runtime.warehouse.connect() as session:
        session.execute(
            "create table decisions.tiers as select date '2017-12-10' as as_of,"
            " unnest([?, ?]) as customer_token, unnest(['a', 'b']) as tier",
            [mailer.customer(1), mailer.customer(2)],
        )
    books = mailer.export("file", "2017-12-10").books
    assert (books.acked, books.suppressed) == (1, 2)
    assert slots(mailer)[2] in [("favourites", "kept", None), ("december", "kept", "2017-12-10")]


def test_what_a_platform_reported_counts_beside_releases(mailer: Shop) -> None:
    mailer.edit("program", "start:", "fatigue: {min_gap_days: 0, caps: [{tier: a, sends: 2, days: 28}]}\nstart:")
    mailer.export("file")
    with mailer.runtime.warehouse.connect() as session:
        session.execute(
            "create schema marts; create table marts.email_events (customer_token varchar, campaign_id varchar,"
            " event varchar, event_day date, events bigint)"
        )
        for number, days in ((1, (4, 5)), (2, (4,))):
            for day in days:
                values = [mailer.customer(number), "x", date(2017, 12, day)]
                session.execute("insert into marts.email_events values (?, ?, 'sent', ?, 1)", values)
    move(mailer, 1, 2, day="2017-12-10")
    books = mailer.export("file", "2017-12-10").books
    assert (books.acked, books.suppressed) == (1, 1)  # 1 had two mails, 2 had one that was released and reported


def test_a_destination_that_holds_a_copy_takes_no_slots(shop: Shop, sandbox: Sandbox) -> None:
    mailing(shop, "mailchimp")
    shop.export("file")
    assert slots(shop) == {}
    shop.export("mailchimp")
    assert len(slots(shop)) == 8


def test_a_campaign_that_two_destinations_would_mail_is_an_error(shop: Shop) -> None:
    mailing(mailing(shop), "mailchimp")
    with pytest.raises(ProgramError, match="would be mailed by mailchimp and by file: everybody would get it twice"):
        _ = shop.runtime.program


def test_a_rejected_contact_gives_its_slot_back(shop: Shop, sandbox: Sandbox) -> None:
    mailing(shop, "mailchimp")
    member = f"/lists/demo000001/members/{hashlib.md5(address(3).encode(), usedforsecurity=False).hexdigest()}"
    sandbox.fault("status", path=member, method="PUT", status=400)
    assert shop.export().books.rejected == 1
    assert sorted(slots(shop)) == [0, 1, 2, 4, 5, 6, 7]
    assert shop.export().books.acked == 1
    assert slots(shop)[3] == ("december", "kept", None)


def test_an_opt_out_at_the_last_moment_leaves_no_slot(mailer: Shop) -> None:
    mailer.withdraw(3)
    mailer.export("file")
    assert 3 not in slots(mailer)


def test_two_exporters_of_one_person_release_one_mailing(tmp_path: Path) -> None:
    """Two campaigns, mailed by two destinations at the same time to the same people."""
    shop = Shop.open(tmp_path / "shop", 40)
    shop.edit("campaigns", TWO, "destinations: [file]")
    path = shop.root / "program" / "campaigns.yaml"
    head, _, tail = path.read_text().partition("favourites:")
    path.write_text(head + "favourites:" + tail.replace(TWO, "destinations: [other]").replace("[file]", "[other]"))
    shop.edit("destinations", "  file:", "  other:\n    platform: csv\n    fields: *fields\n  file:")
    mailing(shop)
    rows = dict(shop.rows)
    shop.rows |= {number + 1000: {**row, "campaign": "favourites"} for number, row in rows.items()}
    shop.decide()
    acked: list[int] = []

    def export(destination: str) -> None:
        acked.append(Shop(shop.root).export(destination).books.acked)

    threads = [threading.Thread(target=export, args=(destination,)) for destination in ("file", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(acked) == 40


@pytest.mark.parametrize(
    ("as_of", "moment", "day"),
    [
        ("2026-03-08", "2026-03-08T12:00:00", "2026-03-08"),
        ("2026-03-07", "2026-03-09T03:59:59", "2026-03-08"),  # in New York it is still the day the clocks went forward
        ("2026-03-07", "2026-03-09T04:00:00", "2026-03-09"),
        ("2026-10-31", "2026-11-02T04:59:59", "2026-11-01"),
        ("2026-10-31", "2026-11-02T05:00:00", "2026-11-02"),
        ("2017-12-03", "2026-11-02T05:00:00", "2017-12-03"),  # a replay of the past
        ("2026-11-05", "2026-11-02T05:00:00", "2026-11-05"),  # a plan for the future
    ],
)
def test_a_release_counts_on_the_business_day_it_happens_on(shop: Shop, as_of: str, moment: str, day: str) -> None:
    instant = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert release_day(shop.runtime.as_of(as_of), instant, 28).isoformat() == day


def test_a_late_run_counts_on_the_day_it_runs(mailer: Shop) -> None:
    """Runs for the 3rd and the 8th, both on the 8th: one mailing, though the days are far enough apart."""
    clock = Clock(now=lambda: datetime(2017, 12, 8, 15, tzinfo=UTC))
    mailer.edit("program", "start:", "fatigue: {min_gap_days: 4}\nstart:")
    mailer.decide("2017-12-04")
    assert mailer.export("file", "2017-12-04", clock=clock).books.acked == 8
    move(mailer, 1, day="2017-12-08")
    assert mailer.export("file", "2017-12-08", clock=clock).books.suppressed == 1


def test_the_slot_of_an_uncertain_row_is_kept_and_the_row_may_be_sent_again(shop: Shop, sandbox: Sandbox) -> None:
    mailing(shop, "mailchimp")
    shop.export()
    with shop.runtime.ledger.begin() as connection:
        connection.execute(update(outbox).where(outbox.c.customer_token == shop.customer(3)).values(state="uncertain"))
    assert slots(shop)[3] == ("december", "kept", None)
    assert shop.export().books.acked == 1
