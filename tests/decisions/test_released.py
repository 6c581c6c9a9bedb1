"""Releases count for the fatigue gates until a platform reports the mailing, but never against their own campaign."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.as_of import AsOf
from personalization.ledger.frequency import PastMailing, unreported
from personalization.ledger.sends import RELEASES
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.explain import explain_customer
from personalization.stages.decisions.fatigue import MAILINGS, mailings
from personalization.stages.decisions.gates import gates
from personalization.warehouse import Warehouse
from tests.decisions.world import AS_OF, DAY, SCHEMA, SPRING, Person, World, make_program
from tests.ledger.test_sends import ask, settle, wanted

CAMPAIGNS: dict[str, Any] = {
    "campaigns": {"spring": {**SPRING, "priority": 10}, "news": {**SPRING, "title": "News", "priority": 20}},
    "fatigue": {"min_gap_days": 3, "caps": [{"tier": "all", "sends": 2, "days": 28}]},
}
TOMORROW = AS_OF.shift(1)


def release(world: World, campaign: str = "news", person: str = "ada", *, day: date = DAY, version: str = "1") -> None:
    token = f"t1_k1_{person}"
    asked = wanted(1, campaign, version=version)
    asked = type(asked)(1, campaign, version, token, f"{token}_email", (token,), asked.limit)
    assert ask(world.ledger, asked, day=day) == {}
    settle(world.ledger, "keep", 1)


def leave(world: World, day: date, person: str = "ada") -> None:
    from personalization.ledger import sends

    with world.ledger.begin() as connection:
        sends.end(connection, "mailchimp", {f"t1_k1_{person}_email": None}, day.isoformat())


def report(world: World, day: date, campaign: str = "42694e9e57", person: str = "ada") -> None:
    world.session.execute(
        "insert into marts.email_events values (?, ?, 'sent', null, ?, null, 1)", [f"t1_k1_{person}", campaign, day]
    )


def outcomes(world: World, as_of: AsOf) -> dict[str, list[str]]:
    return {campaign: world.rows(campaign, as_of)["ada"]["reasons"] for campaign in ("spring", "news")}


@pytest.fixture
def ada(world: World) -> World:
    """Ada is in both audiences; on the day before she was released to `news`, the campaign of lower priority."""
    program = world.program(**CAMPAIGNS)
    world.fill(program, [Person("ada")], TOMORROW)
    release(world)
    world.session.execute("create or replace temp table kept as from segments.profile")
    return world


def decide(world: World, as_of: AsOf = TOMORROW, **changes: Any) -> dict[str, list[str]]:
    program = world.program(**{**CAMPAIGNS, **changes})
    world.session.execute(f"update segments.profile set as_of = date '{as_of.key}'")
    world.again(program, as_of)
    found = outcomes(world, as_of) | {"more": []}
    told = explain_customer(world.session, world.ledger, program, "t1_k1_ada", running_campaigns(program, as_of), as_of)
    codes = {gate.code for gate in gates(program, as_of)}
    for campaign in told.campaigns:  # computed in another way
        stopped = [gate.gate for gate in campaign.gates if gate.passed is False and gate.gate in codes]
        assert campaign.campaign == "more" or stopped == [
            code for code in found[campaign.campaign] if not code.startswith("lost_to")
        ]
    return outcomes(world, as_of)


def test_who_was_released_stays_in_that_campaign_and_gets_no_other(ada: World) -> None:
    assert decide(ada) == {"spring": ["fatigue_gap"], "news": []}
    assert decide(ada, AS_OF.shift(10)) == {"spring": [], "news": ["lost_to:spring"]}


def test_on_the_day_itself_nothing_has_happened_yet(ada: World) -> None:
    assert decide(ada, AS_OF) == {"spring": [], "news": ["lost_to:spring"]}


def test_a_reported_mailing_counts_once_and_for_its_own_campaign_too(ada: World) -> None:
    report(ada, DAY + timedelta(days=2))
    assert decide(ada, AS_OF.shift(4)) == {"spring": ["fatigue_gap"], "news": ["fatigue_gap"]}
    assert decide(ada, AS_OF.shift(9)) == {"spring": [], "news": ["lost_to:spring"]}
    release(ada, "spring", day=DAY + timedelta(days=9))
    assert decide(ada, AS_OF.shift(20)) == {"spring": [], "news": ["fatigue_cap"]}


def test_a_report_that_names_another_campaign_is_another_mailing(ada: World) -> None:
    report(ada, DAY + timedelta(days=1), campaign="Spring")
    assert decide(ada, AS_OF.shift(9)) == {"spring": ["fatigue_cap"], "news": []}


def test_who_left_the_audience_does_not_come_back_for_the_same_version(ada: World) -> None:
    leave(ada, DAY + timedelta(days=1))
    assert decide(ada, TOMORROW)["news"] == []  # as of that day it was not known
    assert decide(ada, AS_OF.shift(10)) == {"spring": [], "news": ["already_mailed"]}
    again = {"campaigns": {**CAMPAIGNS["campaigns"], "news": {**SPRING, "title": "News", "version": 2, "priority": 1}}}
    assert decide(ada, AS_OF.shift(10), **again) == {"spring": ["lost_to:news"], "news": []}


def test_a_new_version_is_a_mailing_of_its_own(ada: World) -> None:
    again = {"campaigns": {**CAMPAIGNS["campaigns"], "news": {**SPRING, "title": "News", "version": 2}}}
    assert decide(ada, **again) == {"spring": ["fatigue_gap"], "news": ["fatigue_gap"]}


def test_a_release_to_somebody_who_was_merged_since_counts_for_the_person(ada: World) -> None:
    release(ada, "spring", "old", day=DAY - timedelta(days=10))
    ada.session.execute("insert into landed.identity values ('t1_k1_old', 'customer', 't1_k1_ada', 'email')")
    again = {"campaigns": {**CAMPAIGNS["campaigns"], "more": {**SPRING, "title": "More", "priority": 1}}}
    decide(ada, AS_OF.shift(6), **again)
    assert ada.rows("more", AS_OF.shift(6))["ada"]["reasons"] == ["fatigue_cap"]


days = st.integers(0, 12)
named = st.sampled_from(["spring", "news"])
PEOPLE = ["a", "b"]


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("released")


@settings(max_examples=25, deadline=None)
@given(
    releases=st.lists(st.tuples(st.sampled_from(PEOPLE), named, days), max_size=8),
    reports=st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["spring", "News", "x1"]), days), max_size=8),
)
def test_everybody_at_once_is_everybody_one_by_one(
    module_folder: Path, releases: list[tuple[str, str, int]], reports: list[tuple[str, str, int]]
) -> None:
    program = make_program(module_folder, **CAMPAIGNS)
    first = DAY - timedelta(days=13)
    rows = [
        {
            "customer_token": person,
            "address_token": f"{person}_email",
            "campaign": campaign,
            "version": "1",
            "day": (first + timedelta(days=number)).isoformat(),
        }
        for person, campaign, number in releases
    ]
    with Warehouse(Path(":memory:"), threads=1).connect() as session:
        session.execute(SCHEMA)
        for person, campaign, number in reports:
            session.execute(
                "insert into marts.email_events values (?, ?, 'sent', null, ?, null, 1)",
                [person, campaign, first + timedelta(days=number)],
            )
        with mailings(session, program, pa.Table.from_pylist(rows, schema=RELEASES), AS_OF):
            found = session.rows(f"select customer_token, event_day, campaign from {MAILINGS} order by all")
    expected: list[tuple[str, date, str | None]] = []
    meant = {"spring": "spring", "News": "news", "x1": None}
    for person in PEOPLE:
        sent = [PastMailing(first + timedelta(days=n), meant[c]) for who, c, n in reports if who == person]
        made = [PastMailing(first + timedelta(days=n), c) for who, c, n in releases if who == person]
        expected += [(person, mailing.day, None) for mailing in sent]
        expected += [(person, mailing.day, mailing.campaign) for mailing in unreported(made, sent)]
    assert sorted(found, key=str) == sorted(expected, key=str)
