"""The tables of a simulation: from one day to the next, and what people's answers add to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.rules import evaluation_query, program_rules
from personalization.rules.compile import CUSTOMER_DAY
from personalization.stages.decisions.campaigns import named_rules
from personalization.stages.decisions.candidates import MEMBERSHIP, PROFILE, columns_of
from personalization.stages.decisions.fatigue import SENDS, tier_name
from personalization.stages.decisions.permission import read_permissions
from personalization.warehouse import Session
from personalization.what_if.days_record import Act, Mail

if TYPE_CHECKING:
    from personalization.ledger import Ledger

_BEHAVIOUR = {
    "sent": "mailing",
    "opened": "open",
    "clicked": "click",
    "converted": "conversion",
    "unsubscribed": "unsubscribe",
    "complained": "complaint",
}

# fields of the profile that follow from what happens in a simulation; all others stay as on its first day
_FOLLOWING = {
    "recency_days": "date $day - b.last_purchase",
    "orders_7d": "b.orders_7d",
    "orders_28d": "b.orders_28d",
    "orders_84d": "b.orders_84d",
    "mailings_28d": "coalesce(m.mailings_28d, 0)",
    "mailings_84d": "coalesce(m.mailings_84d, 0)",
    "mailings_total": "coalesce(m.mailings, 0)",
    "last_mailing_days": "date $day - m.last_mailing",
    "conversions_84d": "coalesce(m.conversions_84d, 0)",
    "conversions_total": "coalesce(m.conversions, 0)",
    "last_conversion_days": "date $day - m.last_conversion",
}


def past(
    session: Session, ledger: Ledger, program: Program, start: AsOf
) -> tuple[list[Mail], list[Act], dict[str, tuple[int, int]]]:
    """What is known when a simulation begins: mails before it, acts before it and purchases in it, people's choices."""
    mails = session.rows(
        f"select customer_token, event_day from {SENDS} where event = 'sent' and event_day < ?",  # noqa: S608
        [start.day],
    )
    acts = session.rows(
        f"""
        select customer_token, event_day from {CUSTOMER_DAY}
        where event = 'purchase' or (event in ('open', 'click', 'conversion') and event_day < ?)
        """,  # noqa: S608
        [start.day],
    )
    purposes = {campaign.purpose for campaign in program.campaigns.values()}
    known = read_permissions(ledger, session, purposes, start)
    agreed = [
        (row["customer_token"], row["state_day"]) for row in known.consents.to_pylist() if row["state"] == "granted"
    ]
    caps = {
        name: (choice.sends, choice.days)
        for name, choice in program.frequency.items()
        if choice.sends is not None and choice.days is not None
    }
    chosen = known.choices.to_pylist()
    return (
        [Mail(token, day) for token, day in mails],
        [Act(token, day) for token, day in (*acts, *agreed)],
        {row["customer_token"]: caps[row["own_frequency"]] for row in chosen if row["own_frequency"] in caps},
    )


def begin(session: Session, start: AsOf, days: int) -> int:
    """Let purchases of as many days before happen again. Returns the number of people."""
    session.execute(
        f"""
        insert into {CUSTOMER_DAY}
        select * replace (event_day + {int(days)} as event_day)
        from {CUSTOMER_DAY}
        where event = 'purchase' and event_day < date '{start.key}' and event_day >= date '{start.key}' - {int(days)}
        """  # noqa: S608
    )
    session.execute(f"create or replace temp table _first_profile as from {PROFILE} where as_of = date '{start.key}'")
    return int(session.value("select count(*) from _first_profile"))


def next_day(session: Session, program: Program, as_of: AsOf) -> None:
    """Make profile and segment memberships of a day, from those of the first and what happened since."""
    day = f"'{as_of.key}'"
    columns = columns_of(session, "_first_profile")
    follow = ", ".join(
        f"{expression.replace('$day', day)} as {name}" for name, expression in _FOLLOWING.items() if name in columns
    )
    session.execute(f"delete from {PROFILE} where as_of <= date {day}")  # noqa: S608
    session.execute(
        f"""
        insert into {PROFILE}
        with m as (
            select
                customer_token,
                sum(events) filter (event = 'sent') as mailings,
                sum(events) filter (event = 'sent' and event_day >= date {day} - 28) as mailings_28d,
                sum(events) filter (event = 'sent' and event_day >= date {day} - 84) as mailings_84d,
                max(event_day) filter (event = 'sent') as last_mailing,
                sum(events) filter (event = 'converted') as conversions,
                sum(events) filter (event = 'converted' and event_day >= date {day} - 84) as conversions_84d,
                max(event_day) filter (event = 'converted') as last_conversion
            from {SENDS} where event_day < date {day} group by customer_token
        ),
        b as (
            select
                customer_token,
                max(event_day) as last_purchase,
                coalesce(sum(events) filter (event_day >= date {day} - 7), 0) as orders_7d,
                coalesce(sum(events) filter (event_day >= date {day} - 28), 0) as orders_28d,
                coalesce(sum(events) filter (event_day >= date {day} - 84), 0) as orders_84d
            from {CUSTOMER_DAY}
            where event = 'purchase' and coalesce(department, '') = '' and event_day < date {day}
            group by customer_token
        )
        select f.* replace (date {day} as as_of{", " if follow else ""}{follow})
        from _first_profile f left join m using (customer_token) left join b using (customer_token)
        """  # noqa: S608
    )
    _memberships(session, program, as_of)


def _memberships(session: Session, program: Program, as_of: AsOf) -> None:
    session.execute(f"delete from {MEMBERSHIP} where as_of <= date '{as_of.key}'")  # noqa: S608
    rules = program_rules(program).segments
    if not rules:
        return
    session.execute(f"create or replace temp table _outcome as {evaluation_query(rules, as_of, segments=rules)}")
    parts = []
    for name, rule in rules.items():
        held = f' or not "{name}__decidable"' if rule.unknown == "hold" else ""
        parts.append(
            f"select date '{as_of.key}' as as_of, '{name}' as segment, customer_token,"  # noqa: S608
            f" case when \"{name}\" then 'in' else 'held' end as status from _outcome where \"{name}\"{held}"
        )
    session.execute(f"insert into {MEMBERSHIP} by name {' union all '.join(parts)}")


def tier_sizes(session: Session, program: Program, as_of: AsOf) -> dict[str, int]:
    """How many people each tier has on a day."""
    rules = program_rules(program).caps
    named = named_rules([], rules)
    if not named:
        query = f"select customer_token from {PROFILE} where as_of = date '{as_of.key}'"  # noqa: S608
    else:
        query = evaluation_query(named, as_of, membership=MEMBERSHIP)
    tier = f"coalesce({tier_name(program.settings.fatigue)}, 'no tier')"
    return dict(session.rows(f"select {tier} as tier, count(*) from ({query}) group by tier"))  # noqa: S608


def add_answers(session: Session, as_of: AsOf, events: Sequence[tuple[str, str, str]]) -> None:
    """Add events (customer, campaign, event) of a day to what platforms reported, and to the customers' days."""
    if not events:
        return
    table = pa.table(
        {
            "customer_token": pa.array([token for token, _, _ in events], pa.string()),
            "campaign_id": pa.array([campaign for _, campaign, _ in events], pa.string()),
            "event": pa.array([event for _, _, event in events], pa.string()),
            "behaviour": pa.array([_BEHAVIOUR[event] for _, _, event in events], pa.string()),
        }
    )
    noon = (as_of.instant.replace(tzinfo=None)).isoformat(sep=" ")
    day = f"date '{as_of.key}' as event_day, 1 as events"
    with session.registered(_answers=table):
        session.execute(
            f"""
            insert into {SENDS} by name
            select customer_token, campaign_id, event, timestamp '{noon}' + interval 12 hours as occurred_at, {day}
            from _answers
            """  # noqa: S608
        )
        session.execute(
            f"""
            insert into {CUSTOMER_DAY} by name
            select customer_token, campaign_id, behaviour as event, '' as department, {day} from _answers
            """  # noqa: S608
        )
