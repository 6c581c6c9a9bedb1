"""The long inactive are left alone, win-back campaigns reach them up to a cap, and they come back when they act."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from personalization.as_of import AsOf
from personalization.errors import ProgramError
from personalization.stages.decisions.frequency_audit import too_often
from tests.decisions.test_released import release
from tests.decisions.words import verdict
from tests.decisions.world import AS_OF, DAY, SPRING, Person, World, moment

SUNSET = {"inactive_days": 180, "win_back": {"sends": 1, "days": 90}}
CAMPAIGNS = {"spring": {**SPRING, "priority": 20}, "miss_you": {**SPRING, "title": "Back", "win_back": True}}
LONG = [DAY - timedelta(days=400), DAY - timedelta(days=20)]


def did(world: World, person: str, event: str, days: int, as_of: AsOf = AS_OF) -> None:
    day = as_of.day - timedelta(days=days)
    world.session.execute(
        "insert into marts.customer_day (customer_token, event_day, event, department, campaign_id, events)"
        " values (?, ?, ?, '', '', 1)",
        [f"t1_k1_{person}", day, event],
    )


CASES: dict[str, tuple[list[date], list[tuple[str, int]], list[str]]] = {
    "never_reacted": (LONG, [], ["sunset"]),
    "just_in_time": (LONG, [("open", 180)], []),
    "too_long_ago": (LONG, [("open", 181)], ["sunset"]),
    "bought_since": (LONG, [("click", 300), ("purchase", 90)], []),
    "responded": (LONG, [("conversion", 1)], []),
    "no_acts": (LONG, [("unsubscribe", 1), ("bounce", 1), ("mailing", 1)], ["sunset"]),
    "never_mailed": ([], [], []),  # no chance to react yet
    "bought_long_ago": ([], [("purchase", 300)], []),
    "mailed_lately": ([DAY - timedelta(days=179)], [], []),
    "mailed_for_long": ([DAY - timedelta(days=180)], [], ["sunset"]),
}


def test_who_is_left_alone(world: World) -> None:
    program = world.program(campaigns={"spring": SPRING}, sunset=SUNSET, fatigue={"min_gap_days": 3})
    world.fill(program, [Person(name, sends=sends) for name, (sends, _, _) in CASES.items()])
    for name, (_, acts, _) in CASES.items():
        for event, days in acts:
            did(world, name, event, days)
    world.again(program)
    assert world.reasons() == {name: reasons for name, (_, _, reasons) in CASES.items()}
    for name, (_, _, reasons) in CASES.items():
        assert verdict(world, program, name, "spring", "sunset").passed is (not reasons)
    assert too_often(world.session, world.ledger, program, AS_OF) == []


def test_to_give_consent_is_to_act(world: World) -> None:
    program = world.program(campaigns={"spring": SPRING}, sunset=SUNSET)
    world.decide(program, [Person("anna", sends=LONG, consent=[("grant", moment("2017-11-01"), "email")])])
    assert world.reasons() == {"anna": []}
    assert "agreed to email.marketing on 2017-11-01" in verdict(world, program, "anna", "spring", "sunset").words
    assert too_often(world.session, world.ledger, program, AS_OF) == []


def test_they_come_back_when_they_act(world: World) -> None:
    program = world.program(campaigns={"spring": SPRING}, sunset=SUNSET)
    world.decide(program, [Person("anna", sends=LONG)])
    assert world.reasons() == {"anna": ["sunset"]}
    did(world, "anna", "purchase", 0)  # on the day itself: known from the next day on
    world.again(program)
    assert world.reasons() == {"anna": ["sunset"]}
    world.session.execute(f"update segments.profile set as_of = date '{AS_OF.shift(1).key}'")
    world.again(program, AS_OF.shift(1))
    assert world.rows(as_of=AS_OF.shift(1))["anna"]["reasons"] == []


def test_a_win_back_reaches_them_once_within_its_window(world: World) -> None:
    program = world.program(campaigns=CAMPAIGNS, sunset=SUNSET, fatigue={"min_gap_days": 3})
    people = [Person("ada", sends=LONG), Person("eve", sends=LONG), Person("zoe")]
    for name, days in (("ada", 90), ("eve", 91)):
        release(world, "miss_you", name, day=DAY - timedelta(days=days), version="0")
    world.decide(program, people)
    assert world.reasons("spring") == {"ada": ["sunset"], "eve": ["sunset"], "zoe": []}
    assert world.reasons("miss_you") == {"ada": ["win_back_cap"], "eve": [], "zoe": ["lost_to:spring"]}
    told = verdict(world, program, "ada", "miss_you", "win_back_cap")
    assert told.words == "1 of at most 1 win-back mails in the last 90 days"
    assert too_often(world.session, world.ledger, program, AS_OF) == []


def test_its_own_release_does_not_push_anybody_out_of_the_win_back(world: World) -> None:
    program = world.program(campaigns=CAMPAIGNS, sunset=SUNSET, fatigue={"min_gap_days": 3})
    release(world, "miss_you", "ada", day=DAY - timedelta(days=1))
    world.decide(program, [Person("ada", sends=LONG)])
    assert world.reasons("miss_you") == {"ada": []}


def test_a_rule_of_the_programs_own(world: World) -> None:
    program = world.program(campaigns={"spring": SPRING}, sunset={"when": "recency_days > 300"})
    world.decide(program, [Person("old", {"recency_days": 301}), Person("new", {"recency_days": 3})])
    assert world.reasons() == {"old": ["sunset"], "new": []}
    assert "recency_days > 300" in verdict(world, program, "old", "spring", "sunset").words


def test_the_check_finds_somebody_who_should_have_been_left_alone(world: World) -> None:
    program = world.program(campaigns={"spring": SPRING}, sunset=SUNSET, fatigue={"min_gap_days": 3})
    world.decide(program, [Person("anna", sends=LONG[:1])])
    assert world.reasons() == {"anna": ["sunset"]}
    world.session.execute("update decisions.decisions set outcome = 'send', reason = 'send', reasons = []")
    found = too_often(world.session, world.ledger, program, AS_OF)
    assert found == ["spring: t1_k1_anna is sent as if active, but the days of mails and acts say otherwise"]


def test_a_win_back_without_a_sunset_is_a_mistake(world: World) -> None:
    with pytest.raises(ProgramError) as error:
        world.program(campaigns=CAMPAIGNS)
    assert "program.yaml has no sunset" in str(error.value)


def test_a_wrong_rule_of_the_sunset_is_named_with_its_place(world: World) -> None:
    from personalization.rules import check_program

    program = world.program(sunset={"when": "recency_dayz > 300"})
    (problem,) = check_program(program)
    assert "recency_days" in str(problem)
    assert "program.yaml" in str(problem)
