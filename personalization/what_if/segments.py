"""Who would enter and leave the segments when their rules change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.program import Program
from personalization.rules import ProgramRules, evaluation_query, program_rules
from personalization.stages.segments.profile import PROFILE
from personalization.warehouse import Session

_EXAMPLES = 5


@dataclass(frozen=True)
class SegmentDifference:
    """One segment under two programs, on the same day's data.

    Attributes
    ----------
    before, after : str or None
        The rules; None where the segment does not exist.
    size_before, size_after, enter, leave : int
        Members, and how many of them only one of the rules selects.
    entering, leaving : list of str
        Tokens of up to five of them.
    """

    segment: str
    before: str | None
    after: str | None
    size_before: int
    size_after: int
    enter: int
    leave: int
    entering: list[str]
    leaving: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_segments(session: Session, old: Program, new: Program, as_of: AsOf) -> list[SegmentDifference]:
    """Every segment whose rule or members differ, in the order of the new program; removed ones at the end.

    Rules are evaluated afresh on the day's profile for both programs, so that a difference is the rules' and not the
    data's. A segment that refers to a changed one can differ without having been changed itself.

    Raises
    ------
    ProgramError
        A rule of one of the programs is wrong.
    DataError
        No customer has a profile for the day.
    """
    if not session.has_table(PROFILE) or not session.value(
        f"select count(*) from {PROFILE} where as_of = ?",  # noqa: S608
        [as_of.day],
    ):
        raise DataError(f"no customer has a profile for {as_of.key}", hint="run the segments stage for that day first")
    _evaluate(session, program_rules(old), as_of, "_old")
    _evaluate(session, program_rules(new), as_of, "_new")
    names = [*new.segments, *(name for name in old.segments if name not in new.segments)]
    found = [_difference(session, old, new, name) for name in names]
    for table in ("_old", "_new"):
        session.execute(f"drop table {table}")
    return [each for each in found if each.before != each.after or each.enter or each.leave]


def _evaluate(session: Session, rules: ProgramRules, as_of: AsOf, table: str) -> None:
    if rules.segments:
        query = evaluation_query(rules.segments, as_of, segments=rules.segments, profile=PROFILE)
    else:
        query = f"select customer_token from {PROFILE} where as_of = date '{as_of.key}'"  # noqa: S608
    session.execute(f"create or replace temp table {table} as {query}")


def _difference(session: Session, old: Program, new: Program, name: str) -> SegmentDifference:
    before = f'o."{name}"' if name in old.segments else "false"
    after = f'n."{name}"' if name in new.segments else "false"
    size_before, size_after, enter, leave = session.rows(f"""
        select count(*) filter ({before}), count(*) filter ({after}),
            count(*) filter ({after} and not {before}), count(*) filter ({before} and not {after})
        from _old o join _new n using (customer_token)
    """)[0]  # noqa: S608  (names are checked by the program's models)
    return SegmentDifference(
        name,
        old.segments[name].rule if name in old.segments else None,
        new.segments[name].rule if name in new.segments else None,
        size_before,
        size_after,
        enter,
        leave,
        _examples(session, f"{after} and not {before}"),
        _examples(session, f"{before} and not {after}"),
    )


def _examples(session: Session, condition: str) -> list[str]:
    rows = session.rows(
        f"select customer_token from _old o join _new n using (customer_token) where {condition}"  # noqa: S608
        " order by customer_token limit ?",
        [_EXAMPLES],
    )
    return [token for (token,) in rows]
