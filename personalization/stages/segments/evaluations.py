"""What the day files say of each segment evaluated, kept as a table, with a note of the files that it was made from.

A file that was not replaced since is not opened again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from personalization.as_of import AsOf
from personalization.stages.segments.day_files import DayFiles
from personalization.warehouse import Session

EVALUATIONS = "segments.evaluations"
MARKER = "as_of, segment, title, candidates, completeness, state, rule_version, key"


@dataclass(frozen=True)
class Marker:
    """What a day file says of a segment. The same `key` means the same members; None, that nothing is known of that."""

    title: str
    candidates: int
    completeness: float
    state: str
    rule_version: str
    key: str | None


@dataclass(frozen=True)
class Changes:
    """How the day files differ from those that the tables were made from.

    Attributes
    ----------
    whole : bool
        Files of other days differ.
    segments : frozenset of str
        Segments that may have other members on the day, came to it or left it.
    new_day : bool
        The tables were made without a file of the day.
    """

    whole: bool
    segments: frozenset[str] = frozenset()
    new_day: bool = False


def changes_of(session: Session, files: DayFiles, as_of: AsOf) -> Changes:
    """Compare the files with what was noted. The day's file is opened when it was replaced since."""
    noted, present = _noted_files(session), files.stamps()
    if {**noted, as_of.key: ""} != {**present, as_of.key: ""}:
        return Changes(whole=True)
    if noted.get(as_of.key) == present.get(as_of.key):
        return Changes(whole=False)
    before, now = _noted_markers(session, as_of), _markers_of(session, files, as_of)
    differing = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    unknown = {name for name, marker in now.items() if marker.key is None}
    return Changes(whole=False, segments=frozenset(differing | unknown), new_day=as_of.key not in noted)


def read_markers(session: Session, files: DayFiles, as_of: AsOf) -> dict[str, Marker]:
    """What the day's file says of its segments; it is opened only when it was replaced since that was noted."""
    stamp = files.stamps().get(as_of.key)
    if stamp is None:
        return {}
    if session.has_table(EVALUATIONS) and _noted_files(session).get(as_of.key) == stamp:
        return _noted_markers(session, as_of)
    return _markers_of(session, files, as_of)


def note_evaluations(session: Session, files: DayFiles) -> None:
    """Note what the files say now. Only those that were replaced since the last time are opened."""
    noted, present = _noted_files(session), files.stamps()
    differing = {day for day in noted.keys() | present.keys() if noted.get(day) != present.get(day)}
    if not differing:
        return
    days = ", ".join(f"date '{day}'" for day in sorted(differing))
    read = [path for path in files.paths() if files.day_of(path) in differing]
    session.execute(f"delete from {EVALUATIONS} where as_of in ({days})")  # noqa: S608
    session.execute(
        f"insert into {EVALUATIONS} select {MARKER} from {files.rows_of(read)} where customer_token is null"  # noqa: S608
    )
    session.set_note(EVALUATIONS, json.dumps(present))


def _noted_files(session: Session) -> dict[str, str]:
    found: dict[str, str] = json.loads(session.note(EVALUATIONS) or "{}")
    return found


def _noted_markers(session: Session, as_of: AsOf) -> dict[str, Marker]:
    return _markers(session, f"{EVALUATIONS} where as_of = date '{as_of.key}'")


def _markers_of(session: Session, files: DayFiles, as_of: AsOf) -> dict[str, Marker]:
    return _markers(session, f"{files.relation(only=as_of)} where customer_token is null")


def _markers(session: Session, source: str) -> dict[str, Marker]:
    rows = session.rows(
        f"select segment, title, candidates, completeness, state, rule_version, key from {source}"  # noqa: S608
    )
    return {segment: Marker(*rest) for segment, *rest in rows}
