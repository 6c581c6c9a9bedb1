"""The governor at work: what was sent and what came back, from warehouse and ledger; and who is kept on a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.assignment import draw_sql
from personalization.stages.decisions.fatigue import GOVERNOR_MEMORY, REPORTS, SENDS, named_events
from personalization.stages.decisions.governor import (
    COMPLAINT,
    FREE,
    UNSUBSCRIBE,
    Reacted,
    Record,
    Sent,
    State,
    kept,
    state_on,
)
from personalization.warehouse import Session

GOVERNOR = "decisions.governor"
SALT = "governor"
NEVER = 1_000_000
"""Stands for the days since the last act of somebody who never did anything."""
ENGAGEMENT = f"coalesce(acted_days, {NEVER})"
DRAW = draw_sql(SALT)

SCHEMA = pa.schema(
    [
        ("as_of", pa.date32()),
        ("campaign", pa.string()),
        ("state", pa.string()),
        ("share", pa.float64()),
        ("since", pa.date32()),
        ("verdict", pa.string()),
        ("sends", pa.int64()),
        ("complaints", pa.int64()),
        ("unsubscribes", pa.int64()),
        ("complaint_rate", pa.float64()),
        ("complaint_low", pa.float64()),
        ("unsubscribe_rate", pa.float64()),
        ("unsubscribe_low", pa.float64()),
        ("kept_share", pa.float64()),
        ("people", pa.int64()),
        ("kept", pa.int64()),
        ("last_days", pa.int64()),
        ("last_draw", pa.uint64()),
    ]
)
"""One row a running campaign, and one without a campaign for all together.

`share` is that of the row's own state, `kept_share` the smaller of it and that of all. Of the `people` who could be
mailed at all, `kept` are mailed: those whose last act is not longer ago than `last_days`, and of those at `last_days`
the ones with a draw up to `last_draw`.
"""


def states(
    session: Session, program: Program, consents: pa.Table, campaigns: Iterable[str], as_of: AsOf, sends: str = SENDS
) -> dict[str | None, State]:
    """The state of each campaign and, under None, of all together; empty without a governor.

    To be called within `fatigue.mailings`.
    """
    governor = program.settings.governor
    if governor is None:
        return {}
    records = read_records(session, program, consents, as_of, sends)
    first = as_of.shift(-GOVERNOR_MEMORY).day
    empty = Record([], [])
    scopes: list[str | None] = [None, *campaigns]
    return {scope: state_on(governor, records.get(scope, empty), first, as_of.day) for scope in scopes}


def read_records(
    session: Session, program: Program, consents: pa.Table, as_of: AsOf, sends: str = SENDS
) -> dict[str | None, Record]:
    """What was sent in the days that the governor remembers, and what came back before the day.

    A send is a reported mailing, or a release that no report stands for. A complaint, an unsubscribe or a withdrawal of
    consent belongs to the last mailing of the person up to its day, of the campaign that it names or else of any. A
    send counts once, however often somebody reacts to it.
    """
    governor = program.settings.governor
    assert governor is not None
    since = as_of.day - timedelta(days=GOVERNOR_MEMORY + governor.days)
    events = {
        kind: named_events(session, program, since=since, before=as_of.day, sends=sends, event=kind)
        for kind in (COMPLAINT, UNSUBSCRIBE)
    }
    with session.registered(_withdrawn=consents, _complained=events[COMPLAINT], _unsubscribed=events[UNSUBSCRIBE]):
        session.execute(f"""
            create or replace temp table _sent as
            select customer_token, event_day as day, campaign, count(*) as sends
            from (
                select customer_token, event_day, campaign from {REPORTS} where event_day >= date '{since}'
                union all
                select customer_token, event_day, campaign from _unreported where event_day >= date '{since}'
            )
            group by all
        """)  # noqa: S608  (days of ours)
        session.execute(_REACTED.format(since=since, day=as_of.key))
        sent = session.rows("select campaign, day, sum(sends)::bigint from _sent group by all order by all")
        reacted = session.rows("select campaign, day, kind, first_on, count(*) from _reacted group by all order by all")
        session.execute("drop table _sent")
        session.execute("drop table _reacted")
    collected: defaultdict[str | None, Record] = defaultdict(lambda: Record([], []))
    for campaign, day, number in sent:
        for scope in {campaign, None}:
            collected[scope].sent.append(Sent(day, number))  # type: ignore[attr-defined]
    for campaign, day, kind, on, number in reacted:
        for scope in {campaign, None}:
            collected[scope].reacted.append(Reacted(day, kind, on, number))  # type: ignore[attr-defined]
    return dict(collected)


_REACTED = """
    create or replace temp table _reacted as
    with reactions as (
        select customer_token, event_day as on_day, campaign, 'complained' as kind from _complained
        union
        select customer_token, event_day, campaign, 'unsubscribed' from _unsubscribed
        union
        select customer_token, state_day, null, 'unsubscribed' from _withdrawn
        where state = 'withdrawn' and state_day >= date '{since}' and state_day < date '{day}'
    ),
    of_campaign as (
        select r.kind, r.on_day, s.customer_token, s.day, s.campaign
        from (from reactions where campaign is not null) r
        asof join (select distinct customer_token, campaign, day from _sent where campaign is not null) s
            on r.customer_token = s.customer_token and r.campaign = s.campaign and r.on_day >= s.day
    ),
    of_any as (
        select r.kind, r.on_day, s.customer_token, s.day, s.campaign
        from (from reactions where campaign is null) r
        asof join (select customer_token, day, min(campaign) as campaign from _sent group by all) s
            on r.customer_token = s.customer_token and r.on_day >= s.day
    )
    select customer_token, day, campaign, kind, min(on_day) as first_on
    from (from of_campaign union all from of_any)
    group by all
"""


@dataclass(frozen=True)
class Cutoff:
    """Who is kept of a campaign: up to which days since the last act, and of those up to which draw."""

    people: int
    kept: int
    last_days: int
    last_draw: int


def write(session: Session, as_of: AsOf, found: dict[str | None, State], *, candidates: str, program: Program) -> None:
    """Replace the day's rows of `decisions.governor`; none without a governor, and no table where there never was one.

    `candidates` is a query of `campaign`, `customer_token`, `acted_days` of those who could be mailed at all.
    """
    if not found and not session.has_table(GOVERNOR):
        return
    everybody = found[None].share if found else 1.0
    shares = {name: min(state.share, everybody) for name, state in found.items() if name is not None}
    cutoffs = _cutoffs(session, shares, candidates)
    table = pa.Table.from_pylist([_row(program, as_of, name, found, cutoffs) for name in found], schema=SCHEMA)
    with session.registered(_governor=table):
        session.replace_day(GOVERNOR, as_of, "from _governor")


def _cutoffs(session: Session, shares: dict[str, float], candidates: str) -> dict[str, Cutoff]:
    lowered = {name: share for name, share in shares.items() if share < 1}
    if not lowered:
        return {}
    counted = dict(session.rows(f"select campaign, count(*) from ({candidates}) group by campaign"))  # noqa: S608
    cutoffs = {}
    for name, share in lowered.items():
        people = counted.get(name, 0)
        number = kept(share, people)
        last = session.rows(
            f"select {ENGAGEMENT} as days, {DRAW} as drawn from ({candidates}) where campaign = ?"  # noqa: S608
            " order by days, drawn limit 1 offset ?",
            [name, max(number - 1, 0)],
        )
        days, drawn = last[0] if number and last else (-1, 0)
        cutoffs[name] = Cutoff(people, number, days, drawn)
    return cutoffs


def _row(
    program: Program, as_of: AsOf, name: str | None, found: dict[str | None, State], cutoffs: dict[str, Cutoff]
) -> dict[str, object]:
    state, governor = found[name], program.settings.governor
    assert governor is not None
    reading, cutoff = state.reading, cutoffs.get(name) if name else None
    return {
        "as_of": as_of.day,
        "campaign": name,
        "state": state.name,
        "share": state.share,
        "since": state.since,
        "verdict": state.verdict,
        "sends": reading.sends,
        "complaints": reading.complaints,
        "unsubscribes": reading.unsubscribes,
        "complaint_rate": reading.rate(COMPLAINT),
        "complaint_low": reading.low(COMPLAINT, governor.confidence),
        "unsubscribe_rate": reading.rate(UNSUBSCRIBE),
        "unsubscribe_low": reading.low(UNSUBSCRIBE, governor.confidence),
        "kept_share": min(state.share, found[None].share),
        "people": cutoff.people if cutoff else None,
        "kept": cutoff.kept if cutoff else None,
        "last_days": cutoff.last_days if cutoff else None,
        "last_draw": cutoff.last_draw if cutoff else None,
    }


def left_out(governor: str) -> str:
    """Condition over a candidate and a left-joined `decisions.governor` row `governor`: not among the kept."""
    days, drawn = f"{governor}.last_days", f"{governor}.last_draw"
    beyond = f"{ENGAGEMENT} > {days} or ({ENGAGEMENT} = {days} and {DRAW} > {drawn})"
    return f"coalesce({beyond}, false)"


def alarms(session: Session, as_of: AsOf) -> list[str]:
    """What the governor holds down on a day, in words; empty when nothing."""
    if not session.has_table(GOVERNOR):
        return []
    rows = session.rows(
        f"""
        select campaign, state, share, since, sends, complaints, unsubscribes, complaint_rate, unsubscribe_rate
        from {GOVERNOR} where as_of = ? and state <> '{FREE}' order by campaign nulls first
        """,  # noqa: S608
        [as_of.day],
    )
    return [
        f"{campaign or 'all campaigns'}: {state}, {share:.0%} of the people are kept since {since} "
        f"(last {sends:,} sends: {complaints:,} complaints, {complaint_rate:.2%}; {unsubscribes:,} unsubscribes, "
        f"{unsubscribe_rate:.2%})"
        for campaign, state, share, since, sends, complaints, unsubscribes, complaint_rate, unsubscribe_rate in rows
    ]
