"""One decision each: arbitration, experiments, content, offers, totals, repetition."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.errors import DataError, LedgerError, ProgramError
from personalization.stages.decisions.assignment import arm_of
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.protocol import protocol_hash
from tests.decisions.world import AS_OF, DAY, SPRING, Person, World

HERO = {
    "title": "Hero",
    "branches": [
        {"code": "MEAT", "when": "top_department_84d = 'MEAT'"},
        {"code": "RECENT", "when": "recency_days <= 14"},
    ],
    "otherwise": {"code": "WEEKLY"},
}
EXPERIMENT: dict[str, Any] = {
    "title": "Personal",
    "version": 1,
    "hypothesis": "More come back.",
    "arms": {"plain": 0.5, "personal": 0.5},
    "control": "plain",
    "salt": "hero",
}
CROWD = [Person(f"p{number}", {"top_department_84d": "MEAT"}) for number in range(60)]


# --- arbitration -----------------------------------------------------------------------------------------------------


def test_the_smaller_priority_wins(world: World) -> None:
    program = world.program(campaigns={"a": {**SPRING, "priority": 20}, "b": {**SPRING, "priority": 10}})
    world.decide(program, [Person("anna")])
    assert world.reasons("a") == {"anna": ["lost_to:b"]}
    assert world.reasons("b") == {"anna": []}
    assert world.rows("a")["anna"]["reason"] == "lost_to:b"


def test_among_equal_priorities_the_larger_value_wins_then_the_name(world: World) -> None:
    program = world.program(
        campaigns={
            "a": SPRING,
            "b": {**SPRING, "value": "purchase_score * 10"},
            "c": {**SPRING, "value": "average_order_value_84d"},
        }
    )
    people = [
        Person("spender", {"purchase_score": 0.5, "average_order_value_84d": 6}),
        Person("likely", {"purchase_score": 0.7, "average_order_value_84d": 6}),
        Person("tie", {"purchase_score": 0.5, "average_order_value_84d": 5}),
        Person("unscored", {"average_order_value_84d": 1}),
        Person("unknown"),
    ]
    world.decide(program, people)
    winners = {
        name: campaign for campaign in "abc" for name, row in world.rows(campaign).items() if row["outcome"] == "send"
    }
    assert winners == {"spender": "c", "likely": "b", "tie": "b", "unscored": "c", "unknown": "a"}


def test_only_those_who_passed_all_earlier_gates_compete(world: World) -> None:
    program = world.program(
        campaigns={"first": {**SPRING, "priority": 1, "audience": "age_band = '65+'"}, "second": SPRING}
    )
    world.decide(program, [Person("anna")])  # undecided for the first
    assert world.reasons("first") == {"anna": ["audience_unknown"]}
    assert world.reasons("second") == {"anna": []}


# --- experiments -----------------------------------------------------------------------------------------------------


def experiment_program(world: World, **changes: Any) -> Any:
    return world.program(
        campaigns={"spring": {**SPRING, "blocks": ["hero"], "experiment": "personal_hero"}},
        blocks={"hero": HERO},
        experiments={"personal_hero": {**EXPERIMENT, **changes}},
    )


def test_the_control_arm_gets_what_everybody_would_get(world: World) -> None:
    world.decide(experiment_program(world), CROWD)
    rows = world.rows()
    assert {(row["variant"], row["hero"]) for row in rows.values()} == {("plain", "WEEKLY"), ("personal", "MEAT")}
    for person in CROWD:
        assert rows[person.name]["variant"] == arm_of("hero", 1, EXPERIMENT["arms"], person.token)


def test_a_new_version_draws_anew(world: World) -> None:
    world.decide(experiment_program(world), CROWD)
    before = {name: row["variant"] for name, row in world.rows().items()}
    world.again(experiment_program(world, version=2))
    after = {name: row["variant"] for name, row in world.rows().items()}
    assert 10 <= sum(before[name] != after[name] for name in before) <= 50


def test_who_is_not_eligible_has_no_variant_and_gets_personal_content(world: World) -> None:
    world.decide(experiment_program(world, eligible="recency_days <= 5"), CROWD)
    assert {(row["variant"], row["hero"]) for row in world.rows().values()} == {(None, "MEAT")}


def test_who_is_withheld_is_assigned_to_nothing(world: World) -> None:
    program = experiment_program(world)
    world.decide(program, [Person("anna", consent=[])])
    row = world.rows()["anna"]
    assert (row["variant"], row["hero"], row["offer"]) == (None, None, None)


def test_a_changed_protocol_needs_a_new_version(world: World) -> None:
    program = experiment_program(world)
    world.decide(program, CROWD)
    assert world.ledger.protocols.fixed("personal_hero", 1) == protocol_hash(program.experiments["personal_hero"])
    world.again(experiment_program(world, title="Only the title"))  # no part of the protocol
    before = world.session.fingerprint("decisions.decisions")
    with pytest.raises(LedgerError, match="protocol of experiment 'personal_hero' version 1") as raised:
        world.again(experiment_program(world, arms={"plain": 0.4, "personal": 0.6}))
    assert raised.value.hint == "undo the change, or give the experiment `version: 2`"
    assert world.session.fingerprint("decisions.decisions") == before
    world.again(experiment_program(world, arms={"plain": 0.4, "personal": 0.6}, version=2))


@pytest.mark.parametrize(
    "change",
    [
        {"hypothesis": "Fewer stay away."},
        {"metric": "conversion"},
        {"control": "personal"},
        {"salt": "other"},
        {"eligible": "orders_84d > 1"},
        {"arms": {"personal": 0.5, "plain": 0.5}},  # the order decides who gets which arm
    ],
)
def test_whatever_decides_assignment_or_success_is_in_the_protocol(world: World, change: dict[str, Any]) -> None:
    written = experiment_program(world).experiments["personal_hero"]
    changed = experiment_program(world, **change).experiments["personal_hero"]
    assert protocol_hash(written) != protocol_hash(changed)


# --- content and offers ----------------------------------------------------------------------------------------------


def test_the_first_branch_that_holds_gives_the_code_and_nobody_gets_a_hole(world: World) -> None:
    program = world.program(campaigns={"spring": {**SPRING, "blocks": ["hero"]}}, blocks={"hero": HERO, "unused": HERO})
    people = [
        Person("both", {"top_department_84d": "MEAT", "recency_days": 1}),
        Person("recent", {"top_department_84d": "GROCERY", "recency_days": 14}),
        Person("neither", {"recency_days": 15}),
        Person("unknown", {"recency_days": None}),
    ]
    world.decide(program, people)
    rows = world.rows()
    assert {name: row["hero"] for name, row in rows.items()} == {
        "both": "MEAT",
        "recent": "RECENT",
        "neither": "WEEKLY",
        "unknown": "WEEKLY",
    }
    assert {row["unused"] for row in rows.values()} == {None}


def test_offers_are_tried_in_the_campaigns_order(world: World) -> None:
    offers = {
        "all": {"code": "ALL", "title": "For all"},
        "new": {"code": "NEW10", "title": "New", "when": "recency_days <= 7"},
        "rich": {"code": "RICH", "title": "Rich", "when": "average_order_value_84d > 100"},
    }
    program = world.program(
        campaigns={
            "spring": {**SPRING, "offers": ["new", "all"], "audience": "orders_84d = 1"},
            "autumn": {**SPRING, "offers": ["rich", "new"], "audience": "orders_84d = 2"},
        },
        offers=offers,
    )
    people = [
        Person("new", {"orders_84d": 1, "recency_days": 7}),
        Person("old", {"orders_84d": 1, "recency_days": 8}),
        Person("nothing", {"orders_84d": 2}),
        Person("recent", {"orders_84d": 2, "recency_days": 1}),
    ]
    world.decide(program, people)
    made = {
        name: (row["offer"], row["offer_name"])
        for campaign in ("spring", "autumn")
        for name, row in world.rows(campaign).items()
    }
    assert made == {
        "new": ("NEW10", "new"),
        "old": ("ALL", "all"),
        "nothing": (None, None),
        "recent": ("NEW10", "new"),
    }


def test_without_purchases_content_falls_back_to_demographics_then_to_best_sellers(world: World) -> None:
    program = world.program(campaigns={"spring": {**SPRING, "audience": "TRUE"}})
    people = [
        Person("buyer", {"orders_84d": 1, "age_band": "65+"}),
        Person("told_us", {"orders_84d": 0, "household_size": 3}),
        Person("stranger", {"orders_84d": None}),
    ]
    world.decide(program, people)
    assert {name: row["content_source"] for name, row in world.rows().items()} == {
        "buyer": "purchases",
        "told_us": "demographics",
        "stranger": "best_sellers",
    }


# --- the whole -------------------------------------------------------------------------------------------------------


def test_rules_see_no_score_for_unscored_customers_and_mailing_goes_on(world: World) -> None:
    offers = {
        "hot": {"code": "HOT", "title": "Hot", "when": "purchase_score > 0.9"},
        "all": {"code": "ALL", "title": "A"},
    }
    program = world.program(campaigns={"spring": {**SPRING, "offers": ["hot", "all"]}}, offers=offers)
    world.decide(program, [Person("scored", {"purchase_score": 0.95}), Person("unscored")])
    assert {name: (row["outcome"], row["offer"]) for name, row in world.rows().items()} == {
        "scored": ("send", "HOT"),
        "unscored": ("send", "ALL"),
    }


@pytest.mark.parametrize(
    ("span", "runs"),
    [
        ({}, True),
        ({"starts": DAY, "ends": DAY}, True),
        ({"starts": "2017-12-04"}, False),
        ({"ends": "2017-12-02"}, False),
    ],
)
def test_a_campaign_runs_from_its_first_to_its_last_day(world: World, span: dict[str, Any], runs: bool) -> None:
    program = world.program(campaigns={"spring": {**SPRING, **span}})
    assert [running.name for running in running_campaigns(program, AS_OF)] == (["spring"] if runs else [])


def test_a_day_without_campaigns_has_no_decisions_but_all_tables(world: World) -> None:
    decided = world.decide(world.program(campaigns={}, blocks={"hero": HERO}), [Person("anna")])
    assert (decided.rows, decided.summary, decided.sends) == (0, [], 0)
    assert world.session.rows("select hero from decisions.decisions") == []
    assert world.session.rows("from decisions.summary") == []


def test_totals_add_up(world: World) -> None:
    campaigns = {"a": SPRING, "b": {**SPRING, "audience": "age_band = '65+'"}}
    people = [
        Person("sent", {"age_band": "25-34"}),
        Person("held", {}),
        Person("denied", {"age_band": "65+"}, consent=[]),
    ]
    decided = world.decide(world.program(campaigns=campaigns), people)
    assert decided.summary == [
        ("a", "send", "send", 2),
        ("a", "withheld", "no_consent", 1),
        ("b", "withheld", "audience_unknown", 1),
        ("b", "withheld", "no_consent", 1),
    ]
    assert decided.rows == 5
    assert "| a | send | send | 2 |" in decided.markdown()


def test_deciding_again_gives_identical_rows_and_leaves_other_days(world: World) -> None:
    program = experiment_program(world)
    world.decide(program, CROWD)
    first = world.session.fingerprint("decisions.decisions"), world.session.fingerprint("decisions.summary")
    world.again(program)
    assert first == (world.session.fingerprint("decisions.decisions"), world.session.fingerprint("decisions.summary"))
    world.decide(program, CROWD[:5], AS_OF.shift(1))
    assert (len(world.rows()), len(world.rows(as_of=AS_OF.shift(1)))) == (60, 5)


def test_a_new_block_is_a_new_column(world: World) -> None:
    world.decide(world.program(), [Person("anna")])
    world.again(world.program(campaigns={"spring": {**SPRING, "blocks": ["hero"]}}, blocks={"hero": HERO}))
    assert world.rows()["anna"]["hero"] == "RECENT"


def test_a_customer_who_occurs_twice_stops_the_run_before_anything_is_written(world: World) -> None:
    program = world.program()
    world.fill(program, [Person("anna"), Person("bert")])
    world.session.execute("insert into segments.profile from segments.profile where customer_token = 't1_k1_anna'")
    with pytest.raises(DataError, match=r"decisions for 2017-12-03 do not add up \(spring: 3 for 2 candidates\)"):
        world.again(program)
    assert not world.session.has_table("decisions.decisions")


def test_a_day_without_segments_is_told(world: World) -> None:
    program = world.program()
    with pytest.raises(DataError, match=r"the table landed\.identity does not exist"):
        world.again(program)
    world.fill(program, [Person("anna")])
    with pytest.raises(DataError, match="no customer has a profile for 2017-12-04"):
        world.again(program, AS_OF.shift(1))
    world.session.execute("drop table segments.membership")
    with pytest.raises(DataError, match=r"the table segments\.membership does not exist"):
        world.again(program)


def test_names_that_cannot_be_told_apart_are_refused(world: World) -> None:
    program = world.program(
        blocks={"offer": HERO},
        fatigue={
            "caps": [
                {"tier": "all", "when": "recency_days > 5", "sends": 1, "days": 7},
                {"tier": "all", "sends": 2, "days": 7},
            ]
        },
    )
    with pytest.raises(ProgramError) as raised:
        world.again(program)
    assert [problem.message for problem in raised.value.problems] == [
        "a block can't be called 'offer': the decisions have a column of that name",
        "tier 'all' is written twice",
    ]
    assert all(problem.at for problem in raised.value.problems)


def test_a_salt_with_quotes_is_only_a_salt(world: World) -> None:
    salt = "it's; drop table x --"
    world.decide(experiment_program(world, salt=salt), CROWD)
    assert world.rows()["p7"]["variant"] == arm_of(salt, 1, EXPERIMENT["arms"], CROWD[7].token)
