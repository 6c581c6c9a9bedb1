"""The gates: what stops a mail, in which order, and that every reason is told (invariants 45, 55)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from personalization.stages.decisions.assignment import is_held_out
from tests.decisions.world import AS_OF, DAY, MARKETING, SPRING, Person, World, consent_events, moment

FATIGUE = {"min_gap_days": 3, "caps": [{"tier": "all", "sends": 2, "days": 28}]}


def ago(days: int) -> date:
    return DAY - timedelta(days=days)


def test_a_customer_whom_nothing_stops_is_sent(world: World) -> None:
    world.decide(world.program(), [Person("anna")])
    row = world.rows()["anna"]
    assert (row["outcome"], row["reason"], row["reasons"]) == ("send", "send", [])
    assert row["email_token"] == "t1_k1_anna_email"


def test_who_is_not_in_the_audience_is_no_candidate(world: World) -> None:
    program = world.program(campaigns={"spring": {**SPRING, "audience": "orders_84d >= 5"}})
    world.decide(program, [Person("few", {"orders_84d": 4}), Person("many", {"orders_84d": 5})])
    assert set(world.rows()) == {"many"}


def test_who_might_be_in_the_audience_is_withheld_and_shown(world: World) -> None:
    program = world.program(campaigns={"spring": {**SPRING, "audience": "age_band = '25-34'"}})
    world.decide(
        program, [Person("unknown"), Person("young", {"age_band": "25-34"}), Person("old", {"age_band": "65+"})]
    )
    assert world.reasons() == {"unknown": ["audience_unknown"], "young": []}


def test_who_is_held_by_a_segment_is_withheld_by_a_campaign_for_it(world: World) -> None:
    program = world.program(
        campaigns={"spring": {**SPRING, "audience": "in_segment('parents')"}},
        segments={"parents": {"title": "Parents", "rule": "children <> '0'", "unknown": "hold"}},
    )
    world.decide(program, [Person("unknown"), Person("parent", {"children": "2"}), Person("none", {"children": "0"})])
    assert world.reasons() == {"unknown": ["audience_unknown"], "parent": []}


@pytest.mark.parametrize(
    ("consent", "allowed"),
    [
        ([], False),
        ([("grant", "2017-01-01", "customer")], True),
        ([("grant", "2017-01-01", "email")], True),
        ([("grant", "2017-01-01", "customer"), ("withdraw", "2017-06-01", "customer")], False),
        ([("grant", "2017-01-01", "customer"), ("withdraw", "2017-06-01", "email")], False),
        ([("withdraw", "2017-06-01", "email"), ("grant", "2017-07-01", "customer")], True),
        ([("grant", "2017-06-01", "customer"), ("withdraw", "2017-06-01", "email")], False),  # same moment: withdrawn
        ([("grant", "2017-01-01", "customer"), ("withdraw", "2017-12-02T23:59:59", "customer")], False),
        ([("grant", "2017-01-01", "customer"), ("withdraw", "2017-12-03", "customer")], True),  # not yet, as of the day
        ([("grant", "2017-12-03", "customer")], False),
        ([("grant", "2017-01-01", "customer"), ("object", "2017-06-01", "customer")], False),
    ],
)
def test_consent_is_default_deny_and_over_all_identifiers(
    world: World, consent: list[tuple[str, str, str]], allowed: bool
) -> None:
    events = [(action, moment(at), kind) for action, at, kind in consent]
    world.decide(world.program(), [Person("anna", consent=events)])
    assert world.reasons() == {"anna": [] if allowed else ["no_consent"]}


def test_consent_for_another_purpose_is_none(world: World) -> None:
    program = world.program(
        campaigns={"spring": {**SPRING, "purpose": "email.news"}},
        purposes={"email.news": {"title": "News"}, MARKETING: {"title": "Offers"}},
    )
    world.decide(program, [Person("anna")])
    assert world.reasons() == {"anna": ["no_consent"]}


def test_a_purpose_on_another_basis_needs_no_grant_but_respects_a_withdrawal(world: World) -> None:
    program = world.program(
        campaigns={"service": {**SPRING, "purpose": "email.service"}},
        purposes={
            "email.service": {"title": "Service", "lawful_basis": "legitimate_interest"},
            MARKETING: {"title": "M"},
        },
    )
    left = Person("left", consent=[("withdraw", moment("2017-05-01"), "email")])
    opted_out_of_marketing = Person("marketing", consent=[("withdraw", moment("2017-05-01"), "customer")])
    world.fill(program, [left, opted_out_of_marketing, Person("silent", consent=[])])
    world.ledger.consent.append(consent_events(left, "email.service"))
    world.again(program)
    assert world.reasons("service") == {"left": ["no_consent"], "marketing": [], "silent": []}


@pytest.mark.parametrize("token", ["t1_k1_anna", "t1_k1_anna_email"])
def test_a_suppressed_identifier_covers_the_person(world: World, token: str) -> None:
    world.ledger.suppressions.add([token], "complained", "test")
    world.decide(world.program(), [Person("anna"), Person("bert")])
    assert world.reasons() == {"anna": ["suppressed"], "bert": []}


def test_without_an_address_nothing_can_be_sent(world: World) -> None:
    world.decide(world.program(), [Person("anna", address=False)])
    assert world.reasons() == {"anna": ["no_address"]}


def test_the_holdout_is_the_declared_share_and_gets_no_campaign(world: World) -> None:
    people = [Person(f"p{number}") for number in range(400)]
    world.decide(world.program(holdout={"share": 0.2, "salt": "winter"}), people)
    held = {name for name, reasons in world.reasons().items() if reasons == ["holdout"]}
    assert held == {person.name for person in people if is_held_out("winter", 0.2, person.token)}
    assert 50 <= len(held) <= 110


@pytest.mark.parametrize(("least", "sent"), [(0.0, True), (0.5, True), (0.51, False)])
def test_completeness_counts_the_fields_that_the_decision_looks_at(world: World, least: float, sent: bool) -> None:
    """Four fields: one of the audience, one of its segment, one of a block, one of an offer. Two are known."""
    program = world.program(
        campaigns={
            "spring": {
                **SPRING,
                "audience": "orders_84d >= 1 AND NOT in_segment('grey')",
                "blocks": ["hero"],
                "offers": ["one"],
            }
        },
        segments={"grey": {"title": "Grey", "rule": "age_band = '65+'"}},
        blocks={
            "hero": {
                "title": "Hero",
                "branches": [{"code": "MEAT", "when": "top_department_84d = 'MEAT'"}],
                "otherwise": {"code": "ALL"},
            }
        },
        offers={"one": {"code": "ONE", "title": "One", "when": "recency_days < 3"}},
        min_completeness=least,
    )
    world.decide(program, [Person("anna")])
    assert world.reasons() == {"anna": [] if sent else ["incomplete_data"]}


@pytest.mark.parametrize(
    ("sends", "reasons"),
    [
        ([], []),
        ([ago(4)], []),  # more than 3 days ago
        ([ago(3)], ["fatigue_gap"]),
        ([ago(1)], ["fatigue_gap"]),
        ([ago(0)], []),  # the day itself is not known yet
        ([ago(28), ago(4)], ["fatigue_cap"]),
        ([ago(29), ago(4)], []),  # the window has slid past the first
        ([ago(5), ago(4)], ["fatigue_cap"]),
        ([ago(10), ago(2)], ["fatigue_gap", "fatigue_cap"]),
        ([ago(4), ago(4)], ["fatigue_cap"]),  # two sends on one day count as two
    ],
)
def test_fatigue_counts_sends_of_all_campaigns(world: World, sends: list[date], reasons: list[str]) -> None:
    world.decide(world.program(fatigue=FATIGUE), [Person("anna", sends=sends)])
    assert world.reasons() == {"anna": reasons}


def test_the_first_tier_that_fits_sets_the_cap(world: World) -> None:
    caps = [
        {"tier": "sleeping", "when": "recency_days > 300", "sends": 0, "days": 7},
        {"tier": "engaged", "when": "conversions_84d >= 1", "sends": 3, "days": 28},
        {"tier": "others", "when": "conversions_84d >= 0", "sends": 1, "days": 14},
    ]
    sends = [ago(10), ago(20)]
    people = [
        Person("sleeping", {"recency_days": 400, "conversions_84d": 5}),
        Person("engaged", {"conversions_84d": 1}, sends),
        Person("other", {"conversions_84d": 0}, sends),
        Person("no_tier", {}, sends),  # conversions unknown: no tier's rule holds
    ]
    world.decide(world.program(fatigue={"caps": caps}), people)
    assert world.reasons() == {"sleeping": ["fatigue_cap"], "engaged": [], "other": ["fatigue_cap"], "no_tier": []}


def test_all_reasons_are_told_in_the_order_of_the_gates(world: World) -> None:
    everything: dict[str, Any] = {
        "campaigns": {"spring": {**SPRING, "audience": "age_band = '65+'"}},
        "holdout": {"share": 1, "salt": "h"},
        "fatigue": {"min_gap_days": 3, "caps": [{"tier": "all", "sends": 1, "days": 28}]},
        "min_completeness": 1,
    }
    world.ledger.suppressions.add(["t1_k1_anna"], "bounced", "test")
    world.decide(world.program(**everything), [Person("anna", sends=[ago(2)], consent=[], address=False)])
    row = world.rows()["anna"]
    assert row["reasons"] == [
        "audience_unknown",
        "no_consent",
        "suppressed",
        "no_address",
        "holdout",
        "incomplete_data",
        "fatigue_gap",
        "fatigue_cap",
    ]
    assert (row["outcome"], row["reason"]) == ("withheld", "audience_unknown")


def test_a_withdrawal_after_the_day_counts_from_the_next_day_on(world: World) -> None:
    person = Person(
        "anna", consent=[("grant", moment("2017-01-01"), "customer"), ("withdraw", moment("2017-12-03T09:00"), "email")]
    )
    program = world.program()
    world.decide(program, [person])
    assert world.reasons() == {"anna": []}
    tomorrow = AS_OF.shift(1)
    world.decide(program, [person], tomorrow)
    assert world.rows(as_of=tomorrow)["anna"]["reasons"] == ["no_consent"]
