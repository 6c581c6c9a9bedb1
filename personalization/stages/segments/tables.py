"""Membership, summary and history as tables, made from the day files alone.

So they are the same in whichever order days were run or run again, and after the warehouse file was deleted. Only what
changed in the files since is read: `segments.evaluations` says from which files, and from which evaluations in them,
the tables were made.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from personalization.as_of import AsOf
from personalization.stages.segments.day_files import DayFiles, quoted_list
from personalization.stages.segments.evaluations import EVALUATIONS, MARKER, changes_of, note_evaluations
from personalization.stages.segments.stays import HISTORY, rebuild_stays, update_stays
from personalization.warehouse import Session

MEMBERSHIP, SUMMARY = "segments.membership", "segments.summary"


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
    """Bring membership, summary and history up to the day files. Returns the day's summary by segment.

    Membership and summary of other days stay as they are; the history follows all files.
    """
    with session.transaction():
        _make_tables(session, files)
        changes = changes_of(session, files, as_of)
        note_evaluations(session, files)
        if changes.whole or changes.segments:
            _replace_membership(session, files, as_of, None if changes.whole else changes.segments)
            if changes.whole:
                rebuild_stays(session, files)
            else:
                update_stays(session, files, as_of, changes)
        # an earlier day may be another one now, and so may be who came since
        if changes.whole or changes.segments or changes.new_day or session.note(SUMMARY) != as_of.key:
            _summarise(session, as_of)
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
    note_evaluations(session, files)
    rebuild_stays(session, files, among=touched)
    _summarise(session, as_of)


def read_summaries(session: Session, as_of: AsOf) -> dict[str, SegmentSummary]:
    """The day's summary by segment, as it was written last."""
    rows = session.rows(f"select * exclude (as_of) from {SUMMARY} where as_of = ?", [as_of.day])  # noqa: S608
    return {row[0]: SegmentSummary(*row) for row in rows}


def _make_tables(session: Session, files: DayFiles) -> None:
    if all(session.has_table(table) for table in (MEMBERSHIP, HISTORY, EVALUATIONS)):
        return
    rows = files.rows_of([])
    session.replace_table(EVALUATIONS, f"select {MARKER} from {rows}")  # noqa: S608
    session.replace_table(MEMBERSHIP, f"select as_of, segment, customer_token, status from {rows}")  # noqa: S608
    session.replace_table(
        HISTORY,
        f"select segment, customer_token, as_of as entered_on, as_of as exited_on, rule_version from {rows}",  # noqa: S608
    )


def _replace_membership(session: Session, files: DayFiles, as_of: AsOf, segments: Collection[str] | None) -> None:
    """Take the day's rows over as the file has them, in its order; of some segments, or of all for None."""
    whose = "true" if segments is None else f"segment in ({quoted_list(segments)})"
    session.execute(f"delete from {MEMBERSHIP} where as_of = date '{as_of.key}' and {whose}")  # noqa: S608
    session.execute(
        f"""
        insert into {MEMBERSHIP}
        select as_of, segment, customer_token, status from {files.relation(only=as_of)}
        where customer_token is not null and {whose}
        """  # noqa: S608  (paths of ours)
    )


def _summarise(session: Session, as_of: AsOf) -> None:
    session.replace_day(SUMMARY, as_of, _summary_query(as_of))
    session.set_note(SUMMARY, as_of.key)


def _summary_query(as_of: AsOf) -> str:
    """Sizes from the membership of the day, moves from the history: who came or went on this day."""
    day = f"date '{as_of.key}'"
    return f"""
    with sizes as (
        select
            segment,
            count(*) filter (where status = 'in') as size,
            count(*) filter (where status = 'held') as held
        from {MEMBERSHIP}
        where as_of = {day}
        group by segment
    ),
    moves as (
        select
            segment,
            count(*) filter (where entered_on = {day}) as entered,
            count(*) filter (where exited_on = {day}) as exited
        from {HISTORY}
        where entered_on = {day} or exited_on = {day}
        group by segment
    )
    select
        e.as_of,
        e.segment,
        e.title,
        coalesce(s.size, 0) as size,
        coalesce(s.held, 0) as held,
        e.candidates,
        coalesce(s.size, 0)::double / e.candidates as share,
        e.completeness,
        case
            when e.state = 'incomplete' then 'incomplete'
            when coalesce(s.size, 0) = 0 then 'empty'
            else 'ok'
        end as state,
        coalesce(m.entered, 0) as entered,
        coalesce(m.exited, 0) as exited,
        e.rule_version
    from {EVALUATIONS} as e
    left join sizes as s using (segment)
    left join moves as m using (segment)
    where e.as_of = {day}
    """  # noqa: S608
