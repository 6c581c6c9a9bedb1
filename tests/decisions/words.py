"""What an explanation says about one gate."""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.explain import explain_customer
from personalization.stages.decisions.explanation import GateVerdict
from tests.decisions.world import AS_OF, World


def verdict(world: World, program: Program, person: str, campaign: str, gate: str, as_of: AsOf = AS_OF) -> GateVerdict:
    """The verdict of one gate, after a look that all gates together say what was recorded."""
    chosen = [each for each in running_campaigns(program, as_of) if each.name == campaign]
    told = explain_customer(world.session, world.ledger, program, f"t1_k1_{person}", chosen, as_of)
    path = told.campaigns[0]
    assert path.differs == []
    return next(each for each in path.gates if each.gate == gate)
