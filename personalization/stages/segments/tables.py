"""Membership, summary and history as tables, made from the day files alone.

So they are the same in whichever order days were run or run again, and after the warehouse file was deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from personalization.as_of import AsOf
from personalization.stages.segments.day_files import DayFiles
from personalization.warehouse import Session

MEMBERSHIP, SUMMARY, HISTORY = "segments.membership", "segments.summary", "segments.history"


@dataclass(frozen=True)
class SegmentSummary:
    """One segment on one day. `state` is ok, incomplete (members are those of an earlier day) or empty.

    `entered` and `exited` count against the day before on which the segment was evaluated.
    """

    segment: str
    title: str
    size: int
    held: int
    candidates: int
    share: float
    completeness: float
    state: str
    entered: int
    exited: int
    rule_version: str


def write_tables(session: Session, files: DayFiles, as_of: AsOf) -> dict[str, SegmentSummary]:
    """Replace the day in membership and summary, and the whole history. Returns the day's summary by segment."""
    session.replace_day(
        MEMBERSHIP,
        as_of,
        f"""
        select as_of, segment, customer_token, status from {files.relation(only=as_of)}
        where customer_token is not null
        """,  # noqa: S608  (paths of ours)
    )
    session.replace_day(SUMMARY, as_of, _summary_query(files, as_of))
    session.replace_table(HISTORY, f"{_history_query(files)} order by all")
    return read_summaries(session, as_of)


def write_touched_tables(session: Session, files: DayFiles, as_of: AsOf, touched: str) -> None:
    """`write_tables` for the customers of a table `touched` only; sizes are counted again for all."""
    session.replace_rows(
        MEMBERSHIP,
        f"as_of = date '{as_of.key}' and customer_token in (from {touched})",
        f"""
        select as_of, segment, customer_token, status from {files.relation(only=as_of)}
        where customer_token in (from {touched})
        """,  # noqa: S608  (paths of ours)
    )
    session.replace_day(SUMMARY, as_of, _summary_query(files, as_of))
    session.replace_rows(HISTORY, f"customer_token in (from {touched})", _history_query(files, touched))


def read_summaries(session: Session, as_of: AsOf) -> dict[str, SegmentSummary]:
    """The day's summary by segment, as it was written last."""
    rows = session.rows(f"select * exclude (as_of) from {SUMMARY} where as_of = ?", [as_of.day])  # noqa: S608
    return {row[0]: SegmentSummary(*row) for row in rows}


def _summary_query(files: DayFiles, as_of: AsOf) -> str:
    today, earlier = files.relation(only=as_of), files.relation(before=as_of)
    return f"""
    with evaluated as (
        select * from {today} where customer_token is null
    ),
    previous as (
        select segment, max(as_of) as as_of from {earlier} where customer_token is null group by segment
    ),
    members_before as (
        select d.segment, d.customer_token
        from {earlier} as d inner join previous as p using (segment, as_of)
        where d.status = 'in'
    ),
    members_now as (
        select segment, customer_token from {today} where status = 'in'
    ),
    held as (
        select segment, count(*) as held from {today} where status = 'held' group by segment
    ),
    moves as (
        select
            segment,
            count(n.segment) as size,
            count(*) filter (where b.segment is null) as entered,
            count(*) filter (where n.segment is null) as exited
        from members_now as n full join members_before as b using (segment, customer_token)
        group by segment
    )
    select
        e.as_of,
        e.segment,
        e.title,
        coalesce(m.size, 0) as size,
        coalesce(h.held, 0) as held,
        e.candidates,
        coalesce(m.size, 0)::double / e.candidates as share,
        e.completeness,
        case
            when e.state = 'incomplete' then 'incomplete'
            when coalesce(m.size, 0) = 0 then 'empty'
            else 'ok'
        end as state,
        coalesce(m.entered, 0) as entered,
        coalesce(m.exited, 0) as exited,
        e.rule_version
    from evaluated as e
    left join moves as m using (segment)
    left join held as h using (segment)
    """  # noqa: S608


def _history_query(files: DayFiles, among: str | None = None) -> str:
    """One row per unbroken stay: from the first day as a member to the first evaluated day no longer one.

    Days count per segment and only when it was evaluated, so a day that was never run breaks no stay.
    """
    whom = f"where customer_token is null or customer_token in (from {among})" if among else ""
    return f"""
    with days as (
        select * from {files.relation()} {whom}
    ),
    evaluated as (
        select segment, as_of, rule_version, row_number() over (partition by segment order by as_of) as turn
        from days where customer_token is null
    ),
    memberships as (
        select
            segment, d.customer_token, as_of, e.rule_version, e.turn,
            e.turn - row_number() over (partition by segment, d.customer_token order by as_of) as stay
        from days as d inner join evaluated as e using (segment, as_of)
        where d.status = 'in'
    ),
    stays as (
        select
            segment,
            customer_token,
            min(as_of) as entered_on,
            max(turn) as last_turn,
            arg_min(rule_version, as_of) as rule_version
        from memberships
        group by segment, customer_token, stay
    )
    select s.segment, s.customer_token, s.entered_on, e.as_of as exited_on, s.rule_version
    from stays as s
    left join evaluated as e on e.segment = s.segment and e.turn = s.last_turn + 1
    """  # noqa: S608
