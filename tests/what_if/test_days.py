"""Ninety days of the real decision and send ledger: no rule is broken, the governor works (invariant 40)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from personalization.as_of import AsOf
from personalization.ledger import ConsentEvent, Ledger
from personalization.ledger.preferences import FREQUENCY, PreferenceEvent
from personalization.program import Program
from personalization.stages.decisions.assignment import draw
from personalization.warehouse import Warehouse
from personalization.what_if.days import Plan, simulate_days
from personalization.what_if.days_record import Mail, Record
from personalization.what_if.response import ResponseModel
from tests.decisions.conftest import empty_ledger as empty_ledger
from tests.decisions.conftest import ledger as ledger
from tests.decisions.conftest import world as world
from tests.decisions.world import DAY, MARKETING, SPRING, World, add_sends, make_program

SETTINGS: dict[str, Any] = {
    "timezone": "America/New_York",
    "campaigns": {
        "offers": {**SPRING, "title": "Offers", "priority": 20, "audience": "orders_84d >= 1"},
        "news": {**SPRING, "title": "News", "priority": 30},
        "miss_you": {**SPRING, "title": "Miss you", "priority": 10, "audience": "recency_days > 30", "win_back": True},
    },
    "fatigue": {
        "min_gap_days": 3,
        "caps": [
            {"tier": "engaged", "when": "count_of('open', within => '28 days') >= 1",
             "limits": [{"sends": 2, "days": 7}, {"sends": 6, "days": 28}]},
            {"tier": "others", "limits": [{"sends": 1, "days": 7}, {"sends": 3, "days": 28}]},
        ],
    },
    "frequency": {
        "all": {"title": "All"},
        "weekly": {"title": "Weekly", "sends": 1, "days": 7},
        "monthly": {"title": "Monthly", "sends": 1, "days": 30},
    },
    "quiet_hours": {"from": "21:00", "to": "08:00", "whole_days": ["sunday"]},
    "sunset": {"inactive_days": 60, "win_back": {"sends": 1, "days": 45}},
    "governor": {},
}  # fmt: skip
AS_OF = AsOf(DAY, "America/New_York")
DAYS = 90
SPELL = (30, 37)


def crowd(world: World, people: int) -> Program:
    """People of all kinds: buyers, people mailed for long who never reacted, some who chose how often, three zones."""
    program = world.program(**SETTINGS)
    session, day = world.session, AS_OF.key
    world.fill(program, [])
    session.execute("alter table segments.profile add column if not exists time_zone varchar")
    session.execute(f"""
        insert into segments.profile by name
        select
            date '{day}' as as_of, 't1_k1_p' || n as customer_token, 't1_k1_p' || n || '_email' as email_token,
            (n % 5) as orders_84d, if(n % 5 = 0, null, (n * 7) % 60) as recency_days, 0 as conversions_84d,
            case n % 4 when 0 then 'America/Los_Angeles' when 1 then 'Europe/Berlin' when 2 then 'Asia/Tokyo' end
                as time_zone
        from range({people}) r(n)
    """)
    session.execute("""
        insert into landed.identity
        select customer_token, 'customer', customer_token, 'customer' from segments.profile
        union all select email_token, 'email', customer_token, 'email' from segments.profile
    """)
    session.execute(f"""
        insert into marts.customer_day (customer_token, event_day, event, department, campaign_id, events)
        select customer_token, date '{day}' - (recency_days + 1 + 11 * k)::integer, 'purchase', '', '', 1
        from segments.profile, range(3) r(k) where recency_days is not null
    """)
    tokens = [f"t1_k1_p{n}" for n in range(people)]
    add_sends(
        session, [(token, AS_OF.day - timedelta(days=80 - n % 40)) for n, token in enumerate(tokens) if n % 3 == 0]
    )
    world.ledger.consent.append(
        ConsentEvent(
            event_id=f"yes-{token}",
            subject_token=token,
            purpose=MARKETING,
            action="grant",
            effective_at=datetime(2016, 1, 1, tzinfo=UTC),
            source="test",
        )
        for token in tokens
    )
    world.ledger.preferences.append(
        PreferenceEvent(
            event_id=f"often-{n}",
            subject_token=token,
            kind=FREQUENCY,
            value="monthly" if n % 2 else "weekly",
            effective_at=datetime(2017, 1, 1, tzinfo=UTC),
            source="page",
            method="test",
        )
        for n, token in enumerate(tokens[::9])
    )
    return program


def simulated(world: World, people: int, days: int = DAYS, spell: tuple[int, int] | None = SPELL) -> Record:
    program = crowd(world, people)
    model = ResponseModel(spell=spell, spell_complaints=0.03)
    return simulate_days(world.session, world.ledger, program, AS_OF, Plan(days=days, model=model))


def check(record: Record, people: int) -> None:
    """Everything that must hold of ninety days with a bad spell."""
    assert record.violations() == dict.fromkeys(record.violations(), 0)
    assert len(record.sent) > 3 * people
    days: dict[str, list[Any]] = {}
    for mail in record.mails:  # counted once more, in the plainest way
        days.setdefault(mail.person, []).append(mail.day)
    for each in days.values():
        assert all((later - earlier).days > 3 for earlier, later in pairwise(sorted(each)) if later >= record.start)
        for first in each:
            assert sum(0 <= (day - first).days < 28 for day in each if day >= record.start) <= 6
    reasons = {reason for each in record.days for reason in each.decided}
    assert {"sunset", "win_back_cap", "fatigue_gap", "fatigue_cap", "own_frequency", "governor"} <= reasons
    assert all(mail.released_at.weekday() != 6 for mail in record.sent if mail.zone is None and mail.released_at)
    assert sum(each.held for each in record.days) > 0
    shares = [each.kept_share for each in record.days]
    assert set(shares[: SPELL[0]]) == {1.0}, "nothing lowers the volume before people complain"
    assert min(shares[SPELL[0] : SPELL[1] + 14]) < 1
    assert shares[-1] == 1.0, "it recovers"
    steps = [after for before, after in pairwise(shares) if after > before]
    assert steps == sorted(steps), "in steps"
    held_down = [each.sent for each in record.days if each.kept_share == 0]
    assert set(held_down) <= {0}


def test_eight_days_break_no_rule(world: World) -> None:
    """A short one for every run of the tests: fewer people and days, and no bad spell."""
    record = simulated(world, 150, days=8, spell=None)
    assert record.violations() == dict.fromkeys(record.violations(), 0)
    assert len(record.sent) > 100
    assert {each.kept_share for each in record.days} == {1.0}


@pytest.mark.slow
def test_ninety_days_of_a_few_thousand(world: World) -> None:
    check(simulated(world, 3000), 3000)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three to seven minutes, as busy as the machine is
def test_ninety_days_of_many(world: World) -> None:
    check(simulated(world, 20_000), 20_000)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_days(tmp_path: Path, empty_ledger: Path) -> None:
    import shutil

    records = []
    for number in range(2):
        copy = shutil.copy(empty_ledger, tmp_path / f"ledger{number}.sqlite")
        with (
            Ledger.open(f"sqlite:///{copy}") as opened,
            Warehouse(Path(":memory:"), threads=1).connect() as session,
        ):
            records.append(simulated(World(session, opened, tmp_path / f"program{number}"), 60, days=3).to_dict())
    assert json.dumps(records[0]) == json.dumps(records[1])


# --- the record finds what it is for ---------------------------------------------------------------------------------


def recorded(folder: Path, mails: Sequence[Mail], **more: Any) -> Record:
    program = make_program(folder / "program", **SETTINGS)
    return replace(Record(AS_OF.day, program), mails=list(mails), **more)


def mail(days: int, person: str = "a", **more: Any) -> Mail:
    return Mail(person, AS_OF.day + timedelta(days=days), **{"campaign": "news", "tier": "others", **more})


@pytest.mark.parametrize(
    ("rule", "mails"),
    [
        ("gap", [mail(0), mail(3)]),
        ("cap of a tier", [mail(0), mail(7)]),
        ("cap of a tier", [mail(n, tier="engaged") for n in (0, 4, 7)]),
        ("two on one day", [mail(0), mail(0)]),
        ("own choice", [mail(0, "choosy"), mail(28, "choosy")]),
        ("quiet hours", [mail(1, released_at=AS_OF.instant + timedelta(days=1, hours=4))]),
        ("quiet hours", [mail(1, released_at=AS_OF.instant + timedelta(days=1, hours=20), zone="Europe/Berlin")]),
        ("sunset", [Mail("a", AS_OF.day - timedelta(days=60)), mail(0)]),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, rule: str, mails: list[Mail]) -> None:
    assert recorded(tmp_path, mails, choices={"choosy": (1, 30)}).violations()[rule] > 0


def test_rules_that_are_kept_are_not_found(tmp_path: Path) -> None:
    morning = AS_OF.instant + timedelta(days=1, hours=15)
    mails = [mail(1, released_at=morning), mail(9), mail(18), mail(5, "b"), mail(36, "b")]
    record = recorded(tmp_path, mails, choices={"b": (1, 30)})
    assert record.violations() == dict.fromkeys(record.violations(), 0)
    assert dict(record.gaps()) == {8: 1, 9: 1, 31: 1}


def test_answers_are_drawn_as_the_model_says() -> None:
    model = ResponseModel(spell=(5, 6), spell_complaints=0.5)
    people = [f"p{n}" for n in range(4000)]
    answers = [kind for token in people for kind in model.answers(token, "news", 0, 0)]
    leaning = sum(draw(f"{model.seed}:leaning", token) / 2**64 for token in people) / len(people)
    expected = model.open_least + model.open_more * leaning
    assert answers.count("opened") / len(people) == pytest.approx(expected, abs=0.03)
    assert answers.count("complained") <= 5
    tired = [kind for token in people for kind in model.answers(token, "news", 0, 12)]
    assert tired.count("opened") < 0.6 * answers.count("opened")
    assert tired.count("unsubscribed") > answers.count("unsubscribed")
    spell = [kind for token in people for kind in model.answers(token, "news", 5, 0)]
    assert spell.count("complained") / len(people) == pytest.approx(0.5, abs=0.03)
