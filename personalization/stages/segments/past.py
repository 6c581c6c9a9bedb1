"""Who was in a segment on any day of the past, and how it grew and shrank: read from the day files alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from personalization.as_of import AsOf
from personalization.errors import DataError, did_you_mean
from personalization.stages.segments.day_files import DayFiles
from personalization.stages.segments.stays import stays_query
from personalization.warehouse import Session


@dataclass(frozen=True)
class PastMembers:
    """A segment as it stood on a day.

    Attributes
    ----------
    as_of, evaluated_on : date
        The day asked for, and the last day up to it on which the segment was evaluated: its members stood until then.
    state : str
        `evaluated`, or `incomplete`: then the members are those of an earlier day.
    rule_version : str
        Of the rule that chose them.
    size, held : int
        Members, and people about whom the rule could not be decided and whom the segment holds aside.
    tokens, held_tokens : tuple of str
        The first of each, in order of token, as many as were asked for.
    """

    segment: str
    as_of: date
    evaluated_on: date
    state: str
    rule_version: str
    size: int
    held: int
    tokens: tuple[str, ...]
    held_tokens: tuple[str, ...]


@dataclass(frozen=True)
class DayOfSegment:
    """A segment on one day on which it was evaluated; `entered` and `exited` count against the day before of those."""

    day: date
    state: str
    rule_version: str
    size: int
    held: int
    entered: int
    exited: int


@dataclass(frozen=True)
class StayInSegment:
    """`exited_on` is the first evaluated day no longer a member; `rule_version` is the rule the stay began with."""

    segment: str
    entered_on: date
    exited_on: date | None
    rule_version: str


def members_at(session: Session, history: Path, segment: str, as_of: AsOf, limit: int | None = None) -> PastMembers:
    """The members of a segment as they stood on a day. Days after it are not looked at.

    Parameters
    ----------
    history : Path
        The workspace's history folder.
    limit : int, optional
        How many tokens to read at most; default: all.

    Raises
    ------
    DataError
        The segment was not evaluated up to that day.
    """
    earlier = DayFiles(history).relation(before=as_of.shift(1))
    found = session.rows(
        f"select as_of, state, rule_version from {earlier}"  # noqa: S608  (paths of ours)
        " where customer_token is null and segment = ? order by as_of desc limit 1",
        [segment],
    )
    if not found:
        names = [name for (name,) in session.rows(f"select distinct segment from {earlier} order by segment")]  # noqa: S608
        guess = f" ({did_you_mean(segment, names)})" if names else ""
        raise DataError(
            f"segment '{segment}' was not evaluated on {as_of.key} or before{guess}",
            hint="membership is known from the first run of the segments stage on",
        )
    day, state, version = found[0]
    file = DayFiles(history).relation(only=AsOf(day, as_of.timezone))
    sizes = dict(
        session.rows(
            f"select status, count(*) from {file} where segment = ? and customer_token is not null group by status",  # noqa: S608
            [segment],
        )
    )

    def tokens(status: str) -> tuple[str, ...]:
        rows = session.rows(
            f"select customer_token from {file} where segment = ? and status = ? order by customer_token"  # noqa: S608
            + ("" if limit is None else f" limit {int(limit)}"),
            [segment, status],
        )
        return tuple(token for (token,) in rows)

    size, held = int(sizes.get("in", 0)), int(sizes.get("held", 0))
    return PastMembers(segment, as_of.day, day, state, version, size, held, tokens("in"), tokens("held"))


def days_of(session: Session, history: Path, segment: str) -> list[DayOfSegment]:
    """Each day on which a segment was evaluated, oldest first. Empty when it never was."""
    rows = session.rows(
        f"""
        with days as (
            select * from {DayFiles(history).relation()} where segment = $1
        ),
        evaluated as (
            select as_of, state, rule_version
            from days where customer_token is null
        ),
        counted as (
            select
                as_of,
                count(*) filter (where status = 'in') as size,
                count(*) filter (where status = 'held') as held
            from days where customer_token is not null group by as_of
        ),
        stays as (
            select entered_on, exited_on from ({stays_query(DayFiles(history))}) where segment = $1
        )
        select
            e.as_of, e.state, e.rule_version, coalesce(c.size, 0), coalesce(c.held, 0),
            (select count(*) from stays where entered_on = e.as_of),
            (select count(*) from stays where exited_on = e.as_of)
        from evaluated as e left join counted as c using (as_of)
        order by e.as_of
        """,  # noqa: S608
        [segment],
    )
    return [DayOfSegment(*row) for row in rows]


def stays_of(session: Session, history: Path, customer_token: str, segment: str | None = None) -> list[StayInSegment]:
    """A customer's stays in one segment or in all, oldest first."""
    rows = session.rows(
        f"""
        select segment, entered_on, exited_on, rule_version from ({stays_query(DayFiles(history))})
        where customer_token = $1 and ($2 is null or segment = $2) order by entered_on, segment
        """,  # noqa: S608
        [customer_token, segment],
    )
    return [StayInSegment(*row) for row in rows]
