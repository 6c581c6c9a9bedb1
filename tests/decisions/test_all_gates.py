"""All gates at once on a drawn crowd: SQL and one-by-one computation agree, and totals add up (invariants 17, 40)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from personalization.ledger.preferences import FREQUENCY, PreferenceEvent
from personalization.stages.decisions.audit import open_totals, repeated_decisions, wrong_sends
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.explain import explain_customer
from personalization.stages.decisions.frequency_audit import too_often
from tests.decisions.test_governor import mailed
from tests.decisions.test_released import release
from tests.decisions.world import AS_OF, DAY, SPRING, Person, World, moment

SETTINGS: dict[str, Any] = {
    "campaigns": {
        "spring": {**SPRING, "audience": "orders_84d >= 1 AND age_band <> '65+'", "priority": 10},
        "news": {**SPRING, "title": "News", "priority": 20, "value": "purchase_score * orders_84d"},
        "miss_you": {**SPRING, "title": "Back", "win_back": True, "priority": 30},
    },
    "fatigue": {
        "min_gap": "3d",
        "caps": [
            {"tier": "engaged", "when": "did('open', within => '28 days')", "limits": [{"sends": 2, "days": 7}]},
            {"tier": "others", "limits": [{"sends": 1, "days": 7}, {"sends": 2, "days": 28}]},
        ],
    },
    "frequency": {"all": {"title": "All"}, "monthly": {"title": "Monthly", "sends": 1, "days": 30}},
    "sunset": {"inactive_days": 90, "win_back": {"sends": 1, "days": 60}},
    "governor": {"complaints": {"warn": 0.001, "stop": 0.5}},
    "holdout": {"share": 0.1, "salt": "h"},
    "min_completeness": 0.5,
}


def drawn_person(dice: random.Random, number: int) -> Person:
    sends = [DAY - timedelta(days=dice.choice([1, 4, 6, 9, 20, 27, 40, 95, 200])) for _ in range(dice.randrange(4))]
    consent = [("grant", moment(dice.choice(["2016-01-01", "2017-11-20"])), dice.choice(["customer", "email"]))]
    if dice.random() < 0.15:
        consent = [*consent, ("withdraw", moment(dice.choice(["2017-11-25", "2017-12-03T08:00"])), "email")]
    fields = {
        "orders_84d": dice.choice([None, 0, 1, 5]),
        "age_band": dice.choice([None, "25-34", "65+"]),
        "purchase_score": dice.choice([None, 0.2, 0.9]),
    }
    return Person(f"p{number}", fields, sends, consent, address=dice.random() > 0.1)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_every_way_of_computing_agrees(world: World, seed: int) -> None:
    dice = random.Random(seed)
    people = [drawn_person(dice, number) for number in range(18 if seed == 1 else 50)]
    program = world.program(**SETTINGS)
    world.fill(program, people)
    for person in people:
        for event in ("open", "click", "purchase"):
            if dice.random() < 0.2:
                day = DAY - timedelta(days=dice.choice([0, 2, 30, 90, 91, 300]))
                world.session.execute(
                    "insert into marts.customer_day (customer_token, event_day, event, department, campaign_id, events)"
                    " values (?, ?, ?, '', '', 1)",
                    [person.token, day, event],
                )
        if dice.random() < 0.2:
            release(
                world,
                dice.choice(list(SETTINGS["campaigns"])),
                person.name,
                day=DAY - timedelta(days=dice.randrange(1, 70)),
            )
    world.ledger.suppressions.add([people[0].token], "bounced", "test")
    world.ledger.preferences.append(
        PreferenceEvent(
            event_id=f"c{number}",
            subject_token=person.token,
            kind=FREQUENCY,
            value=dice.choice(["all", "monthly"]),
            effective_at=datetime(2017, 6, 1, tzinfo=UTC),
            source="page",
            method="test",
        )
        for number, person in enumerate(people[::3])
    )
    mailed(world, "Spring", 6)
    decided = world.again(program)

    assert repeated_decisions(world.session, AS_OF) == []
    assert open_totals(world.session, AS_OF) == []
    assert wrong_sends(world.session, world.ledger, program, AS_OF) == []
    assert too_often(world.session, world.ledger, program, AS_OF) == []
    assert sum(customers for *_, customers in decided.summary) == decided.rows
    running = running_campaigns(program, AS_OF)
    for person in people:
        told = explain_customer(world.session, world.ledger, program, person.token, running, AS_OF)
        assert [path.differs for path in told.campaigns] == [[], [], []], told.to_text()
    found = {reason for (reason,) in world.session.rows("select unnest(reasons) from decisions.decisions")}
    assert len(found) >= 6
    if seed > 1:
        assert {"sunset", "fatigue_gap", "fatigue_cap", "no_consent"} <= found


def happened(world: World, person: str, event: str, at: str) -> None:
    """One event with its time of day."""
    occurred = moment(at)
    values = [f"t1_k1_{person}", int(occurred.timestamp() * 1_000_000), occurred.replace(tzinfo=None), occurred.date()]
    world.session.execute(
        "insert into marts.moments by name select ? as customer_token, ? as moment_us, ? as occurred_at,"
        " ? as event_day, ? as event, 'c' as campaign_id, 1 as events",
        [*values, event],
    )


def test_behaviour_segment_and_score_combine_in_one_offer(world: World) -> None:
    """The issue's own example, with a score beside it: an offer to the loyal who opened the e-mail before this one."""
    rule = "in_segment('loyal') AND opened_previous_email(within => '3 days') AND purchase_score > 0.7"
    program = world.program(
        campaigns={"spring": {**SPRING, "offers": ["thanks", "all"]}},
        offers={
            "thanks": {"code": "TEN", "title": "10 %", "when": rule},
            "all": {"code": "POINTS", "title": "Points"},
        },
        segments={"loyal": {"title": "Loyal", "rule": "orders_84d >= 3"}},
    )
    high = {"purchase_score": 0.9}
    people = {
        "fits": high,
        "late": high,
        "older": high,
        "closed": high,
        "rare": {**high, "orders_84d": 1},
        "low": {"purchase_score": 0.5},
        "unscored": {},
    }
    world.fill(program, [Person(name, fields) for name, fields in people.items()])
    for name in people:
        happened(world, name, "mailing", "2017-11-20T09:00")
        happened(world, name, "mailing", "2017-11-28T09:00")
        if name == "older":
            happened(world, name, "open", "2017-11-20T10:00")  # the e-mail before the previous one
        elif name != "closed":
            happened(world, name, "open", "2017-12-01T09:01" if name == "late" else "2017-12-01T08:59")
    world.again(program)
    offers = {name: row["offer"] for name, row in world.rows().items()}
    assert offers == {"fits": "TEN", **dict.fromkeys([name for name in people if name != "fits"], "POINTS")}
    chosen = running_campaigns(program, AS_OF)
    told = explain_customer(world.session, world.ledger, program, "t1_k1_fits", chosen, AS_OF)
    assert told.campaigns[0].differs == []
    assert told.campaigns[0].offer is not None
    assert told.campaigns[0].offer.code == "TEN"
