"""All segments of a day in one pass: profile, completeness, rules, then the day file and the tables made from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.crash_points import crash_point
from personalization.program import Program
from personalization.program.models import SCORES as SCORE_COLUMNS
from personalization.rules import ProgramRules, Rule, evaluation_query, needed, program_rules
from personalization.rules.compile import CUSTOMER_DAY, HISTORY, MOMENTS
from personalization.stages.segments.completeness import completeness
from personalization.stages.segments.day_files import DayFiles, quoted_list
from personalization.stages.segments.evaluations import read_markers
from personalization.stages.segments.inputs import segment_keys
from personalization.stages.segments.profile import PROFILE, write_profile
from personalization.stages.segments.reuse import Work, to_do
from personalization.stages.segments.stays import read_stays
from personalization.stages.segments.tables import SegmentSummary, write_tables
from personalization.stages.segments.topics import NOTHING_CHOSEN
from personalization.warehouse import Session

_LAST_GOOD = "_last_good"
_MARKERS = pa.schema(
    {
        "as_of": pa.date32(),
        "segment": pa.string(),
        "title": pa.string(),
        "candidates": pa.int64(),
        "completeness": pa.float64(),
        "state": pa.string(),
        "rule_version": pa.string(),
        "key": pa.string(),
    }
)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_segments` did.

    Attributes
    ----------
    summaries : dict of str to SegmentSummary
        Every segment in the day file, in the order of the program.
    evaluated : frozenset of str
        Segments whose rule was evaluated; the other chosen ones were taken from the last evaluation of the day,
        because neither their rule nor anything they read has changed since.
    """

    summaries: dict[str, SegmentSummary]
    evaluated: frozenset[str]


def evaluate_segments(
    session: Session,
    program: Program,
    as_of: AsOf,
    history: Path,
    only: Collection[str] | None = None,
    may_be_scored: Callable[[], pa.Table] | None = None,
    chosen_topics: Callable[[], pa.Table] | None = None,
) -> Evaluation:
    """Bring segments up to date for one day: their rows in the day file and the tables.

    What was evaluated for the day before, with the same rules and the same data, is not evaluated again; when that
    holds for all segments, neither the profile nor behaviour nor any day file is read.

    A segment less complete than its `min_completeness`, or about which nothing at all is known, keeps the members of
    the last day on which it was complete enough, as far as they are still customers, and is marked incomplete; other
    segments that refer to it see those members.

    Parameters
    ----------
    history : Path
        The workspace's history folder.
    only : collection of str, optional
        Segments to replace; segments they refer to are computed, but left as they were. Default: all.
    may_be_scored : callable, optional
        Gives the `customer_token` of those who may be scored: nobody else keeps a place that a score gave them on an
        earlier day. Default: everybody may.
    chosen_topics : callable, optional
        Gives what people chose to read about (`read_topics`). Default: nobody chose anything.

    Raises
    ------
    ProgramError, DataError
        A rule is wrong; the day has no features.
    """
    rules = program_rules(program)
    chosen = [name for name in program.segments if only is None or name in only]
    files = DayFiles(history)
    topics = chosen_topics() if chosen_topics else NOTHING_CHOSEN
    write_profile(session, rules.catalog, as_of, program.topics, topics)
    keys = segment_keys(session, program, rules.segments, as_of, files, chosen)
    last = read_markers(session, files, as_of)
    work = to_do(chosen, rules.segments, keys, {name: marker.key for name, marker in last.items()})
    if work.evaluate or last.keys() - program.segments.keys() or not files.path(as_of).exists():
        _evaluate_day(session, program, rules, as_of, files, work, keys, may_be_scored)
        crash_point("segments.after_day_file")
    summaries = write_tables(session, files, as_of)
    found = {name: summaries[name] for name in program.segments if name in summaries}
    return Evaluation(found, frozenset(work.evaluate))


def _evaluate_day(
    session: Session,
    program: Program,
    rules: ProgramRules,
    as_of: AsOf,
    files: DayFiles,
    work: Work,
    keys: Mapping[str, str],
    may_be_scored: Callable[[], pa.Table] | None,
) -> None:
    """Evaluate what has to be, and write the day's file anew."""
    shares = completeness(session, rules.segments, as_of, work.compute)
    candidates = count_candidates(session, as_of)
    incomplete = too_incomplete(program, shares, work.compute)
    versions = read_last_good(session, files, as_of, incomplete)
    scored = {name for name in incomplete if reads_scores(name, rules.segments)}
    if scored and may_be_scored is not None:
        leave_out(session, scored, may_be_scored())
    _take_over(session, files, as_of, work.take)
    good = {name: rule for name, rule in rules.segments.items() if name in work.compute - incomplete}
    evaluate(session, good, as_of, history=read_stays(session, files, as_of, good.values()))
    judged = Judged(shares, candidates, incomplete, versions, keys)
    parts = ["select * from _markers"]
    for evaluated, names in groupby(sorted(program.segments), key=lambda name: name in work.evaluate):
        if evaluated:
            parts += [members(name, rules.segments[name], as_of, held_over=name in incomplete) for name in names]
        else:
            parts.append(_kept(files, as_of, list(names)))
    chosen = [name for name in program.segments if name in work.evaluate]
    with session.registered(_markers=judged.markers(program, rules, chosen, as_of)):
        files.write(session, as_of, parts)


def count_candidates(session: Session, as_of: AsOf) -> int:
    """Customers of the day."""
    return int(session.value(f"select count(*) from {PROFILE} where as_of = ?", [as_of.day]))  # noqa: S608


def _take_over(session: Session, files: DayFiles, as_of: AsOf, segments: Collection[str]) -> None:
    """Add members that the day's file has to `_last_good`, for others that refer to these segments."""
    if segments:
        session.execute(
            f"insert into {_LAST_GOOD} select as_of, segment, customer_token, status"  # noqa: S608
            f" from {files.relation(only=as_of)}"
            f" where segment in ({quoted_list(segments)}) and customer_token is not null"
        )


@dataclass(frozen=True)
class Judged:
    """What is noted of each segment beside its members.

    Attributes
    ----------
    shares : dict of str to float
        For which share of the customers everything needed is known.
    candidates : int
        Customers of the day.
    incomplete : set of str
        Segments that keep the members of an earlier day.
    versions : dict of str to str
        The rules that chose those.
    keys : mapping of str to str
        What else gives the same members; empty when that is not known.
    """

    shares: dict[str, float]
    candidates: int
    incomplete: set[str]
    versions: dict[str, str]
    keys: Mapping[str, str]

    def markers(self, program: Program, rules: ProgramRules, segments: Collection[str], as_of: AsOf) -> pa.Table:
        """The rows of the day file that say which segments were evaluated, and how.

        A segment that depends on members of an earlier day has no key: it is evaluated again the next time.
        """
        held_over = {name for name in segments if self.incomplete & needed({name}, rules.segments)}
        return pa.Table.from_pylist(
            [
                {
                    "as_of": as_of.day,
                    "segment": name,
                    "title": program.segments[name].title,
                    "candidates": self.candidates,
                    "completeness": self.shares[name],
                    "state": "incomplete" if name in self.incomplete else "evaluated",
                    "rule_version": self.versions.get(name, rules.segments[name].version),
                    "key": None if name in held_over else self.keys.get(name),
                }
                for name in segments
            ],
            schema=_MARKERS,
        )


def too_incomplete(program: Program, shares: Mapping[str, float], segments: Collection[str]) -> set[str]:
    """Segments about too few customers of which everything needed is known."""
    return {name for name in segments if shares[name] == 0 or shares[name] < program.segments[name].min_completeness}


def read_last_good(session: Session, files: DayFiles, as_of: AsOf, segments: Collection[str]) -> dict[str, str]:
    """Make `_last_good`: members on the last earlier day of a complete evaluation, who are still customers.

    Returns the version of the rule that chose them, by segment.
    """
    wanted = quoted_list(segments)
    earlier = files.relation(before=as_of)
    session.execute(
        f"""
        create or replace temp table _last_good_day as
        select segment, max(as_of) as as_of, arg_max(rule_version, as_of) as rule_version
        from {earlier}
        where customer_token is null and state <> 'incomplete' and segment in ({wanted})
        group by segment
        """  # noqa: S608  (segment names are checked by the program's models)
    )
    session.execute(
        f"""
        create or replace temp table {_LAST_GOOD} as
        select date '{as_of.key}' as as_of, d.segment, d.customer_token, d.status
        from {earlier} as d
        inner join _last_good_day as g using (segment, as_of)
        inner join {PROFILE} as p on p.customer_token = d.customer_token and p.as_of = date '{as_of.key}'
        """  # noqa: S608
    )
    return dict(session.rows("select segment, rule_version from _last_good_day"))


def reads_scores(name: str, rules: Mapping[str, Rule]) -> bool:
    """Whether a segment depends on scores, directly or through segments that its rule refers to."""
    return any(set(SCORE_COLUMNS) & set(rules[part].fields) for part in needed({name}, rules))


def leave_out(session: Session, segments: Collection[str], may_be_scored: pa.Table) -> None:
    """Take out of `_last_good` who may not be scored, in segments that are made of scores."""
    with session.registered(_may_be_scored=may_be_scored):
        session.execute(
            f"delete from {_LAST_GOOD} where segment in ({quoted_list(segments)})"  # noqa: S608
            " and customer_token not in (select customer_token from _may_be_scored)"
        )


def evaluate(
    session: Session,
    good: Mapping[str, Rule],
    as_of: AsOf,
    *,
    profile: str = PROFILE,
    customer_day: str = CUSTOMER_DAY,
    moments: str = MOMENTS,
    history: str = HISTORY,
) -> None:
    """Make `_outcome`: one row per customer of `profile` in the order of tokens, columns per segment.

    Segments that rules refer to and that are not among `good` are read from `_last_good`.
    """
    query = evaluation_query(
        good,
        as_of,
        segments=good,
        membership=_LAST_GOOD,
        decidable=[name for name, rule in good.items() if rule.unknown == "hold"],
        profile=profile,
        customer_day=customer_day,
        moments=moments,
        history=history,
    )
    session.execute(f"create or replace temp table _outcome as {query} order by customer_token")


def members(name: str, rule: Rule, as_of: AsOf, *, held_over: bool) -> str:
    """The members of a segment, as rows of the day file."""
    if held_over:
        return (
            f"from (select as_of, segment, customer_token, status from {_LAST_GOOD} where segment = '{name}'"  # noqa: S608
            " order by customer_token)"
        )
    undecided = f' or not "{name}__decidable"' if rule.unknown == "hold" else ""
    return f"""
        select date '{as_of.key}' as as_of, '{name}' as segment, customer_token,
            case when "{name}" then 'in' else 'held' end as status
        from _outcome where "{name}"{undecided}
    """  # noqa: S608


def _kept(files: DayFiles, as_of: AsOf, segments: Collection[str]) -> str:
    """Rows of the day's present file for segments that are not evaluated now."""
    return f"from {files.relation(only=as_of)} where segment in ({quoted_list(segments)})"
