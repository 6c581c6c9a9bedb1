"""How recently and how often each customer was mailed, across all campaigns: the numbers behind the fatigue gates.

Two records say who was mailed: what platforms report (`sent` events) and what we released to them (the send ledger). A
release counts until a report stands for it, so that no mailing counts twice and none is missed; see
docs/decisions/0010-send-ledger.md. A send counts on its business day. A customer may be mailed when the last send is
*more than* `min_gap_days` ago, and when the sends of the tier's last `days` days leave room for one more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.program.models import Fatigue, FrequencyCap
from personalization.stages.decisions.campaigns import tier_column
from personalization.warehouse import Session

SENDS = "marts.email_events"
MAILINGS, OWN, SPENT, WON_BACK, REPORTS = "_mailings", "_own_release", "_spent", "_won_back", "_reports"
GOVERNOR_MEMORY = 90
"""Days before the day from which on the governor's state is worked out anew, day by day."""
TIERS = "decisions.tiers"
EVENTS_SCHEMA = pa.schema([("customer_token", pa.string()), ("event_day", pa.date32()), ("campaign", pa.string())])


def horizon_days(program: Program) -> int:
    """How many days back a mailing can matter for the gates."""
    settings = program.settings
    longest = [settings.fatigue.min_gap_days, *windows(settings.fatigue, choice_days(program))]
    if settings.sunset:
        # whoever was left alone has had no mail since; twice the time keeps the last one in sight
        longest += [2 * settings.sunset.inactive_days, settings.sunset.win_back.days]
    if settings.governor:
        longest.append(settings.governor.days + GOVERNOR_MEMORY)
    return max(longest)


def choice_days(program: Program) -> list[int]:
    """Lengths of the windows of what people can choose themselves (`frequency` of consent.yaml)."""
    return sorted({choice.days for choice in program.frequency.values() if choice.days is not None})


def sends_query(fatigue: Fatigue, as_of: AsOf, sends: str = SENDS, *, also: Iterable[int] = ()) -> str:
    """One row per customer ever mailed before `as_of`.

    Columns: `customer_token`, `first_send` and `last_send` DATE, `days_since_send`, and for each window of the caps
    (and of `also`, in days) `sends_<days>d`, the sends in [as_of − days, as_of).
    """
    return f"""
        select customer_token, {_numbers(fatigue, also)}
        from {sends}, (select date '{as_of.key}' as day)
        where event = 'sent' and event_day < day
        group by customer_token
    """  # noqa: S608  (names and numbers of ours)


def own_sends_query(fatigue: Fatigue, as_of: AsOf, *, also: Iterable[int] = ()) -> str:
    """`sends_query` for the customers who are in the audience of a campaign, as that campaign sees it.

    Columns: `customer_token`, `campaign`, and those of `sends_query`, without the release to the campaign itself: it is
    the very mailing that is decided about.
    """
    return f"""
        select o.customer_token, o.campaign, {_numbers(fatigue, also)}
        from {OWN} o
        left join {MAILINGS} m
            on m.customer_token = o.customer_token
            and (m.campaign, m.version) is distinct from (o.campaign, o.version)
        cross join (select date '{as_of.key}' as day)
        group by o.customer_token, o.campaign
    """  # noqa: S608


def columns_of_sends(fatigue: Fatigue, also: Iterable[int] = ()) -> list[str]:
    """The columns of `sends_query` after the customer."""
    return ["first_send", "last_send", "days_since_send", *(sends_column(days) for days in windows(fatigue, also))]


def _numbers(fatigue: Fatigue, also: Iterable[int]) -> str:
    counts = "".join(
        f", coalesce(sum(events) filter (event_day >= day - {days}), 0)::bigint as {sends_column(days)}"
        for days in windows(fatigue, also)
    )
    last = "max(event_day) as last_send, any_value(day) - max(event_day) as days_since_send"
    return f"min(event_day) as first_send, {last}{counts}"


def windows(fatigue: Fatigue, also: Iterable[int] = ()) -> list[int]:
    """Lengths of all windows in which sends are counted, in days."""
    return sorted({*also, *(days for cap in fatigue.caps for _, days in cap.windows)})


@contextmanager
def mailings(session: Session, program: Program, releases: pa.Table, as_of: AsOf, sends: str = SENDS) -> Iterator[None]:
    """While the block runs, four temporary tables of what counts on a day.

    `_mailings`: `customer_token`, `event` (always sent), `event_day`, `events`; `campaign` and `version` of a release
    that no report stands for. `_own_release`: `customer_token`, `campaign`, `version` of those who are in the audience
    of the campaign's present version and were not reported as mailed. `_spent`: `customer_token`, `campaign` of those
    who had the campaign's present version and left its audience: it is never mailed to them again. `_won_back`:
    `customer_token`, `campaign`, `win_backs`, how many win-back mails beside the campaign's own were released to those
    who had any within the sunset's `win_back.days`. Where there is a governor also `_reports`: `named_events`.

    Parameters
    ----------
    releases : pyarrow.Table
        `Sends.releases` before the day.
    sends : str
        Where reported mailings are.
    """
    versions = pa.table(
        {
            "campaign": pa.array(program.campaigns.keys(), pa.string()),
            "version": pa.array([str(campaign.version) for campaign in program.campaigns.values()], pa.string()),
        }
    )
    since = as_of.shift(-horizon_days(program)).day
    reported = named_events(session, program, since=since, before=as_of.day, sends=sends)
    with session.registered(_releases=releases, _versions=versions, _reported=reported):
        session.execute(f"create or replace temp table _released as {_RELEASED}")
        session.execute(f"create or replace temp table _open_named as {_unreported('_released', named=True)}")
        session.execute(f"create or replace temp table _unreported as {_unreported('_open_named', named=False)}")
        session.execute(f"""
            create or replace temp table {MAILINGS} as
            select customer_token, 'sent' as event, event_day, events, null as campaign, null as version
            from {sends} where event = 'sent' and event_day < date '{as_of.key}'
            union all
            select customer_token, 'sent', event_day, 1, campaign, version from _unreported
        """)  # noqa: S608
        session.execute(f"""
            create or replace temp table {OWN} as
            select distinct customer_token, campaign, version
            from _unreported semi join _versions using (campaign, version)
            where not ended
        """)  # noqa: S608
        session.execute(f"""
            create or replace temp table {SPENT} as
            select distinct customer_token, campaign from _released semi join _versions using (campaign, version)
            where ended
        """)  # noqa: S608
        if program.settings.governor:
            session.execute(f"create or replace temp table {REPORTS} as from _reported")
        session.execute(f"create or replace temp table {WON_BACK} as {_won_back(program, as_of)}")
    try:
        yield
    finally:
        for table in (MAILINGS, OWN, SPENT, WON_BACK, REPORTS, "_released", "_open_named", "_unreported"):
            session.execute(f"drop table if exists {table}")


def _won_back(program: Program, as_of: AsOf) -> str:
    sunset = program.settings.sunset
    names = [name for name, campaign in program.campaigns.items() if campaign.win_back]
    if sunset is None or not names:
        return "select null::varchar as customer_token, null::varchar as campaign, 0 as win_backs limit 0"
    listed = ", ".join(f"'{name}'" for name in names)
    return f"""
        select r.customer_token, v.campaign, count(*) as win_backs
        from _released r join _versions v on v.campaign in ({listed})
        where r.campaign in ({listed}) and r.event_day >= date '{as_of.key}' - {sunset.win_back.days}
            and (r.ended or (r.campaign, r.version) <> (v.campaign, v.version))
        group by all
    """  # noqa: S608  (names are checked by the program's models)


def named_events(
    session: Session,
    program: Program,
    *,
    since: date,
    before: date | None = None,
    sends: str = SENDS,
    event: str = "sent",
) -> pa.Table:
    """Reported mailings of the days in [since, before), one row each: `customer_token`, `event_day`, `campaign`.

    `event` asks for other events than mailings.

    `campaign` is the campaign of the program that the report names, by its name or title in any case; else NULL.
    """
    names = {name.lower(): name for name in program.campaigns}
    names |= {campaign.title.lower(): name for name, campaign in program.campaigns.items()}
    named = pa.table({"label": pa.array(names.keys(), pa.string()), "campaign": pa.array(names.values(), pa.string())})
    columns = _columns(session, "marts.campaign_history")
    title = "h.title" if "title" in columns else "null"
    history = "left join marts.campaign_history h using (campaign_id)" if columns else ""
    with session.registered(_named=named):
        return session.arrow(
            f"""
            select e.customer_token, e.event_day, coalesce(i.campaign, t.campaign) as campaign
            from {sends} e {history}
            left join _named i on i.label = lower(e.campaign_id)
            left join _named t on t.label = lower({title if columns else "null"}),
            unnest(range(e.events)) as each_one(n)
            where e.event = ? and e.event_day >= ? and (?::date is null or e.event_day < ?)
            """,  # noqa: S608
            [event, since, before, before],
        ).cast(EVENTS_SCHEMA)


def _columns(session: Session, table: str) -> set[str]:
    if not session.has_table(table):
        return set()
    return {row[0] for row in session.rows(f"select column_name from (describe {table})")}  # noqa: S608


# a release belongs to the person whom the customer token, else the address, belongs to now
_RELEASED = """
    select
        row_number() over () as id,
        coalesce(c.customer_token, a.customer_token, r.customer_token) as customer_token,
        r.campaign, r.version, r.day::date as event_day, r.ended_day is not null as ended
    from _releases r
    left join landed.identity c on c.identifier_token = r.customer_token
    left join landed.identity a on a.identifier_token = r.address_token
"""


def _unreported(releases: str, *, named: bool) -> str:
    """Releases that no report stands for: `frequency.unreported` for everybody at once.

    Releases and reports are like brackets: each report closes the latest open release before it. A release stays
    open when afterwards there are never fewer open ones than with it.
    """
    same = "customer_token, campaign" if named else "customer_token"
    return f"""
        with steps as (
            select customer_token, campaign, event_day, 0 as kind, id from {releases}
            union all
            select customer_token, campaign, event_day, 1, null
            from _reported where campaign is {"not " if named else ""}null
        ),
        ordered as (
            select *, row_number() over (partition by {same} order by event_day, kind, campaign, id) as n from steps
        ),
        summed as (
            select *, sum(1 - 2 * kind) over (partition by {same} order by n) as total from ordered
        ),
        open as (
            select *, total - least(0, min(total) over (partition by {same} order by n)) as height from summed
        ),
        closed as (
            select id, min(height) over (
                partition by {same} order by n rows between 1 following and unbounded following
            ) < height as is_closed
            from open
        )
        select r.* from {releases} r join closed c using (id) where c.is_closed is distinct from true
    """  # noqa: S608


def sends_column(days: int) -> str:
    return f"sends_{days}d"


def by_tier(caps: Iterable[FrequencyCap], result: dict[str, str], *, otherwise: str = "null") -> str:
    """A CASE over the tiers in the order written: the first whose rule holds gives its `result`, else `otherwise`."""
    cases = []
    for cap in caps:
        if cap.when is None:
            otherwise = result[cap.tier]
            break
        cases.append(f'when "{tier_column(cap.tier)}" then {result[cap.tier]}')
    return f"case {' '.join(cases)} else {otherwise} end" if cases else otherwise


def tier_name(fatigue: Fatigue) -> str:
    """Expression for the customer's engagement tier; NULL when none fits, and then no cap applies."""
    return by_tier(fatigue.caps, {cap.tier: f"'{cap.tier}'" for cap in fatigue.caps}, otherwise="null::varchar")


def gap_too_small(fatigue: Fatigue) -> str:
    """Condition over a left-joined `sends_query`: a customer never mailed has no gap to keep."""
    return f"coalesce(days_since_send <= {fatigue.min_gap_days}, false)"


def cap_reached(fatigue: Fatigue) -> str:
    """Condition over a left-joined `sends_query` and the column `tier`."""
    cases = " ".join(f"when '{cap.tier}' then {_any_reached(cap.windows)}" for cap in fatigue.caps)
    return f"case tier {cases} else false end" if cases else "false"


def _any_reached(limits: Iterable[tuple[int, int]]) -> str:
    return " or ".join(f"coalesce({sends_column(days)}, 0) >= {sends}" for sends, days in limits)


def choice_reached(program: Program) -> str:
    """Condition over a left-joined `sends_query` and the column `own_frequency`, a choice of consent.yaml."""
    cases = " ".join(
        f"when '{name}' then {_any_reached([(choice.sends, choice.days)])}"
        for name, choice in program.frequency.items()
        if choice.sends is not None and choice.days is not None
    )
    return f"case own_frequency {cases} else false end" if cases else "false"
