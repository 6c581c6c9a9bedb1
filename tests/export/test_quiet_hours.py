"""In quiet hours no audience is released: it is held and goes with the next run after. Opt-outs never wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from personalization.ledger.export_books import ExportBooks
from personalization.program.models import QuietHours
from personalization.schedules import all_schedules
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.planner import plan_destination
from tests.export.shop import DAY, Shop
from tests.export.test_frequency import mailing, move, reasons, slots

NEW_YORK = ZoneInfo("America/New_York")
NIGHT, MORNING = datetime(2017, 12, 3, 23, 30, tzinfo=NEW_YORK), datetime(2017, 12, 4, 8, 0, tzinfo=NEW_YORK)


def at(moment: datetime) -> Clock:
    return Clock(now=lambda: moment.astimezone(UTC))


@pytest.fixture
def mailer(shop: Shop) -> Shop:
    quiet = "quiet_hours: {from: '21:00', to: '08:00'}\nfatigue: {min_gap_days: 0}\n"
    shop.edit("program", "start:", f"{quiet}start:")
    return mailing(shop)


def zones(shop: Shop, **zone: str) -> None:
    """Time zones of people, `p1` for number 1, as a decision notes them."""
    with shop.runtime.warehouse.connect() as session:
        session.execute(
            "create or replace table decisions.tiers as select date '2017-12-03' as as_of,"
            " unnest($who) as customer_token, null::varchar as tier, false as asleep, unnest($zones) as zone",
            {"who": [shop.customer(int(name[1:])) for name in zone], "zones": list(zone.values())},
        )


def test_at_night_everything_is_held_and_the_next_run_after_releases_it(mailer: Shop) -> None:
    books = mailer.export("file", clock=at(NIGHT)).books
    assert books.closes
    assert (books.planned, books.held, books.acked) == (8, 8, 0)
    assert reasons(mailer) == [("held", "quiet_hours", 8)]
    assert slots(mailer) == {}
    assert mailer.export("file", clock=at(MORNING - timedelta(minutes=1))).books.held == 8
    books = mailer.export("file", clock=at(MORNING)).books
    assert (books.acked, books.held) == (8, 0)
    assert len(slots(mailer)) == 8


def test_the_plan_says_so(mailer: Shop) -> None:
    runtime = mailer.runtime
    plan = plan_destination(runtime, "file", runtime.as_of(DAY), now=lambda: NIGHT)
    assert (plan.counts["held"], plan.counts["add"], plan.sends) == (8, 0, False)
    assert plan.samples["held"][0].endswith(": quiet_hours")
    plan = plan_destination(runtime, "file", runtime.as_of(DAY), now=lambda: MORNING)
    assert (plan.counts["held"], plan.counts["add"]) == (0, 8)


def test_each_person_by_their_own_clock_and_an_unknown_zone_is_the_programs(mailer: Shop) -> None:
    zones(mailer, p1="Asia/Tokyo", p2="Europe/Berlin", p3="Mars/Olympus", p4="America/Los_Angeles")
    evening = datetime(2017, 12, 3, 22, 0, tzinfo=NEW_YORK)  # noon in Tokyo, 4 in Berlin, 19 in Los Angeles
    books = mailer.export("file", clock=at(evening)).books
    assert (books.acked, books.held) == (2, 6)
    assert sorted(slots(mailer)) == [1, 4]
    late = datetime(2017, 12, 4, 7, 59, tzinfo=NEW_YORK)  # Berlin is up
    assert mailer.export("file", clock=at(late)).books.acked == 1
    assert sorted(slots(mailer)) == [1, 2, 4]


def test_opt_outs_cleared_fields_and_changed_fields_leave_at_night(mailer: Shop) -> None:
    assert mailer.export("file", clock=at(MORNING)).books.acked == 8
    mailer.withdraw(1)
    mailer.rows[2]["outcome"] = "withheld"
    mailer.rows[3]["offer"] = "POINTS2"  # of the mailing whose audience the person is in
    mailer.rows[4]["campaign"] = "favourites"  # into another audience
    mailer.decide("2017-12-05")
    night = at(NIGHT + timedelta(days=2))
    books = mailer.export("file", "2017-12-05", clock=night).books
    assert books.closes
    assert (books.retractions, books.removes, books.changes) == (1, 1, 2)
    assert (books.acked, books.held) == (3, 1)
    assert reasons(mailer) == [("held", "quiet_hours", 1)]


def test_a_quiet_hour_that_begins_after_the_plan_is_seen_by_the_cut(mailer: Shop) -> None:
    """The plan is made at 20:59; the clock shows 21:00 when the batch is cut."""
    moments = iter([datetime(2017, 12, 3, 20, 59, tzinfo=NEW_YORK)])
    books = mailer.export(
        "file", clock=Clock(now=lambda: next(moments, datetime(2017, 12, 3, 21, 0, tzinfo=NEW_YORK)).astimezone(UTC))
    ).books
    assert books.closes
    assert (books.planned, books.acked, books.held) == (8, 0, 8)
    assert ExportBooks(mailer.runtime.ledger).reasons(books.run) == [("held", "quiet_hours", 8)]


def test_a_campaign_can_have_hours_of_its_own_or_none(mailer: Shop) -> None:
    mailer.edit("campaigns", "title: December\n", "title: December\n    quiet_hours: {days: []}\n")
    move(mailer, 1, 2)
    books = mailer.export("file", clock=at(NIGHT)).books
    assert (books.acked, books.held) == (6, 2)


def test_a_copy_and_a_day_of_the_past_know_no_night(mailer: Shop) -> None:
    assert mailer.export("file", clock=at(NIGHT.replace(year=2026))).books.acked == 8
    mailer.edit("destinations", "mails: true", "mails: false")
    move(mailer, 1, 2)
    assert mailer.export("file", clock=at(NIGHT)).books.acked == 2


@pytest.mark.parametrize(
    ("hours", "moment", "quiet"),
    [
        ({}, "2026-03-07T21:00", True),
        ({}, "2026-03-07T20:59", False),
        ({}, "2026-03-08T07:59", True),  # the night the clocks went forward
        ({}, "2026-03-08T08:00", False),
        ({}, "2026-11-01T01:30", True),  # the hour that comes twice
        ({"from": "12:00", "to": "14:00"}, "2026-03-09T12:00", True),
        ({"from": "12:00", "to": "14:00"}, "2026-03-09T14:00", False),
        ({"days": ["friday"]}, "2026-03-07T03:00", True),  # Saturday, in the night that began on Friday
        ({"days": ["friday"]}, "2026-03-07T22:00", False),
        ({"days": ["friday"]}, "2026-03-06T03:00", False),
        ({"whole_days": ["sunday"]}, "2026-03-08T12:00", True),
        ({"days": [], "whole_days": ["sunday"]}, "2026-03-09T00:00", False),
        ({"from": "00:00", "to": "24:00", "days": ["sunday"]}, "2026-03-08T23:59", True),
        ({"from": "00:00", "to": "24:00", "days": ["sunday"]}, "2026-03-09T00:00", False),
    ],
)
def test_when_it_is_quiet(hours: dict[str, object], moment: str, quiet: bool) -> None:
    local = datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK)
    said = QuietHours.model_validate(hours)
    assert said.covers(local.astimezone(UTC), NEW_YORK) is quiet
    over = said.over_at(local, NEW_YORK)
    assert not said.covers(over, NEW_YORK)
    assert (over == local) is not quiet


@pytest.mark.parametrize(
    "hours",
    [
        {"from": "00:00", "to": "24:00"},
        {"from": "08:00", "to": "08:00"},
        {"from": "25:00"},
        {"days": ["funday"]},
        {"from": "00:00", "to": "24:00", "days": ["sunday"], "whole_days": ["monday", "tuesday", "wednesday",
         "thursday", "friday", "saturday"]},
    ],
)  # fmt: skip
def test_hours_that_never_end_are_refused(hours: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QuietHours.model_validate(hours)


def test_a_misspelt_setting_is_told_by_the_name_it_has_in_the_file(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    shop.edit("program", "start:", "quiet_hours: {from: '22:00', too: '07:00'}\nstart:")
    with pytest.raises(Exception, match="did you mean 'to'"):
        _ = shop.runtime.program


def test_a_schedule_exports_again_when_the_night_is_over(mailer: Shop) -> None:
    (schedule,) = [each for each in all_schedules(mailer.runtime.program) if each.name == "export_after_quiet_hours"]
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 8-23 * * *", "America/New_York")
    assert schedule.job_name == "export_again"
    mailer.edit("program", "quiet_hours: {from: '21:00', to: '08:00'}\n", "")
    names = [each.name for each in all_schedules(mailer.runtime.program)]
    assert "export_after_quiet_hours" not in names
