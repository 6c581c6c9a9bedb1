"""Any set of campaigns and customers: one row per candidate, at most one send a customer, and the right winner."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.decisions.world import SPRING, Person, World

NAMES = ["alpha", "beta", "gamma"]
FIELDS = ["purchase_score", "average_order_value_84d"]

campaigns = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {
            "priority": st.integers(1, 2),
            "value": st.sampled_from([None, *FIELDS]),
            "audience": st.sampled_from(["orders_84d >= 1", "orders_84d >= 3", "age_band = '65+'"]),
        }
    ),
    min_size=1,
)
people = st.lists(
    st.fixed_dictionaries(
        {
            "orders_84d": st.sampled_from([0, 1, 3]),
            "purchase_score": st.sampled_from([None, 0.5, 1.0]),
            "average_order_value_84d": st.sampled_from([None, 0.5, 1.0]),
            "age_band": st.sampled_from([None, "65+", "25-34"]),
            "consents": st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


def audience_holds(rule: str, fields: dict[str, Any]) -> bool | None:
    if rule.startswith("age_band"):
        return None if fields["age_band"] is None else fields["age_band"] == "65+"
    return bool(fields["orders_84d"] >= int(rule[-1]))


def expected(programmed: dict[str, Any], fields: dict[str, Any]) -> dict[str, list[str]]:
    """Reasons per campaign, computed one customer at a time."""
    reasons: dict[str, list[str]] = {}
    for name, campaign in programmed.items():
        holds = audience_holds(campaign["audience"], fields)
        if holds is not False:
            stopped = {"audience_unknown": holds is None, "no_consent": not fields["consents"]}
            reasons[name] = [code for code, stops in stopped.items() if stops]

    def rank(name: str) -> tuple[int, bool, float, str]:
        column = programmed[name]["value"]
        value = fields[column] if column else None
        return programmed[name]["priority"], value is None, -(value or 0), name

    competing = sorted((name for name, found in reasons.items() if not found), key=rank)
    for loser in competing[1:]:
        reasons[loser] = [f"lost_to:{competing[0]}"]
    return reasons


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(campaigns=campaigns, people=people)
def test_every_candidate_gets_one_decision_and_the_right_one(
    world: World, campaigns: dict[str, Any], people: list[dict[str, Any]]
) -> None:
    program = world.program(campaigns={name: {**SPRING, **campaign} for name, campaign in campaigns.items()})
    crowd = []
    for number, fields in enumerate(people):
        known = {name: value for name, value in fields.items() if name != "consents"}
        if fields["consents"]:
            crowd.append(Person(f"yes{number}", known))
        else:
            crowd.append(Person(f"no{number}", known, consent=[]))
    decided = world.decide(program, crowd)
    wanted = {
        (name, person.name): reasons
        for person, fields in zip(crowd, people, strict=True)
        for name, reasons in expected(campaigns, fields).items()
    }
    found = {(name, who): reasons for name in campaigns for who, reasons in world.reasons(name).items()}
    assert found == wanted
    assert decided.rows == len(wanted) == sum(customers for *_, customers in decided.summary)
    sends = [who for (_, who), reasons in found.items() if not reasons]
    assert len(sends) == len(set(sends))
