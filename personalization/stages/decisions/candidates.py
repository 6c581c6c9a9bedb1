"""Who is a candidate of which campaign, and what they would get: one evaluation of every rule, then one row per pair.

Both results are temporary tables of the session: `_evaluated` with one row per customer, `_candidates` with one row per
customer and campaign whose audience rule holds or can't be decided.
"""

from __future__ import annotations

from collections.abc import Sequence

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.program import Program
from personalization.rules import ProgramRules, evaluation_query
from personalization.rules.compile import CUSTOMER_DAY, MOMENTS
from personalization.stages.decisions.activity import acted_days, activity_values, sunset_rule
from personalization.stages.decisions.assignment import arm_sql, held_out_sql
from personalization.stages.decisions.campaigns import (
    RunningCampaign,
    audience_column,
    block_column,
    branch_column,
    eligible_column,
    named_rules,
    offer_column,
    value_column,
)
from personalization.stages.decisions.fatigue import SENDS, tier_name
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session

PROFILE, MEMBERSHIP = "segments.profile", "segments.membership"
DEMOGRAPHICS = ("age_band", "income_band", "household_size", "marital_status", "home_ownership", "children")
ZONE = "time_zone"
"""The profile's column of customers' time zones, IANA names; there is none where no source gives it."""
CARRIED = ("email_token", "purchase_score", "orders_84d", *DEMOGRAPHICS)


def evaluate(
    session: Session,
    program: Program,
    campaigns: Sequence[RunningCampaign],
    as_of: AsOf,
    *,
    profile: str = PROFILE,
    customer_day: str = CUSTOMER_DAY,
    moments: str = MOMENTS,
    kept: bool = False,
) -> None:
    """Make `_evaluated`: every rule and value that the campaigns need, and the columns that gates look at.

    `kept`: draws in `assignment.KEPT` count.
    """
    rules: ProgramRules = campaigns[0].rules
    zone = [ZONE] if ZONE in columns_of(session, profile) else []
    columns = dict.fromkeys([*CARRIED, *zone, *(field for running in campaigns for field in running.fields)])
    caps = {cap.tier: rules.caps[cap.tier] for cap in program.settings.fatigue.caps}
    sunset, acts = rules.sunset.get("when"), activity_values(program, rules.catalog)
    values = {value_column(running.name): running.value for running in campaigns if running.value is not None}
    query = evaluation_query(
        named_rules(campaigns, caps, sunset),
        as_of,
        values={**values, **acts},
        membership=MEMBERSHIP,
        columns=list(columns),
        profile=profile,
        customer_day=customer_day,
        moments=moments,
    )
    holdout = program.settings.holdout
    session.execute(f"""
        create or replace temp table _evaluated as
        select
            *,
            {tier_name(program.settings.fatigue)} as tier,
            {held_out_sql(holdout.salt, holdout.share, kept=kept)} as held_out,
            {_content_source()} as content_source,
            {acted_days(acts)} as acted_days,
            {sunset_rule(sunset)} as sunset_rule,
            {ZONE if zone else "null::varchar"} as zone
        from ({query})
    """)  # noqa: S608  (rules are rendered by the compiler, names checked by the program's models)


def create_candidates(session: Session, program: Program) -> None:
    """Make an empty `_candidates`, with a column for each block of the program."""
    blocks = "".join(f', "{block_column(block)}" varchar' for block in program.blocks)
    session.execute(f"""
        create or replace temp table _candidates (
            campaign varchar, customer_token varchar, email_token varchar, purpose varchar, consent_required boolean,
            priority integer, value double, undecided boolean, complete boolean, held_out boolean, tier varchar,
            content_source varchar, purchase_score double, experiment varchar, version integer, arm varchar,
            offer varchar, offer_name varchar, win_back boolean, acted_days integer, sunset_rule boolean,
            zone varchar{blocks}
        )
    """)


def collect(session: Session, program: Program, campaigns: Sequence[RunningCampaign], *, kept: bool = False) -> None:
    """Fill `_candidates` from `_evaluated`: what each candidate would get if no gate stopped the mail."""
    for running in campaigns:
        session.execute(_candidate_insert(program, running, kept))


def columns_of(session: Session, table: str) -> set[str]:
    """Names of the columns of a table or view, whatever its schema."""
    return {row[0] for row in session.rows(f"select column_name from (describe {table})")}  # noqa: S608


def require_inputs(session: Session, as_of: AsOf) -> None:
    """Raise `DataError` unless the stages before have made what the decisions read."""
    for table, stage in (
        (IDENTITY, "validation"),
        (SENDS, "normalise"),
        (PROFILE, "segments"),
        (MEMBERSHIP, "segments"),
    ):
        if not session.has_table(table):
            raise DataError(f"the table {table} does not exist", hint=f"run the {stage} stage first")
    if not session.value(f"select count(*) from {PROFILE} where as_of = ?", [as_of.day]):  # noqa: S608
        raise DataError(f"no customer has a profile for {as_of.key}", hint="run the segments stage for that day first")


def _candidate_insert(program: Program, running: RunningCampaign, kept: bool) -> str:
    audience = audience_column(running.name)
    value = f'case when isfinite("{value_column(running.name)}") then "{value_column(running.name)}" end'
    columns = {
        "campaign": f"'{running.name}'",
        "purpose": f"'{running.campaign.purpose}'",
        "consent_required": str(running.consent_required).lower(),
        "priority": str(running.campaign.priority),
        "value": value if running.value is not None else "null",
        "win_back": str(running.campaign.win_back).lower(),
        "undecided": f'not "{audience}__decidable"',
        "complete": _complete(running, program.settings.min_completeness),
        "experiment": f"case when arm is not null then '{running.campaign.experiment}' end",
        "version": f"case when arm is not null then {running.experiment.version if running.experiment else 'null'} end",
        "offer": _first_offer(running, {name: offer.code for name, offer in running.offers.items()}),
        "offer_name": _first_offer(running, {name: name for name in running.offers}),
        **{f'"{block_column(block)}"': _block_code(running, block) for block in program.blocks},
    }
    selected = ", ".join(f"{expression} as {column}" for column, expression in columns.items())
    return f"""
        insert into _candidates by name
        select customer_token, email_token, held_out, tier, content_source, purchase_score, arm, acted_days,
            sunset_rule, zone, {selected}
        from (select *, {_arm(running, kept)} as arm from _evaluated)
        where "{audience}" or not "{audience}__decidable"
    """  # noqa: S608


def _content_source() -> str:
    """What personal content can be chosen by: purchases of the last 84 days, else demographics, else nothing."""
    known = " or ".join(f"{column} is not null" for column in DEMOGRAPHICS)
    return f"case when orders_84d > 0 then 'purchases' when {known} then 'demographics' else 'best_sellers' end"


def _complete(running: RunningCampaign, min_completeness: float) -> str:
    needed = running.fields_needed(min_completeness)
    known = " + ".join(f'("{field}" is not null)::integer' for field in running.fields)
    return f"{known} >= {needed}" if needed else "true"


def _arm(running: RunningCampaign, kept: bool) -> str:
    experiment = running.experiment
    if experiment is None:
        return "null::varchar"
    arm = arm_sql(experiment.salt, experiment.version, experiment.arms, kept=kept)
    if running.eligible is None:
        return arm
    return f'case when "{eligible_column(str(running.campaign.experiment))}" then {arm} end'


def _block_code(running: RunningCampaign, name: str) -> str:
    """The first branch whose rule holds; the control arm of an experiment gets what everybody would get."""
    if name not in running.blocks:
        return "null"
    block = running.blocks[name]
    otherwise = f"'{block.otherwise.code}'"
    cases = "".join(f" when \"{branch_column(name, branch.code)}\" then '{branch.code}'" for branch in block.branches)
    control = f" when arm = '{running.experiment.control}' then {otherwise}" if running.experiment else ""
    return f"case{control}{cases} else {otherwise} end"


def _first_offer(running: RunningCampaign, result: dict[str, str]) -> str:
    """The `result` of the first offer in the campaign's list whose rule holds; NULL when none does."""
    cases = []
    for name, offer in running.offers.items():
        holds = "true" if offer.when is None else f'"{offer_column(name)}"'
        cases.append(f"when {holds} then '{result[name]}'")
    return f"case {' '.join(cases)} end" if cases else "null"
