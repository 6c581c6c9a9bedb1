"""The queries of a decision: gates, governor, arbitration, and the rows that are kept. `decide` runs them in order."""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions import governed
from personalization.stages.decisions.activity import is_asleep
from personalization.stages.decisions.campaigns import block_column
from personalization.stages.decisions.fatigue import (
    MAILINGS,
    SPENT,
    WON_BACK,
    choice_days,
    columns_of_sends,
    own_sends_query,
    sends_query,
)
from personalization.stages.decisions.gates import GOVERNED, LOST_TO, SEND, gates
from personalization.warehouse import Session


def gated_query(program: Program, as_of: AsOf) -> str:
    """Candidates with the codes of the gates that stop them, before the governor and arbitration."""
    fatigue, also = program.settings.fatigue, choice_days(program)
    passed = gates(program, as_of)
    codes = ", ".join(f"case when {gate.stops} then '{gate.code}' end" for gate in passed)
    lasting = " or ".join(f"({gate.stops})" for gate in passed if gate.lasting)
    sends = ", ".join(
        f"case when o.customer_token is null then f.{name} else o.{name} end as {name}"
        for name in columns_of_sends(fatigue, also)
    )
    return f"""
        with facts as (
            select
                c.*, s.customer_token is not null as suppressed, g.state, g.state_day, w.win_backs, h.own_frequency,
                x.customer_token is not null as mailed_already, {sends}
            from _candidates c
            left join _consents g using (customer_token, purpose)
            left join _suppressed s on s.customer_token = c.customer_token
            left join _choices h on h.customer_token = c.customer_token
            left join {SPENT} x on x.customer_token = c.customer_token and x.campaign = c.campaign
            left join {WON_BACK} w on w.customer_token = c.customer_token and w.campaign = c.campaign
            left join ({sends_query(fatigue, as_of, MAILINGS, also=also)}) f on f.customer_token = c.customer_token
            left join ({own_sends_query(fatigue, as_of, also=also)}) o
                on o.customer_token = c.customer_token and o.campaign = c.campaign
        )
        select
            *,
            list_filter([{codes}], lambda code: code is not null) as gated_by,
            coalesce({lasting}, false) as stopped_for_long,
            {is_asleep(program.settings.sunset, as_of.key)} as asleep
        from facts
    """  # noqa: S608


def judged_query(session: Session, as_of: AsOf) -> str:
    """`_gated` with the governor's code among the others, and the winner of each customer's arbitration.

    Only candidates whom nothing stops compete: first the smaller priority, then the larger value, then the name.
    """
    governor = f"left join (from {governed.GOVERNOR} where as_of = date '{as_of.key}') v on v.campaign = c.campaign"
    left_out = governed.left_out("v")
    if not session.has_table(governed.GOVERNOR):
        governor, left_out = "", "false"
    return f"""
        with governed as (
            select
                c.*,
                case when not stopped_for_long and {left_out} then list_append(gated_by, '{GOVERNED}')
                    else gated_by end as stopped_by
            from _gated c {governor}
        )
        select
            *,
            case when len(stopped_by) = 0 then first_value(campaign) over (
                partition by customer_token, len(stopped_by) = 0
                order by priority, value desc nulls last, campaign
            ) end as winner
        from governed
    """  # noqa: S608


def decisions_query(program: Program, as_of: AsOf) -> str:
    """Nothing is chosen for a withheld customer: variant, offer and codes stay NULL, so counts are of sends."""
    chosen = "".join(
        f', case when reason = \'{SEND}\' then "{block_column(block)}" end as "{block}"' for block in program.blocks
    )
    return f"""
        with reasoned as (
            select
                *,
                case when winner <> campaign then ['{LOST_TO}' || winner] else stopped_by end as reasons,
                coalesce(reasons[1], '{SEND}') as reason
            from _judged
        )
        select
            date '{as_of.key}' as as_of,
            campaign,
            customer_token,
            email_token,
            case when reason = '{SEND}' then '{SEND}' else 'withheld' end as outcome,
            reason,
            reasons,
            case when reason = '{SEND}' then arm end as variant,
            case when reason = '{SEND}' then offer end as offer,
            case when reason = '{SEND}' then offer_name end as offer_name,
            content_source,
            purchase_score,
            value
            {chosen}
        from reasoned
    """  # noqa: S608


def tiers_query(as_of: AsOf) -> str:
    """What the last look before a mail leaves needs again of everybody who is mailed: tier, sunset, time zone."""
    return f"""
        select
            date '{as_of.key}' as as_of, customer_token, any_value(tier) as tier, any_value(asleep) as asleep,
            any_value(zone) as zone
        from _judged where campaign = winner group by customer_token
    """  # noqa: S608
