"""Segments of touched customers: their profile, memberships and history; sizes are counted again for all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.rules import program_rules
from personalization.stages.segments.completeness import completeness
from personalization.stages.segments.day_files import DayFiles
from personalization.stages.segments.evaluate import (
    Judged,
    count_candidates,
    evaluate,
    evaluate_segments,
    leave_out,
    members,
    read_last_good,
    reads_scores,
    too_incomplete,
)
from personalization.stages.segments.profile import PROFILE, SCORES, profile_query
from personalization.stages.segments.stays import read_stays
from personalization.stages.segments.tables import read_summaries, write_touched_tables
from personalization.stages.segments.topics import CHOSEN, NOTHING_CHOSEN
from personalization.warehouse import Session
from personalization.warehouse.touched_models import TOUCHED, touched_rows

TOUCHED_PROFILE = "_touched_profile"
"""Temporary table: the touched customers' rows of `segments.profile`."""


def evaluate_touched(
    session: Session,
    program: Program,
    as_of: AsOf,
    history: Path,
    *,
    may_be_scored: Callable[[str | None], pa.Table] | None = None,
    chosen_topics: Callable[[str | None], pa.Table] | None = None,
) -> bool:
    """Replace the rows of the people in `_touched` in the profile and the segments. Call it in a transaction.

    Parameters
    ----------
    may_be_scored : callable, optional
        As of `evaluate_segments`; called with the table of the customers who are meant, or None for all.
    chosen_topics : callable, optional
        Likewise.

    Returns
    -------
    bool
        Whether that was enough. Otherwise a segment became complete enough, or ceased to be: then its members are
        others among all customers, and all were evaluated.
    """
    rules = program_rules(program)
    _write_profile(session, program, as_of, chosen_topics(TOUCHED) if chosen_topics else NOTHING_CHOSEN)
    shares = completeness(session, rules.segments, as_of)
    incomplete = too_incomplete(program, shares, program.segments)
    summaries = read_summaries(session, as_of)
    before = {name for name, summary in summaries.items() if summary.state == "incomplete"}
    if incomplete != before or summaries.keys() != program.segments.keys():
        everybody = partial(may_be_scored, None) if may_be_scored is not None else None
        chosen = partial(chosen_topics, None) if chosen_topics is not None else None
        evaluate_segments(session, program, as_of, history, may_be_scored=everybody, chosen_topics=chosen)
        return False
    files = DayFiles(history)
    versions = read_last_good(session, files, as_of, incomplete)
    scored = {name for name in incomplete if reads_scores(name, rules.segments)}
    if scored and may_be_scored is not None:
        leave_out(session, scored, may_be_scored(TOUCHED))
    good = {name: rule for name, rule in rules.segments.items() if name not in incomplete}
    evaluate(
        session,
        good,
        as_of,
        profile=TOUCHED_PROFILE,
        customer_day=touched_rows("marts.customer_day"),
        moments=touched_rows("marts.moments"),
        history=read_stays(session, files, as_of, good.values(), TOUCHED),
    )
    others = f"select * from {files.relation(only=as_of)} where customer_token not in (from {TOUCHED})"  # noqa: S608
    rows = [others]
    for name in program.segments:
        found = members(name, rules.segments[name], as_of, held_over=name in incomplete)
        rows.append(f"select * from ({found}) where customer_token in (from {TOUCHED})")  # noqa: S608
    in_order = f"from ({' union all by name '.join(rows)}) order by segment, customer_token"
    # no keys: that the rest of the rows still is as if everybody had been evaluated is known of today's data only
    judged = Judged(shares, count_candidates(session, as_of), incomplete, versions, keys={})
    with session.registered(_markers=judged.markers(program, rules, list(program.segments), as_of)):
        files.write(session, as_of, ["select * from _markers", in_order])
    write_touched_tables(session, files, as_of, TOUCHED)
    return True


def _write_profile(session: Session, program: Program, as_of: AsOf, chosen: pa.Table) -> None:
    query = profile_query(touched_rows("features.customer_profile"), SCORES, program.topics)
    with session.registered(**{CHOSEN: chosen}):
        session.execute(f"create or replace temp table {TOUCHED_PROFILE} as {query}", [as_of.day])
    session.replace_rows(
        PROFILE, f"as_of = date '{as_of.key}' and customer_token in (from {TOUCHED})", f"from {TOUCHED_PROFILE}"
    )
