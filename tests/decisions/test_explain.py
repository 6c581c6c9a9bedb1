"""The explanation: it agrees with every recorded decision, says all steps in words, and never names an address."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from personalization.errors import DataError, ProgramError
from personalization.ledger import Keyring
from personalization.program import Program
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.customer import find_customer
from personalization.stages.decisions.explain import asked_campaigns, explain_customer, require_decisions
from personalization.stages.decisions.explanation import Explanation
from tests.decisions.world import AS_OF, DAY, SCORING, SPRING, Person, World, consent_events, moment

PROGRAM: dict[str, Any] = {
    "campaigns": {
        "spring": {
            **SPRING,
            "title": "Spring is here",
            "audience": "orders_84d >= 1 AND NOT in_segment('grey')",
            "priority": 10,
            "value": "purchase_score * 10",
            "blocks": ["hero"],
            "offers": ["hot", "all"],
            "experiment": "personal_hero",
        },
        "news": {**SPRING, "title": "News", "audience": "age_band <> '65+'"},
    },
    "segments": {"grey": {"title": "Grey", "rule": "age_band = '65+'", "unknown": "hold"}},
    "blocks": {
        "hero": {
            "title": "Hero",
            "branches": [{"code": "RECENT", "title": "Seen lately", "when": "recency_days <= 14"}],
            "otherwise": {"code": "WEEKLY", "title": "This week"},
        }
    },
    "offers": {
        "hot": {"code": "HOT", "title": "Hot", "when": "purchase_score > 0.9"},
        "all": {"code": "ALL", "title": "For all"},
    },
    "experiments": {
        "personal_hero": {
            "title": "Personal",
            "version": 1,
            "hypothesis": "More come back.",
            "arms": {"plain": 0.5, "personal": 0.5},
            "control": "plain",
            "salt": "hero",
            "eligible": "recency_days < 100",
        }
    },
    "fatigue": {
        "min_gap_days": 3,
        "caps": [
            {"tier": "engaged", "when": "conversions_84d >= 1", "sends": 3, "days": 28},
            {"tier": "others", "sends": 1, "days": 14},
        ],
    },
    "holdout": {"share": 0.2, "salt": "winter"},
    "min_completeness": 0.5,
}


def ago(days: int) -> date:
    return DAY - timedelta(days=days)


def crowd() -> list[Person]:
    """Forty-two customers, among whom every gate stops somebody."""
    people = []
    for number in range(42):
        fields = {
            "age_band": [None, "25-34", "65+"][number % 3],
            "recency_days": [5, 20, 150, None][number % 4],
            "purchase_score": [None, 0.95, 0.4][number // 2 % 3],
            "conversions_84d": number % 2,
            "orders_84d": number % 5,
        }
        sends = [ago(age) for age in ([], [2], [4, 10], [30])[number // 3 % 4]]
        consent = [("grant", moment("2017-01-01"), "customer")] if number % 7 else []
        people.append(Person(f"p{number}", fields, sends, consent, address=number % 11 != 0))
    return people


@pytest.fixture
def program(world: World) -> Program:
    program = world.program(**PROGRAM)
    world.ledger.suppressions.add(["t1_k1_p13_email"], "bounced", "test")
    world.decide(program, crowd())
    return program


def explanation(world: World, program: Program, name: str, campaign: str | None = None) -> Explanation:
    campaigns = asked_campaigns(program, campaign, AS_OF)
    return explain_customer(world.session, world.ledger, program, f"t1_k1_{name}", campaigns, AS_OF)


def test_every_explanation_agrees_with_the_recorded_decision(world: World, program: Program) -> None:
    """The gates are computed again one customer at a time; any disagreement would be in `differs`."""
    recorded = {campaign: world.rows(campaign) for campaign in program.campaigns}
    seen: set[str] = set()
    for person in crowd():
        for path in explanation(world, program, person.name).campaigns:
            row = recorded[path.campaign].get(person.name)
            assert path.differs == [], (person.name, path.campaign)
            assert path.outcome == (row["outcome"] if row else "not_a_candidate")
            if row:
                assert path.reasons == row["reasons"]
                assert [choice.code for choice in path.blocks] == ([row["hero"]] if row["hero"] else [])
                seen.update(reason.split(":")[0] for reason in row["reasons"])
    assert seen == {
        "audience_unknown",
        "no_consent",
        "suppressed",
        "no_address",
        "holdout",
        "incomplete_data",
        "fatigue_gap",
        "fatigue_cap",
        "lost_to",
    }


def test_the_path_is_told_in_words(world: World) -> None:
    program = world.program(**{**PROGRAM, "holdout": {"share": 0, "salt": "h"}})
    fields = {
        "age_band": "25-34",
        "recency_days": 5,
        "purchase_score": 0.95,
        "purchase_band": "high",
        "conversions_84d": 1,
    }
    world.fill(program, [Person("anna", fields, [ago(10)])])
    world.session.execute(f"insert into marts.orders values ('o1', 't1_k1_anna', '{ago(5)}', 1234.5)")
    world.session.execute("""
        create schema scores;
        create table scores.propensity as
            select date '2017-12-03' as as_of, 't1_k1_anna' as customer_token, 'm7' as model_version;
        create table scores.explanations as
            select date '2017-12-03' as as_of, 't1_k1_anna' as customer_token, 1 as rank,
                'recency_days' as feature, 5::double as value, 0.8::double as contribution;
    """)
    world.again(program)
    text = explanation(world, program, "anna").to_text()
    for line in (
        "Customer t1_k1_anna as of 2017-12-03",
        "  bought once, 1,234.50 USD in all, last on 2017-11-28",
        "  mailed once, last on 2017-11-23; never responded",
        "  purchase_score 0.950, band high, model m7",
        "    +0.80 towards a purchase: recency_days = 5",
        "  grey (Grey): not in",
        "Campaign spring (Spring is here): SEND",
        "    passed   no_consent        agreed to email.marketing on 2017-01-01 at 00:00 UTC",
        "    passed   fatigue_gap       last mailed on 2017-11-23, 10 days ago; must be more than 3",
        "    passed   fatigue_cap       tier 'engaged': 1 of at most 3 sends in the last 28 days",
        "    passed   arbitration       won against news (own priority 10, value 9.50)",
        "    offer = HOT: Hot (hot)",
        "Campaign news (News): WITHHELD, lost_to:spring",
        "    STOPPED  arbitration       lost to spring (own priority 100, no value)",
    ):
        assert line in text.splitlines(), text
    hero = "    hero = RECENT: Seen lately" if "personal of" in text else "    hero = WEEKLY: control arm"
    assert hero in text


def test_reasons_that_stop_a_mail_are_told_with_their_numbers(world: World, program: Program) -> None:
    text = explanation(world, program, "p5", "spring").to_text()
    assert "Campaign spring (Spring is here): " in text
    assert "NOT A CANDIDATE, the audience rule does not hold" in text  # 65+
    person = Person("late", {"age_band": "25-34"}, [ago(2)], [("withdraw", moment("2017-05-04T10:30"), "email")])
    world.ledger.suppressions.add(["t1_k1_late"], "complained", "test")
    world.decide(program, [person])
    text = explanation(world, program, "late", "spring").to_text()
    assert "WITHHELD, no_consent (also: suppressed" in text
    assert "withdrew from email.marketing on 2017-05-04 at 10:30 UTC" in text
    assert "on the do-not-mail list: complained" in text
    assert "last mailed on 2017-12-01, 2 days ago; must be more than 3" in text
    assert "tier 'others': 1 of at most 1 sends in the last 14 days" in text
    assert "not reached: an earlier gate stopped the mail" in text
    assert "never bought" in text


@pytest.mark.parametrize(
    ("consent", "words"),
    [
        ([], "none: never agreed to personalization.ml_scoring"),
        ([("grant", moment("2017-01-01"), "customer")], "none: no model has scored this customer"),
        ([("withdraw", moment("2017-02-01"), "customer")], "none: withdrew from personalization.ml_scoring"),
    ],
)
def test_a_missing_score_has_a_reason(world: World, consent: list[Any], words: str) -> None:
    program = world.program()
    person = Person("anna", consent=consent)
    world.decide(program, [Person("anna")])
    world.ledger.consent.append(consent_events(person, SCORING))
    assert words in explanation(world, program, "anna").to_text()


def test_it_is_also_plain_data(world: World, program: Program) -> None:
    data = json.loads(json.dumps(explanation(world, program, "p1").to_dict()))
    assert data["customer_token"] == "t1_k1_p1"
    assert data["as_of"] == "2017-12-03"
    assert set(data["campaigns"][0]) >= {"campaign", "outcome", "reasons", "gates", "blocks", "offer"}
    assert data["campaigns"][1]["audience"]["clause"] == "orders_84d >= 1 AND NOT in_segment('grey')"


def test_a_program_that_changed_since_is_told(world: World, program: Program) -> None:
    sent = next(name for name, row in world.rows().items() if row["outcome"] == "send")
    changed = {**PROGRAM, "fatigue": {"min_gap_days": 3, "caps": [{"tier": "all", "sends": 0, "days": 1}]}}
    text = explanation(world, world.program(**changed), sent, "spring").to_text()
    assert "Program, data or ledger changed since this was decided" in text
    assert "gates that stop it now: fatigue_cap; recorded: none" in text


# --- whom and what is asked for --------------------------------------------------------------------------------------


def test_a_customer_is_found_by_token_id_and_address(world: World, program: Program, tmp_path: Any) -> None:
    keys = Keyring.create(tmp_path / "keys.json")
    by_id, by_mail = keys.token("customer", "1029"), keys.token("email", "anna@example.com")
    world.session.execute(
        "insert into landed.identity values (?, 'customer', 't1_k1_p1', ''), (?, 'email', 't1_k1_p1', '')",
        [by_id, by_mail],
    )
    for asked in ("t1_k1_p1", "t1_k1_p1_email", by_id, "1029", " 1029 ", "anna@example.com", "Anna@EXAMPLE.com"):
        assert find_customer(world.session, keys, asked) == "t1_k1_p1"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("4711", "no customer with the id '4711' is known"),
        ("t1_k1_nobody", "no customer with the token t1_k1_nobody is known"),
        ("secret@example.com", "no customer with this e-mail address is known"),
        ("secret@", "this is not a valid e-mail address"),
    ],
)
def test_an_unknown_customer_is_told_without_the_address(
    world: World, program: Program, tmp_path: Any, asked: str, message: str
) -> None:
    with pytest.raises(DataError) as raised:
        find_customer(world.session, Keyring.create(tmp_path / "keys.json"), asked)
    assert raised.value.message == message
    assert "secret" not in str(raised.value)


def test_wrong_questions_are_told(world: World, program: Program) -> None:
    with pytest.raises(ProgramError, match=r"unknown campaign 'sprint' \(did you mean 'spring'\?\)"):
        asked_campaigns(program, "sprint", AS_OF)
    ended = world.program(campaigns={"old": {**SPRING, "ends": "2017-11-30"}})
    with pytest.raises(DataError, match="campaign 'old' does not run on 2017-12-03") as raised:
        asked_campaigns(ended, "old", AS_OF)
    assert raised.value.hint == "it runs from any day to 2017-11-30"
    with pytest.raises(DataError, match="nothing was decided for 2017-12-09") as raised:
        require_decisions(world.session, AS_OF.shift(6))
    assert raised.value.hint == "days with decisions, latest first: 2017-12-03"
    campaigns = running_campaigns(program, AS_OF)
    with pytest.raises(DataError, match="customer t1_k1_nobody has no profile for 2017-12-03"):
        explain_customer(world.session, world.ledger, program, "t1_k1_nobody", campaigns, AS_OF)
    world.session.execute("drop table decisions.decisions")
    with pytest.raises(DataError, match="nothing has been decided yet"):
        require_decisions(world.session, AS_OF)


def test_a_day_without_campaigns_is_told(world: World) -> None:
    program = world.program(campaigns={})
    world.decide(program, [Person("anna")])
    assert "No campaign runs on this day." in explanation(world, program, "anna").to_text()
