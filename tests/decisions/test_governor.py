"""The governor: small numbers change nothing, volume falls and comes back in steps, and the most engaged are kept."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from personalization.as_of import AsOf
from personalization.ledger import ConsentEvent
from personalization.program.models import Governor
from personalization.stages.decisions.frequency_audit import too_often
from personalization.stages.decisions.governed import alarms
from personalization.stages.decisions.governor import (
    COMPLAINT,
    UNSUBSCRIBE,
    Reacted,
    Record,
    Sent,
    kept,
    state_on,
    wilson_low,
)
from tests.decisions.words import verdict
from tests.decisions.world import AS_OF, DAY, MARKETING, SPRING, Person, World, add_sends, moment

GOVERNOR = Governor()
START = date(2017, 1, 1)


def day(number: int) -> date:
    return START + timedelta(days=number)


def steady(days: int, sends: int, complaints: dict[int, int]) -> Record:
    """`sends` every day; `complaints` gives how many of them complain on the same day, by day."""
    return Record(
        [Sent(day(number), sends) for number in range(days)],
        [Reacted(day(number), COMPLAINT, day(number), found) for number, found in complaints.items()],
    )


def shares(record: Record, days: int, governor: Governor = GOVERNOR) -> list[float]:
    return [state_on(governor, record, START, day(number)).share for number in range(days)]


def test_nobody_complains() -> None:
    assert set(shares(steady(60, 1000, {}), 60)) == {1.0}


@pytest.mark.parametrize(("sends", "complaints", "changes"), [(20, 2, False), (100, 2, False), (100, 3, True)])
def test_one_or_two_among_few_sends_change_nothing(sends: int, complaints: int, changes: bool) -> None:
    """2 of 20 is a hundred times the threshold, but no evidence."""
    assert (set(shares(steady(1, sends, {0: complaints}), 30)) != {1.0}) is changes


def test_a_rate_just_above_the_threshold_needs_many_sends() -> None:
    assert set(shares(steady(30, 200, dict.fromkeys(range(0, 30, 4), 1)), 30)) == {1.0}  # 0.125 % of 2,800
    assert set(shares(steady(30, 20_000, dict.fromkeys(range(30), 25)), 30)) != {1.0}  # of 280,000


def test_the_bound_is_wilsons() -> None:
    """Against the definition: the rate at which this many or more are as rare as 5 %, in the normal approximation."""
    for n, x in ((1000, 3), (10_000, 20), (50, 1)):
        low = wilson_low(n, x, 0.95)
        z = (x / n - low) / (low * (1 - low) / n) ** 0.5
        assert z == pytest.approx(1.6449, abs=1e-3)
    assert wilson_low(0, 0, 0.95) == 0


def test_it_falls_by_steps_and_comes_back_by_steps() -> None:
    """A week of 0.5 % complaints among 2,000 sends a day, then none."""
    found = shares(steady(120, 2000, dict.fromkeys(range(20, 27), 10)), 100)
    changes = [(n, after) for n, (before, after) in enumerate(pairwise(found), 1) if before != after]
    assert [share for _, share in changes] == [0.5, 0.25, 0.5, 1.0]
    (first, _), (second, _), (third, _), (fourth, _) = changes
    assert second - first == GOVERNOR.step_days
    assert third > 27
    assert fourth - third == GOVERNOR.recover_days


def test_a_stop_pauses_at_once_and_recovers_through_every_step() -> None:
    found = shares(steady(40, 2000, dict.fromkeys(range(20, 23), 60)), 90)
    assert found[19] == 1.0
    assert found[22] == 0.0
    after = [share for before, share in pairwise(found) if share != before]
    assert after == [0.5, 0.0, 0.25, 0.5, 1.0]


def test_what_came_later_is_not_known_earlier() -> None:
    """Invariant 'point in time': a complaint of the 30th about a mail of the 20th."""
    record = Record([Sent(day(20), 1000)], [Reacted(day(20), COMPLAINT, day(30), 20)])
    found = shares(record, 40)
    assert set(found[:31]) == {1.0}
    assert found[31] == 0.0


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=60))
def test_it_never_jumps_up(rows: list[tuple[int, int, int]]) -> None:
    record = Record(
        [Sent(day(n), sends) for n, (sends, _, _) in enumerate(rows)],
        [
            Reacted(day(n), kind, day(n), min(found, sends))
            for n, (sends, complaints, unsubscribes) in enumerate(rows)
            for kind, found in ((COMPLAINT, complaints), (UNSUBSCRIBE, unsubscribes))
        ],
    )
    ladder = GOVERNOR.ladder
    found = [ladder.index(share) for share in shares(record, len(rows) + 1)]
    for before, after in pairwise(found):
        assert after >= before - 1
        assert after <= before + 1 or after == len(ladder) - 1


def test_a_share_keeps_at_least_one_and_nobody_at_a_stop() -> None:
    assert [kept(0.5, n) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert kept(0.0, 10) == 0
    assert kept(0.25, 40) == 10


@pytest.mark.parametrize(
    "value",
    [
        {"complaints": {"warn": 0.01, "stop": 0.001}},
        {"shares": [0.25, 0.5]},
        {"shares": [1.0]},
        {"confidence": 0.2},
    ],
)
def test_settings_that_can_not_work_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Governor.model_validate(value)


# --- in the decision -------------------------------------------------------------------------------------------------

SENT_ON = DAY - timedelta(days=5)


def mailed(world: World, campaign: str, complaints: int = 0, people: int = 400, **events: int) -> None:
    """A mailing to other people five days ago; the first ones react the day after."""
    add_sends(world.session, [(f"x{n}", SENT_ON) for n in range(people)])
    world.session.execute("update marts.email_events set campaign_id = ? where event_day = ?", [campaign, SENT_ON])
    for event, number in {"complained": complaints, **events}.items():
        for n in range(number):
            world.session.execute(
                "insert into marts.email_events values (?, null, ?, null, ?, null, 1)",
                [f"x{n}", event, SENT_ON + timedelta(days=1)],
            )


def acts(world: World, **days_ago: int) -> None:
    for person, days in days_ago.items():
        world.session.execute(
            "insert into marts.customer_day (customer_token, event_day, event, events) values (?, ?, 'open', 1)",
            [f"t1_k1_{person}", DAY - timedelta(days=days)],
        )


PEOPLE = [Person(name) for name in ("ann", "bob", "cat", "dan")]
BOTH = {"spring": SPRING, "news": {**SPRING, "title": "News", "priority": 200}}


def test_the_most_engaged_are_kept_and_the_same_ones_the_next_day(world: World) -> None:
    governor = {"complaints": {"warn": 0.001, "stop": 0.5}, "shares": [0.5]}
    program = world.program(governor=governor, fatigue={"min_gap_days": 0})
    people = [*PEOPLE, Person("nay", consent=[]), Person("nix", consent=[])]
    world.fill(program, people)
    mailed(world, "Spring", 6)
    acts(world, ann=50, bob=3, cat=4, nay=1, nix=1)
    world.again(program)
    found = world.reasons()
    assert found == {
        **{"ann": ["governor"], "bob": [], "cat": [], "dan": ["governor"]},
        **{"nay": ["no_consent"], "nix": ["no_consent"]},  # they are not among those of whom a share is kept
    }
    told = verdict(world, program, "ann", "spring", "governor")
    assert told.passed is False
    assert (
        "2 of 4 people are kept, the most engaged first, down to an act 4 days ago; last open 50 days ago" in told.words
    )
    assert verdict(world, program, "bob", "spring", "governor").passed
    assert verdict(world, program, "nay", "spring", "governor").passed is None
    assert too_often(world.session, world.ledger, program, AS_OF) == []
    assert alarms(world.session, AS_OF)[0].startswith("all campaigns: lowered, 50% of the people are kept since ")
    summary = dict(world.session.rows("select reason, customers from decisions.summary"))
    assert summary == {"governor": 2, "no_consent": 2, "send": 2}
    add_sends(world.session, [("t1_k1_bob", DAY)])  # whoever has had the mail stays among the kept
    world.session.execute(f"update segments.profile set as_of = date '{AS_OF.shift(1).key}'")
    world.again(program, AS_OF.shift(1))
    rows = world.rows(as_of=AS_OF.shift(1))
    assert {name for name, row in rows.items() if "governor" in row["reasons"]} == {"ann", "dan"}


def test_a_stop_pauses_the_campaign_and_not_the_other(world: World) -> None:
    program = world.program(campaigns=BOTH, governor={"complaints": {"warn": 0.02, "stop": 0.03}})
    world.fill(program, PEOPLE)
    mailed(world, "Spring", 30, people=500)
    add_sends(world.session, [(f"y{n}", SENT_ON) for n in range(2000)])
    world.session.execute("update marts.email_events set campaign_id = 'news' where customer_token like 'y%'")
    world.again(program)
    assert set(map(tuple, world.reasons("spring").values())) == {("governor",)}
    assert set(map(tuple, world.reasons("news").values())) == {()}
    assert "paused: nobody is mailed" in verdict(world, program, "ann", "spring", "governor").words
    assert len(alarms(world.session, AS_OF)) == 1


def test_all_campaigns_together_hold_down_each(world: World) -> None:
    program = world.program(campaigns=BOTH, governor={})
    world.fill(program, PEOPLE)
    mailed(world, "some earlier campaign", 20)
    world.again(program)
    assert {reason for row in world.rows("spring").values() for reason in row["reasons"]} == {"governor"}
    assert {reason for row in world.rows("news").values() for reason in row["reasons"]} == {"governor"}


@pytest.mark.parametrize("way", ["reported", "page"])
def test_an_unsubscribe_counts_once_however_it_came(world: World, way: str) -> None:
    program = world.program(governor={})
    world.fill(program, PEOPLE)
    mailed(world, "Spring", unsubscribed=12 if way == "reported" else 0)
    if way == "page":
        world.session.execute(
            "insert into landed.identity select 'mail_' || customer_token, 'email', customer_token, 'email'"
            " from (select distinct customer_token from marts.email_events)"
        )
        at = moment((SENT_ON + timedelta(days=1)).isoformat())
        world.ledger.consent.append(
            ConsentEvent(
                event_id=f"off-{n}",
                subject_token=f"mail_x{n}",
                purpose=MARKETING,
                action="withdraw",
                effective_at=at + timedelta(hours=12),
                source="page",
            )
            for n in range(12)
        )
    world.again(program)
    (row,) = world.session.rows("select sends, unsubscribes, state from decisions.governor where campaign is not null")
    assert row == (400, 12, "paused")
    world.again(program)
    assert world.session.value("select count(*) from decisions.governor") == 2


def test_without_a_governor_there_is_none(world: World) -> None:
    program = world.program()
    world.fill(program, PEOPLE)
    mailed(world, "Spring", 300)
    world.again(program)
    assert set(map(tuple, world.reasons().values())) == {()}
    assert not world.session.has_table("decisions.governor")
    assert alarms(world.session, AS_OF) == []


def test_the_same_day_gives_the_same_again(world: World) -> None:
    program = world.program(governor={})
    world.fill(program, [Person(f"p{n}") for n in range(40)])
    mailed(world, "Spring", 3)
    world.again(program)
    first = {table: world.session.fingerprint(table) for table in ("decisions.decisions", "decisions.governor")}
    world.again(program, AsOf(DAY))
    assert first == {table: world.session.fingerprint(table) for table in first}
