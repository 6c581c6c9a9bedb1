"""Who was assigned to which arm, and what became of them: counts per arm, read from the warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.decide import DECISIONS
from personalization.stages.experiments.analysis import Arm
from personalization.warehouse import Session

ASSIGNMENTS = "experiments.assignments"
OUTCOME_DAYS = 28  # of the metric purchase_28d; conversions are watched for equally long
BEFORE_HOLDOUT = ("audience_unknown", "no_consent", "suppressed", "no_address")


@dataclass(frozen=True)
class Outcomes:
    """Counts of one comparison.

    Attributes
    ----------
    assigned : dict of str to int
        Customers per arm, whether or not their outcome is known.
    closed : list of Arm
        Customers whose outcome window has closed, and how many of them converted.
    reached : int
        Assigned customers with an acknowledged send of one of the campaigns since their assignment.
    first_closes : date or None
        When the first outcome window closes.
    """

    assigned: dict[str, int]
    closed: list[Arm]
    reached: int
    first_closes: date | None


def record_assignments(session: Session, program: Program, as_of: AsOf) -> int:
    """Replace the day's rows of `experiments.assignments`: everyone who is sent a variant of an experiment."""
    campaigns = [(name, c.experiment) for name, c in sorted(program.campaigns.items()) if c.experiment is not None]
    table = pa.table(
        {
            "campaign": pa.array([name for name, _ in campaigns], pa.string()),
            "experiment": pa.array([experiment for _, experiment in campaigns], pa.string()),
            "version": pa.array([program.experiments[e].version for _, e in campaigns], pa.int32()),
        }
    )
    with session.registered(_campaigns=table):
        return session.replace_day(
            ASSIGNMENTS,
            as_of,
            f"""
            select distinct as_of, experiment, version, customer_token, variant as arm
            from {DECISIONS}
            join _campaigns using (campaign)
            where as_of = date '{as_of.key}' and outcome = 'send' and variant is not null
            """,  # noqa: S608
        )


def experiment_outcomes(session: Session, program: Program, name: str, as_of: AsOf) -> Outcomes:
    """Outcomes of one experiment's current version. A customer counts from the first assignment on."""
    experiment = program.experiments[name]
    campaigns = [campaign for campaign, c in program.campaigns.items() if c.experiment == name]
    session.execute(
        f"""
        create or replace temp table _assigned as
        select customer_token, min(as_of) as day, arg_min(arm, as_of) as arm
        from {ASSIGNMENTS}
        where experiment = ? and version = ? and as_of <= ?
        group by customer_token
        """,  # noqa: S608
        [name, experiment.version, as_of.day],
    )
    return _outcomes(session, list(experiment.arms), campaigns, experiment.metric, as_of)


def holdout_outcomes(session: Session, program: Program, as_of: AsOf) -> Outcomes:
    """The global holdout against everyone else who reached its gate, whatever later gates did to them."""
    session.execute(
        f"""
        create or replace temp table _assigned as
        select
            customer_token,
            min(as_of) as day,
            case when arg_min(list_contains(reasons, 'holdout'), as_of) then 'holdout' else 'campaigns' end as arm
        from {DECISIONS}
        where as_of <= ? and not list_has_any(reasons, ?)
        group by customer_token
        """,  # noqa: S608
        [as_of.day, list(BEFORE_HOLDOUT)],
    )
    return _outcomes(session, ["holdout", "campaigns"], list(program.campaigns), "purchase_28d", as_of)


def _outcomes(session: Session, arms: Sequence[str], campaigns: Sequence[str], metric: str, as_of: AsOf) -> Outcomes:
    """Count `_assigned` per arm: in all, with a closed window, converted in it, reached by a send."""
    rows = session.rows(
        """
        with record as (
            select least($as_of, max(event_day) + 1) as ends
            from marts.customer_day
            where event = 'purchase' and event_day < $as_of
        ),
        events as (
            select customer_token, event_day
            from marts.customer_day
            where event_day < $as_of and case
                when $metric = 'conversion' then event = 'conversion' and list_contains($campaigns, campaign_id)
                else event = 'purchase' and department = ''
            end
        ),
        sends as (
            select customer_token, event_day
            from marts.email_events
            where event = 'sent' and event_day < $as_of and list_contains($campaigns, campaign_id)
        )
        select
            arm,
            count(*),
            count(*) filter (day + $days <= ends),
            count(*) filter (
                day + $days <= ends and exists (
                    from events e
                    where e.customer_token = a.customer_token and e.event_day >= a.day and e.event_day < a.day + $days
                )
            ),
            count(*) filter (
                exists (from sends s where s.customer_token = a.customer_token and s.event_day >= a.day)
            ),
            min(day) + $days
        from _assigned a, record
        group by arm
        """,
        {"as_of": as_of.day, "metric": metric, "campaigns": list(campaigns), "days": OUTCOME_DAYS},
    )
    session.execute("drop table _assigned")
    found = {row[0]: row[1:] for row in rows}
    nothing = (0, 0, 0, 0, None)
    return Outcomes(
        assigned={arm: found.get(arm, nothing)[0] for arm in arms},
        closed=[Arm(arm, found.get(arm, nothing)[1], found.get(arm, nothing)[2]) for arm in arms],
        reached=sum(row[3] for row in found.values()),
        first_closes=min((row[4] for row in found.values()), default=None),
    )
