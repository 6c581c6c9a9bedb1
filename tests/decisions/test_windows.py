"""Several windows a tier, and what people chose themselves, as caps of the decision."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from personalization.ledger.preferences import FREQUENCY, PreferenceEvent
from personalization.program.models import Fatigue, FrequencyCap
from personalization.stages.decisions.frequency_audit import too_often
from tests.decisions.words import verdict
from tests.decisions.world import AS_OF, DAY, Person, World

LIMITS = [{"sends": 1, "days": 7}, {"sends": 3, "days": 30}]
FATIGUE = {
    "min_gap_days": 0,
    "caps": [
        {"tier": "engaged", "when": "conversions_84d >= 1", "sends": 1, "days": 1, "limits": [{"sends": 3, "days": 7}]},
        {"tier": "others", "limits": LIMITS},
    ],
}
CHOICES = {"all": {"title": "All"}, "weekly": {"title": "Weekly", "sends": 1, "days": 7}}


def ago(*days: int) -> list[date]:
    return [DAY - timedelta(days=each) for each in days]


# days since earlier mails: whether one more is allowed to the engaged, and to the others
CASES: dict[tuple[int, ...], tuple[bool, bool]] = {
    (8,): (True, True),
    (7,): (True, False),
    (1,): (False, False),
    (2, 4, 6): (False, False),
    (2, 4, 8): (True, False),
    (9, 20, 30): (True, False),
    (9, 20, 31): (True, True),
}


def test_every_window_of_the_tier_must_leave_room(world: World) -> None:
    program = world.program(fatigue=FATIGUE)
    people, allowed = [], {}
    for number, (days, passes) in enumerate(CASES.items()):
        for tier, may in zip(("engaged", "others"), passes, strict=True):
            fields = {"conversions_84d": 1} if tier == "engaged" else {}
            people.append(Person(f"{tier}_{number}", fields, ago(*days)))
            allowed[f"{tier}_{number}"] = may
    world.decide(program, people)
    assert {name: reasons == [] for name, reasons in world.reasons().items()} == allowed
    for name, may in allowed.items():
        assert verdict(world, program, name, "spring", "fatigue_cap").passed is may
    assert too_often(world.session, world.ledger, program, AS_OF) == []
    world.session.execute("update decisions.decisions set outcome = 'send'")
    world.session.execute("delete from decisions.tiers")
    for name in allowed:
        world.session.execute(
            "insert into decisions.tiers by name select ? as as_of, ? as customer_token, ? as tier, false as asleep",
            [DAY, f"t1_k1_{name}", name.partition("_")[0]],
        )
    found = too_often(world.session, world.ledger, program, AS_OF)  # counted in another way
    assert {name for name in allowed if any(f"_{name} " in each for each in found)} == {
        name for name, may in allowed.items() if not may
    }


@pytest.mark.parametrize("by", ["anna", "anna_email"])
def test_the_persons_own_choice_is_a_cap(world: World, by: str) -> None:
    program = world.program(fatigue={"min_gap_days": 0}, frequency=CHOICES)
    chosen = {"before": datetime(2017, 12, 1, tzinfo=UTC), "after": datetime(2017, 12, 4, tzinfo=UTC)}
    world.ledger.preferences.append(
        PreferenceEvent(
            event_id=when,
            subject_token=f"t1_k1_{by if when == 'before' else 'bert'}",
            kind=FREQUENCY,
            value="weekly",
            effective_at=at,
            source="page",
            method="test",
        )
        for when, at in chosen.items()
    )
    people = [Person("anna", sends=ago(6)), Person("bert", sends=ago(6)), Person("cleo", sends=ago(6))]
    world.decide(program, people)
    assert world.reasons() == {"anna": ["own_frequency"], "bert": [], "cleo": []}  # bert chose after the day began
    told = verdict(world, program, "anna", "spring", "own_frequency")
    assert told.words == "chose 'weekly': 1 of at most 1 sends in the last 7 days"
    assert verdict(world, program, "cleo", "spring", "own_frequency").passed
    world.session.execute("update decisions.decisions set outcome = 'send'")
    assert too_often(world.session, world.ledger, program, AS_OF) == [
        "spring: t1_k1_anna is sent mail 2 of 1 in 7 days, the cap of the person's own choice"
    ]


@pytest.mark.parametrize(
    ("written", "days"), [("5d", 5), ("5 days", 5), ("1 day", 1), (5, 5), ("1w", 7), ("2 weeks", 14)]
)
def test_the_gap_can_be_written_with_a_unit(written: object, days: int) -> None:
    assert Fatigue.model_validate({"min_gap": written}).min_gap_days == days


@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (Fatigue, {"min_gap": "5h"}, "such as 3d, 5 days or 1w"),
        (Fatigue, {"min_gap": "5d", "min_gap_days": 5}, "not both"),
        (FrequencyCap, {"tier": "a"}, "give sends and days, or limits"),
        (FrequencyCap, {"tier": "a", "sends": 2}, "give both sends and days"),
    ],
)
def test_a_cap_that_says_too_little_is_refused(model: type, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate(value)


def test_quiet_hours_are_told_with_the_clock_that_counts(world: World) -> None:
    program = world.program(quiet_hours={"from": "22:00"}, timezone="Europe/Berlin")
    world.fill(program, [Person("anna"), Person("bert")])
    world.session.execute("alter table segments.profile add column time_zone varchar")
    world.session.execute("update segments.profile set time_zone = 'Asia/Tokyo' where customer_token = 't1_k1_anna'")
    world.again(program)
    told = {name: verdict(world, program, name, "spring", "quiet_hours") for name in ("anna", "bert")}
    words = "looked at when it leaves: waits from 22:00 to 08:00, in the customer's time zone, Asia/Tokyo"
    assert told["anna"].words == words
    assert told["bert"].words.endswith("in the program's time zone, Europe/Berlin")
    assert {each.passed for each in told.values()} == {None}
    zones = dict(world.session.rows("select customer_token, zone from decisions.tiers"))
    assert zones == {"t1_k1_anna": "Asia/Tokyo", "t1_k1_bert": None}
