"""Looks for wrong decisions by another way than the one they were made: from the ledger's events, not its folds.

Each function returns findings in words, without direct identifiers; an empty list means that all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.assignment import is_held_out
from personalization.stages.decisions.decide import DECISIONS, SUMMARY
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger


def repeated_decisions(session: Session, as_of: AsOf) -> list[str]:
    """Customers with more than one decision about one campaign."""
    rows = session.rows(
        f"""
        select campaign, customer_token, count(*)
        from {DECISIONS}
        where as_of = ?
        group by all
        having count(*) > 1
        order by all
        """,  # noqa: S608
        [as_of.day],
    )
    return [f"{campaign}: {token} has {number} decisions" for campaign, token, number in rows]


def open_totals(session: Session, as_of: AsOf) -> list[str]:
    """Campaigns whose summary does not add up to their decisions, and decisions without the reasons they need."""
    totals = session.rows(
        f"""
        with decided as (select campaign, count(*) as rows_ from {DECISIONS} where as_of = $1 group by all),
        summed as (select campaign, sum(customers)::bigint as customers from {SUMMARY} where as_of = $1 group by all)
        select campaign, coalesce(rows_, 0), coalesce(customers, 0)
        from decided
        full join summed using (campaign)
        where rows_ is distinct from customers
        order by campaign
        """,  # noqa: S608
        [as_of.day],
    )
    unreasoned = session.rows(
        f"""
        select campaign, count(*)
        from {DECISIONS}
        where as_of = ? and (outcome = 'send') <> (len(reasons) = 0 and reason = 'send')
        group by all
        order by campaign
        """,  # noqa: S608
        [as_of.day],
    )
    return [
        *(f"{campaign}: {rows} decisions, the summary counts {total}" for campaign, rows, total in totals),
        *(f"{campaign}: {number} decisions whose outcome and reasons disagree" for campaign, number in unreasoned),
    ]


def wrong_sends(session: Session, ledger: Ledger, program: Program, as_of: AsOf) -> list[str]:
    """Sends to people without consent or address, suppressed, held out, or chosen by two campaigns on one day."""
    sends = session.arrow(
        f"""
        select campaign, customer_token, email_token
        from {DECISIONS}
        where as_of = ? and outcome = 'send'
        order by all
        """,  # noqa: S608
        [as_of.day],
    )
    findings: list[str] = []
    with session.registered(_sends=sends):
        session.execute(f"""
            create or replace temp table _identifiers as
            select distinct s.customer_token, i.identifier_token
            from _sends s
            join {IDENTITY} i using (customer_token)
            union
            select customer_token, customer_token from _sends
            union
            select customer_token, email_token from _sends where email_token is not null
        """)  # noqa: S608
        for name in sorted(set(sends["campaign"].to_pylist())):
            findings += _without_consent(session, ledger, program, name, as_of)
        findings += _suppressed(session, ledger)
        twice = "select customer_token, count(*) from _sends group by all having count(*) > 1 order by all"
        findings += [f"{token} is sent {number} campaigns on one day" for token, number in session.rows(twice)]
        session.execute("drop table _identifiers")
    for row in sends.to_pylist():
        if row["email_token"] is None:
            findings.append(f"{row['campaign']}: {row['customer_token']} is sent without an address")
    holdout = program.settings.holdout
    draws: dict[str, dict[str, int]] = {}
    for row in ledger.kept.draws().to_pylist():
        draws.setdefault(row["customer_token"], {})[row["salt"]] = row["draw"]
    held = {
        token
        for token in sends["customer_token"].to_pylist()
        if is_held_out(holdout.salt, holdout.share, token, draws.get(token, {}))
    }
    return findings + [f"{token} belongs to the holdout and is sent" for token in sorted(held)]


def _without_consent(session: Session, ledger: Ledger, program: Program, campaign: str, as_of: AsOf) -> list[str]:
    """Nobody may be left whose last opt-out is not older than the last grant; where consent is needed, a grant."""
    from personalization.ledger.consent_fold import read_events
    from personalization.ledger.schema import to_micros

    purpose = program.campaigns[campaign].purpose
    required = program.purposes[purpose].lawful_basis == "consent"
    with ledger.read() as connection:
        events = read_events(connection, purpose, effective_before=to_micros(as_of.instant))
    with session.registered(_events=events):
        rows = session.rows(
            """
            select s.customer_token
            from _sends s
            join _identifiers i using (customer_token)
            left join _events e on e.subject_token = i.identifier_token
            where s.campaign = $campaign
            group by s.customer_token
            having
                ($required and count(*) filter (e.state = 'granted') = 0)
                or max(e.effective_at) filter (e.state = 'withdrawn')
                    >= coalesce(max(e.effective_at) filter (e.state = 'granted'), timestamptz '1900-01-01')
            order by s.customer_token
            """,
            {"campaign": campaign, "required": required},
        )
    return [f"{campaign}: {token} is sent without consent to {purpose}" for (token,) in rows]


def _suppressed(session: Session, ledger: Ledger) -> list[str]:
    listed: pa.Table = ledger.suppressions.snapshot()
    with session.registered(_listed=listed):
        rows = session.rows("""
            select distinct customer_token
            from _identifiers
            join _listed using (identifier_token)
            order by customer_token
        """)
    return [f"{token} is suppressed and is sent" for (token,) in rows]
