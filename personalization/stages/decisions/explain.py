"""Gathers the whole path to a decision about one customer: facts, features, score, segments, gates, content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from personalization.as_of import AsOf
from personalization.errors import DataError, ProgramError, did_you_mean
from personalization.program import Program
from personalization.rules import Facts, Rule, Trace, Value, explain, gather_facts
from personalization.stages.decisions.assignment import arm_of
from personalization.stages.decisions.campaigns import RunningCampaign, running_campaigns
from personalization.stages.decisions.candidates import MEMBERSHIP, PROFILE
from personalization.stages.decisions.customer import find_customer
from personalization.stages.decisions.decide import DECISIONS
from personalization.stages.decisions.explain_person import (
    gate_inputs,
    one_row,
    raw_facts,
    score_of,
    segment_parts,
)
from personalization.stages.decisions.explanation import (
    NOT_A_CANDIDATE,
    CampaignPath,
    Choice,
    Explanation,
    GateVerdict,
)
from personalization.stages.decisions.gate_activity import governor_verdict, quiet_hours_verdict
from personalization.stages.decisions.gate_inputs import GateInputs
from personalization.stages.decisions.gate_numbers import gate_verdicts
from personalization.stages.decisions.gates import LOST_TO, SEND
from personalization.stages.decisions.gates import gates as all_gates
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger
    from personalization.runtime import Runtime

SCORING_PURPOSE = "personalization.ml_scoring"


def explain_decision(runtime: Runtime, customer: str, campaign: str | None, as_of: AsOf) -> Explanation:
    """Why a customer was or was not chosen, for one campaign or for all that run on the day.

    Parameters
    ----------
    customer : str
        A customer token, the id as the source writes it, or an e-mail address (never repeated in any output).
    campaign : str or None
        None: every campaign running on the day.

    Raises
    ------
    DataError
        The customer is not known, has no profile for the day, the campaign does not run on it, or nothing was decided.
    ProgramError
        There is no campaign of that name.
    """
    with runtime.warehouse.connect(read_only=True) as session:
        require_decisions(session, as_of)
        campaigns = asked_campaigns(runtime.program, campaign, as_of)
        token = find_customer(session, runtime.keys, customer)
        return explain_customer(session, runtime.ledger, runtime.program, token, campaigns, as_of)


def require_decisions(session: Session, as_of: AsOf) -> None:
    """Raise `DataError` naming the days that were decided, when `as_of` is not one of them."""
    if not session.has_table(DECISIONS):
        raise DataError("nothing has been decided yet", hint="run `personalization run` first")
    days = [row[0] for row in session.rows(f"select distinct as_of from {DECISIONS} order by as_of desc")]  # noqa: S608
    if as_of.day not in days:
        shown = ", ".join(str(day) for day in days[:5]) or "none"
        raise DataError(f"nothing was decided for {as_of.key}", hint=f"days with decisions, latest first: {shown}")


def explain_customer(
    session: Session, ledger: Ledger, program: Program, token: str, campaigns: list[RunningCampaign], as_of: AsOf
) -> Explanation:
    """`explain_decision` for a known customer and given campaigns."""
    facts = gather_facts(session, _all_rules(campaigns), as_of, token, membership=MEMBERSHIP, profile=PROFILE)
    if facts is None:
        raise DataError(
            f"customer {token} has no profile for {as_of.key}",
            hint="nothing was known about the person before that day",
        )
    profile = one_row(session, f"select * from {PROFILE} where as_of = $1 and customer_token = $2", as_of, token)  # noqa: S608
    inputs = gate_inputs(session, ledger, program, profile, token, as_of)
    segment_rules = {name: rule for running in campaigns for name, rule in running.segment_rules.items()}
    return Explanation(
        as_of=as_of.day,
        customer_token=token,
        facts=raw_facts(session, program, profile, token, as_of),
        features={name: profile[name] for name in sorted({f for running in campaigns for f in running.fields})},
        score=score_of(session, program, profile, inputs, token, as_of),
        segments=segment_parts(session, program, segment_rules, facts, token, as_of),
        campaigns=[_path(session, program, running, facts, inputs, as_of) for running in campaigns],
    )


def asked_campaigns(program: Program, name: str | None, as_of: AsOf) -> list[RunningCampaign]:
    """The named campaign or all that run on the day; an error when it does not exist or does not run."""
    if name is not None and name not in program.campaigns:
        raise ProgramError(f"unknown campaign '{name}' ({did_you_mean(name, program.campaigns)})")
    running = running_campaigns(program, as_of)
    chosen = [each for each in running if name in (None, each.name)]
    if name is not None and not chosen:
        campaign = program.campaigns[name]
        span = f"from {campaign.starts or 'any day'} to {campaign.ends or 'any day'}"
        raise DataError(f"campaign '{name}' does not run on {as_of.key}", hint=f"it runs {span}")
    return chosen


def _all_rules(campaigns: list[RunningCampaign]) -> list[Rule | Value]:
    rules: list[Rule | Value] = []
    for running in campaigns:
        rules += running.parts
        rules += running.segment_rules.values()
        rules += [rule for rule in running.rules.caps.values() if rule is not None]
        rules += running.rules.sunset.values()
        rules += [running.eligible] if running.eligible is not None else []
    return rules


# --- one campaign ----------------------------------------------------------------------------------------------------


def _path(
    session: Session, program: Program, running: RunningCampaign, facts: Facts, inputs: GateInputs, as_of: AsOf
) -> CampaignPath:
    audience = explain(running.audience, facts)
    query = f"select * from {DECISIONS} where as_of = $1 and customer_token = $2 and campaign = '{running.name}'"  # noqa: S608
    recorded = one_row(session, query, as_of, inputs.token)
    title = running.campaign.title
    if not recorded:
        return CampaignPath(
            campaign=running.name,
            title=title,
            outcome=NOT_A_CANDIDATE,
            reason=None,
            reasons=[],
            audience=audience,
            gates=[],
            variant=None,
            variant_words="",
            content_source=None,
            blocks=[],
            offer=None,
            differs=["the audience rule holds now"] if audience.holds else [],
        )
    gates = gate_verdicts(program, running, audience, facts, inputs, as_of)
    lasting = {gate.code for gate in all_gates(program, as_of) if gate.lasting}
    for_long = any(gate.passed is False and gate.gate in lasting for gate in gates)
    gates.append(governor_verdict(program, running, inputs, for_long, as_of))
    gates.append(_arbitration(session, running, recorded, gates, as_of))
    gates.append(quiet_hours_verdict(program, running, inputs))
    sent = recorded["outcome"] == SEND
    variant_words = _variant_words(running, recorded["variant"], facts) if sent else ""
    blocks = [_block(running, name, recorded["variant"], facts) for name in running.blocks] if sent else []
    offers = [_offer(running, facts)] if sent and running.offers else []
    return CampaignPath(
        campaign=running.name,
        title=title,
        outcome=recorded["outcome"],
        reason=recorded["reason"],
        reasons=recorded["reasons"],
        audience=audience,
        gates=gates,
        variant=recorded["variant"],
        variant_words=variant_words,
        content_source=recorded["content_source"],
        blocks=blocks,
        offer=offers[0] if offers else None,
        differs=_differences(running, recorded, gates, [*blocks, *offers], inputs),
    )


def _arbitration(
    session: Session, running: RunningCampaign, recorded: dict[str, Any], gates: list[GateVerdict], as_of: AsOf
) -> GateVerdict:
    if any(gate.passed is False for gate in gates):
        return GateVerdict("arbitration", None, "not reached: an earlier gate stopped the mail")
    mine = _standing(running.campaign.priority, recorded["value"])
    if recorded["reason"].startswith(LOST_TO):
        return GateVerdict("arbitration", False, f"lost to {recorded['reason'].removeprefix(LOST_TO)} (own {mine})")
    rivals = session.rows(
        f"select campaign from {DECISIONS} where as_of = ? and customer_token = ? and reason = ? order by campaign",  # noqa: S608
        [as_of.day, recorded["customer_token"], LOST_TO + running.name],
    )
    won = f"won against {', '.join(row[0] for row in rivals)}" if rivals else "no other campaign competes"
    return GateVerdict("arbitration", True, f"{won} (own {mine})")


def _standing(priority: int, value: float | None) -> str:
    return f"priority {priority}, " + ("no value" if value is None else f"value {value:.2f}")


def _variant_words(running: RunningCampaign, variant: str | None, facts: Facts) -> str:
    experiment, name = running.experiment, running.campaign.experiment
    if experiment is None:
        return "the campaign has no experiment"
    if variant is None:
        rule = f": {explain(running.eligible, facts).words}" if running.eligible is not None else ""
        return f"not eligible for {name}{rule}"
    role = "control, which gets what everybody would get" if variant == experiment.control else "treatment"
    return f"{variant} of {name} version {experiment.version}: {role}"


def _block(running: RunningCampaign, name: str, variant: str | None, facts: Facts) -> Choice:
    block = running.blocks[name]
    if running.experiment is not None and variant == running.experiment.control:
        return Choice(name, block.otherwise.code, "control arm: what everybody would get", [])
    traces: list[Trace] = []
    for branch in block.branches:
        traces.append(explain(running.rules.branches[name, branch.code], facts))
        if traces[-1].holds:
            return Choice(name, branch.code, branch.title or branch.code, traces)
    return Choice(name, block.otherwise.code, f"{block.otherwise.title or 'otherwise'} (no branch holds)", traces)


def _offer(running: RunningCampaign, facts: Facts) -> Choice:
    traces: list[Trace] = []
    for name, offer in running.offers.items():
        rule = running.rules.offers[name]
        if rule is None:
            return Choice("offer", offer.code, f"{offer.title} ({name}, for everyone)", traces)
        traces.append(explain(rule, facts))
        if traces[-1].holds:
            return Choice("offer", offer.code, f"{offer.title} ({name})", traces)
    return Choice("offer", None, "no offer's rule holds", traces)


def _differences(
    running: RunningCampaign,
    recorded: dict[str, Any],
    gates: list[GateVerdict],
    choices: list[Choice],
    inputs: GateInputs,
) -> list[str]:
    """Where computing again gives something else than was recorded: program, data or ledger changed meanwhile."""
    stopped = [gate.gate for gate in gates if gate.passed is False and gate.gate != "arbitration"]
    before = [code for code in recorded["reasons"] if not code.startswith(LOST_TO)]
    found = []
    if stopped != before:
        found.append(f"gates that stop it now: {', '.join(stopped) or 'none'}; recorded: {', '.join(before) or 'none'}")
    experiment = running.experiment
    if experiment is not None and recorded["variant"] is not None:
        arm = arm_of(experiment.salt, experiment.version, experiment.arms, inputs.token, inputs.draws)
        if arm != recorded["variant"]:
            found.append(f"variant now: {arm}; recorded: {recorded['variant']}")
    for choice in choices:
        if choice.code != recorded.get(choice.name):
            found.append(f"{choice.name} now: {choice.code}; recorded: {recorded.get(choice.name)}")
    return found
