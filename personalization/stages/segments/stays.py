"""`segments.history`: one row per unbroken stay of a customer in a segment, from the day files alone.

A stay lasts from the first day as a member to the first evaluated day no longer one. Days count per segment and only
when it was evaluated, so a day that was never run breaks no stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from personalization.as_of import AsOf
from personalization.rules import Rule
from personalization.stages.segments.day_files import DayFiles, quoted_list
from personalization.stages.segments.evaluations import EVALUATIONS, Changes
from personalization.warehouse import Session

HISTORY = "segments.history"
_MEMBERSHIP = "segments.membership"
_KNOWN = "_known_stays"
_ORDER = "segment, customer_token, entered_on"


def rebuild_stays(
    session: Session, files: DayFiles, *, segments: Collection[str] | None = None, among: str | None = None
) -> None:
    """Make the history anew from all day files: of some segments, or among the customers of a table; default: all."""
    if segments is not None:
        whose = f"segment in ({quoted_list(segments)})"
        session.replace_rows(HISTORY, whose, stays_query(files, whose), order=_ORDER)
    elif among is not None:
        whose = f"customer_token in (from {among})"
        session.replace_rows(HISTORY, whose, stays_query(files, f"(customer_token is null or {whose})"), order=_ORDER)
    else:
        session.replace_table(HISTORY, f"{stays_query(files, 'true')} order by {_ORDER}")


def update_stays(session: Session, files: DayFiles, as_of: AsOf, changes: Changes) -> None:
    """Follow changes of one day, after membership and `segments.evaluations` did.

    Where the day is the last on which a segment was evaluated, what the day said before is taken back, and its present
    members are compared with the open stays: no other day is looked at. Segments that were also evaluated on a later
    day are made anew from all files.
    """
    day = f"date '{as_of.key}'"
    later = {
        name
        for (name,) in session.rows(f"select distinct segment from {EVALUATIONS} where as_of > {day}")  # noqa: S608
    }
    if between := changes.segments & later:
        rebuild_stays(session, files, segments=between)
    if last := changes.segments - later:
        segments = f"segment in ({quoted_list(last)})"
        if not changes.new_day:
            session.execute(f"delete from {HISTORY} where {segments} and entered_on = {day}")  # noqa: S608
            session.execute(f"update {HISTORY} set exited_on = null where {segments} and exited_on = {day}")  # noqa: S608
        _add_day(session, day, segments)


def _add_day(session: Session, day: str, segments: str) -> None:
    members = f"{_MEMBERSHIP} as m where m.as_of = {day} and m.status = 'in'"
    same = "m.segment = h.segment and m.customer_token = h.customer_token"
    session.execute(
        f"""
        update {HISTORY} as h set exited_on = {day}
        where {segments} and exited_on is null
            and segment in (select segment from {EVALUATIONS} where as_of = {day})
            and not exists (from {members} and {same})
        """  # noqa: S608
    )
    session.execute(
        f"""
        insert into {HISTORY}
        select m.segment, m.customer_token, {day}, null, e.rule_version
        from {_MEMBERSHIP} as m inner join {EVALUATIONS} as e using (as_of, segment)
        where m.as_of = {day} and m.status = 'in' and m.{segments}
            and not exists (from {HISTORY} as h where h.exited_on is null and {same})
        order by all
        """  # noqa: S608
    )


def read_stays(session: Session, files: DayFiles, as_of: AsOf, rules: Iterable[Rule], among: str | None = None) -> str:
    """Make a table of the stays as they were known before `as_of`, as far as rules ask for earlier memberships.

    Parameters
    ----------
    among : str, optional
        Table of the customers to read, in place of all.

    Returns
    -------
    str
        Its name, for `evaluation_query`.
    """
    if asked := {node.name for rule in rules for node in rule.earlier_segments}:
        whose = f"segment in ({quoted_list(asked)})"
        if among is not None:
            whose += f" and (customer_token is null or customer_token in (from {among}))"
        session.execute(f"create or replace temp table {_KNOWN} as {stays_query(files, whose, before=as_of)}")
    return _KNOWN


def stays_query(files: DayFiles, condition: str = "true", *, before: AsOf | None = None) -> str:
    """SQL for the stays, of the rows that meet a condition, in all day files or those before a day."""
    return f"""
    with days as (
        select * from {files.relation(before=before)} where {condition}
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
