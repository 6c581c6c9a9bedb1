"""The checks find what they are for: each wrong decision is planted and must be reported."""

from __future__ import annotations

import pytest

from personalization.program import Program
from personalization.stages.decisions.audit import open_totals, repeated_decisions, wrong_sends
from tests.decisions.world import AS_OF, SPRING, Person, World, consent_events, moment


@pytest.fixture
def program(world: World) -> Program:
    program = world.program(campaigns={"spring": SPRING, "winter": {**SPRING, "priority": 200}})
    withdrawn = [("grant", moment("2017-01-01"), "customer"), ("withdraw", moment("2017-02-01"), "email")]
    world.decide(program, [Person("anna"), Person("never", consent=[]), Person("left", consent=withdrawn)])
    return program


def audit(world: World, program: Program) -> list[str]:
    return [
        *repeated_decisions(world.session, AS_OF),
        *open_totals(world.session, AS_OF),
        *wrong_sends(world.session, world.ledger, program, AS_OF),
    ]


def tamper(world: World, change: str, where: str) -> None:
    world.session.execute(f"update decisions.decisions set {change} where {where}")


SEND = "outcome = 'send', reason = 'send', reasons = []"


def test_right_decisions_have_no_findings(world: World, program: Program) -> None:
    assert audit(world, program) == []


@pytest.mark.parametrize("name", ["never", "left"])
def test_a_send_without_consent(world: World, program: Program, name: str) -> None:
    tamper(world, SEND, f"customer_token = 't1_k1_{name}' and campaign = 'spring'")
    found = wrong_sends(world.session, world.ledger, program, AS_OF)
    assert found == [f"spring: t1_k1_{name} is sent without consent to email.marketing"]


def test_a_withdrawal_at_the_moment_of_the_grant_is_none(world: World, program: Program) -> None:
    """The ledger learns of it only after the decision, but it was effective before the day."""
    at = moment("2017-01-01")
    world.ledger.consent.append(
        consent_events(Person("anna", consent=[("grant", at, "customer"), ("withdraw", at, "email")]))
    )
    assert wrong_sends(world.session, world.ledger, program, AS_OF) == [
        "spring: t1_k1_anna is sent without consent to email.marketing"
    ]


@pytest.mark.parametrize("token", ["t1_k1_anna", "t1_k1_anna_email"])
def test_a_send_to_a_suppressed_person(world: World, program: Program, token: str) -> None:
    world.ledger.suppressions.add([token], "bounced", "test")
    assert wrong_sends(world.session, world.ledger, program, AS_OF) == ["t1_k1_anna is suppressed and is sent"]


def test_a_send_without_an_address(world: World, program: Program) -> None:
    tamper(world, "email_token = null", "customer_token = 't1_k1_anna' and campaign = 'spring'")
    assert audit(world, program) == ["spring: t1_k1_anna is sent without an address"]


def test_a_send_to_the_holdout(world: World, program: Program) -> None:
    everyone = world.program(campaigns={"spring": SPRING}, holdout={"share": 1, "salt": "h"})
    assert wrong_sends(world.session, world.ledger, everyone, AS_OF) == [
        "t1_k1_anna belongs to the holdout and is sent"
    ]


def test_two_campaigns_for_one_customer_on_one_day(world: World, program: Program) -> None:
    tamper(world, SEND, "customer_token = 't1_k1_anna' and campaign = 'winter'")
    assert "t1_k1_anna is sent 2 campaigns on one day" in wrong_sends(world.session, world.ledger, program, AS_OF)


def test_a_repeated_decision_opens_the_totals(world: World, program: Program) -> None:
    world.session.execute(
        "insert into decisions.decisions from decisions.decisions "
        "where customer_token = 't1_k1_anna' and campaign = 'spring'"
    )
    assert repeated_decisions(world.session, AS_OF) == ["spring: t1_k1_anna has 2 decisions"]
    assert open_totals(world.session, AS_OF) == ["spring: 4 decisions, the summary counts 3"]


def test_an_outcome_that_contradicts_its_reasons(world: World, program: Program) -> None:
    tamper(world, "outcome = 'send'", "customer_token = 't1_k1_never' and campaign = 'winter'")
    assert open_totals(world.session, AS_OF) == ["winter: 1 decisions whose outcome and reasons disagree"]
