"""One decision with reasons for every candidate of every running campaign, set based and in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.errors import DataError, ProgramError
from personalization.ledger.news import Position, position
from personalization.ledger.sends import RELEASES
from personalization.program import Program
from personalization.stages.decisions import governed
from personalization.stages.decisions.assignment import KEPT
from personalization.stages.decisions.campaigns import RunningCampaign, running_campaigns
from personalization.stages.decisions.candidates import collect, create_candidates, evaluate, require_inputs
from personalization.stages.decisions.fatigue import SENDS, TIERS, horizon_days, mailings
from personalization.stages.decisions.gates import SEND
from personalization.stages.decisions.judged import decisions_query, gated_query, judged_query, tiers_query
from personalization.stages.decisions.permission import Permissions, read_permissions
from personalization.stages.decisions.protocol import fix_protocols
from personalization.stages.validation.applied import DECIDED, LANDED, Applied, read_applied, write_applied
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger

DECISIONS, SUMMARY = "decisions.decisions", "decisions.summary"
COLUMNS = (
    "as_of",
    "campaign",
    "customer_token",
    "email_token",
    "outcome",
    "reason",
    "reasons",
    "variant",
    "offer",
    "offer_name",
    "content_source",
    "purchase_score",
    "value",
)


@dataclass(frozen=True)
class Decided:
    """What was decided for a day: customers per campaign, outcome and reason."""

    campaigns: list[str]
    rows: int
    summary: list[tuple[str, str, str, int]]

    @property
    def sends(self) -> int:
        return sum(customers for _, outcome, _, customers in self.summary if outcome == SEND)

    def markdown(self) -> str:
        """The summary as a table."""
        head = ["| campaign | outcome | reason | customers |", "|---|---|---|---:|"]
        return "\n".join([*head, *(f"| {c} | {o} | {r} | {n} |" for c, o, r, n in self.summary)])


def decide_day(session: Session, ledger: Ledger, program: Program, as_of: AsOf) -> Decided:
    """Decide for every candidate of the day, and replace the day's rows of `decisions.decisions` and `.summary`.

    The protocols of all experiments in use are fixed in the ledger first.

    Raises
    ------
    DataError
        An earlier stage has not run for this day, or the decisions do not add up to the candidates.
    LedgerError
        Consent or suppressions can't be read, or a protocol was changed without a new version.
    ProgramError
        A rule is wrong, or a block bears the name of a column of the decisions.
    """
    check_names(program)
    require_inputs(session, as_of)
    campaigns = running_campaigns(program, as_of)
    fix_protocols(ledger, campaigns, as_of)
    with ledger.read() as connection:
        seen = position(connection)  # before the snapshots: what comes in between is looked at again, not missed
    permissions = read_permissions(ledger, session, (running.campaign.purpose for running in campaigns), as_of)
    releases = read_releases(ledger, program, campaigns, as_of)
    with session.transaction():
        decided = decide(session, program, campaigns, permissions, as_of, releases)
        mark_decided(session, program, seen)
    return decided


def read_releases(
    ledger: Ledger,
    program: Program,
    campaigns: Sequence[RunningCampaign],
    as_of: AsOf,
    tokens: Sequence[str] | None = None,
) -> pa.Table:
    """What was released before the day and may count now; `tokens`: only to people with one of these identifiers."""
    since = as_of.shift(-horizon_days(program)).day
    names = [running.name for running in campaigns]
    return ledger.sends.releases(as_of.day, since=since, campaigns=names, tokens=tokens)


def mark_decided(session: Session, program: Program, seen: Position) -> None:
    """Note what the decisions know of: the webhook events that the tables know of, and what the ledger had learnt."""
    landed = read_applied(session, LANDED) or Applied()
    mark = replace(landed, suppressions=seen.suppressions, consents=seen.consents, program=program.hash)
    write_applied(session, DECIDED, mark)


def decide(
    session: Session,
    program: Program,
    campaigns: Sequence[RunningCampaign],
    permissions: Permissions,
    as_of: AsOf,
    releases: pa.Table = RELEASES.empty_table(),
    *,
    among: str | None = None,
    sends: str = SENDS,
    **tables: str,
) -> Decided:
    """`decide_day` with the ledger's part given: it reads and writes only the warehouse.

    Parameters
    ----------
    among : str, optional
        A table of the column `customer_token`: replace the decisions about these customers only.
    sends : str
        Where reported mailings are.
    **tables
        Where `evaluate` reads the `profile`, `customer_day` and `moments`, when these hold some customers only.
    """
    create_candidates(session, program)
    if campaigns:
        kept = permissions.draws.num_rows > 0
        with session.registered(**{KEPT: permissions.draws}):
            evaluate(session, program, campaigns, as_of, kept=kept, **tables)
            collect(session, program, campaigns, kept=kept)
    with (
        session.registered(
            _consents=permissions.consents, _suppressed=permissions.suppressed, _choices=permissions.choices
        ),
        mailings(session, program, releases, as_of, sends),
    ):
        session.execute(f"create or replace temp table _gated as {gated_query(program, as_of)}")
        if among is None:  # its state is that of the whole day: single customers are judged by it as it is
            names = [running.name for running in campaigns]
            found = governed.states(session, program, permissions.consents, names, as_of, sends)
            governed.write(session, as_of, found, candidates="from _gated where not stopped_for_long", program=program)
    session.execute(f"create or replace temp table _judged as {judged_query(session, as_of)}")
    _check_totals(session, as_of)
    if among is None:
        rows = session.replace_day(DECISIONS, as_of, decisions_query(program, as_of))
        session.replace_day(TIERS, as_of, tiers_query(as_of))
    else:
        whose = f"as_of = date '{as_of.key}' and customer_token in (from {among})"
        rows = session.replace_rows(DECISIONS, whose, decisions_query(program, as_of))
        session.replace_rows(TIERS, whose, tiers_query(as_of))
    session.replace_day(
        SUMMARY,
        as_of,
        f"""
        select as_of, campaign, outcome, reason, count(*) as customers
        from {DECISIONS}
        where as_of = date '{as_of.key}'
        group by all
        """,  # noqa: S608
    )
    summary = session.rows(
        f"select campaign, outcome, reason, customers from {SUMMARY} where as_of = ? order by all",  # noqa: S608
        [as_of.day],
    )
    for table in ("_evaluated", "_candidates", "_gated", "_judged"):
        session.execute(f"drop table if exists {table}")
    return Decided([running.name for running in campaigns], rows, summary)


def check_names(program: Program) -> None:
    """Raise `ProgramError` for blocks and fatigue tiers that the decisions could not tell apart by name."""
    problems = [
        ProgramError(
            f"a block can't be called '{name}': the decisions have a column of that name",
            at=program.position("content", ("blocks", name)),
            hint=f"call it '{name}_block', for instance",
        )
        for name in program.blocks
        if name in COLUMNS
    ]
    tiers = [cap.tier for cap in program.settings.fatigue.caps]
    problems += [
        ProgramError(
            f"tier '{tier}' is written twice",
            at=program.position("program", ("fatigue", "caps", index, "tier")),
            hint="give each cap a tier of its own; the first whose rule holds applies",
        )
        for index, tier in enumerate(tiers)
        if tier in tiers[:index]
    ]
    if problems:
        raise ProgramError(f"{len(problems)} problems in {program.root}", problems=problems)


def _check_totals(session: Session, as_of: AsOf) -> None:
    """Every candidate gets exactly one decision. Raises `DataError` with the campaigns for which that is not so."""
    differing = session.rows("""
        with candidates as (select campaign, count(distinct customer_token) as customers from _candidates group by all),
        judged as (select campaign, count(*) as decisions from _judged group by all)
        select campaign, coalesce(customers, 0), coalesce(decisions, 0)
        from candidates
        full join judged using (campaign)
        where customers is distinct from decisions
        order by campaign
    """)
    if differing:
        found = "; ".join(f"{name}: {decisions} for {customers} candidates" for name, customers, decisions in differing)
        raise DataError(
            f"the decisions for {as_of.key} do not add up ({found})",
            hint="a customer occurs twice in segments.profile, landed.identity or the consent snapshot",
        )
