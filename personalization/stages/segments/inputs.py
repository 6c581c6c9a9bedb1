"""What the evaluation of a segment reads, and a key that changes with any of it.

A result can be taken from an earlier evaluation exactly when its key is the same. So whatever a rule comes to read must
be named here: a construct of the rule language that looks at something new adds a `Source`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import duckdb

from personalization import rules as language
from personalization.as_of import AsOf
from personalization.program import Program
from personalization.program.models import SCORES as SCORE_COLUMNS
from personalization.rules import Rule, needed
from personalization.rules.compile import CUSTOMER_DAY
from personalization.rules.events import EVENTS
from personalization.rules.moments import events_of
from personalization.rules.order import children_first
from personalization.stages.segments.day_files import DayFiles
from personalization.stages.segments.profile import FEATURES, PROFILE, SCORES
from personalization.stages.segments.topics import reads_topics
from personalization.warehouse import Session
from personalization.warehouse.versions import content_version


@dataclass(frozen=True)
class Source:
    """Something that rules read.

    Attributes
    ----------
    name : str
        The table, or what else it is.
    read_by : callable
        Whether a rule by itself reads it (not by the segments that it refers to).
    version : callable
        Its content on a day as a short text: the same text means the same content.
    """

    name: str
    read_by: Callable[[Rule], bool]
    version: Callable[[Session, DayFiles, AsOf], str]


def _table(name: str, read_by: Callable[[Rule], bool]) -> Source:
    return Source(name, read_by, lambda session, _files, _as_of: content_version(session, name))


def _moments(rule: Rule) -> set[str]:
    """Kinds of single events that a rule reads."""
    return {event for node in rule.moments for event in events_of(node)}


def _earlier_files(files: DayFiles, as_of: AsOf) -> str:
    earlier = {day: stamp for day, stamp in files.stamps().items() if day < as_of.key}
    return hashlib.sha256(json.dumps(earlier, sort_keys=True).encode()).hexdigest()[:16]


SOURCES: tuple[Source, ...] = (
    _table(FEATURES, lambda rule: True),  # it says who the customers are, too
    _table(SCORES, lambda rule: bool(rule.fields & set(SCORE_COLUMNS))),
    _table(CUSTOMER_DAY, lambda rule: bool(rule.behaviours)),
    # what people chose to read about comes from the ledger: the profile notes what it was made from
    Source("topics", reads_topics, lambda session, _files, _as_of: session.note(PROFILE) or ""),
    # what the view of single events is made of
    _table("marts.order_lines", lambda rule: "purchase" in _moments(rule)),
    _table("marts.email_events", lambda rule: bool(_moments(rule) & EVENTS.keys() - {"purchase"})),
    _table("marts.customer_events", lambda rule: bool(_moments(rule) - EVENTS.keys())),
    Source("segments.history", lambda rule: bool(rule.earlier_segments), lambda _session, *on: _earlier_files(*on)),
)


def segment_keys(
    session: Session,
    program: Program,
    rules: Mapping[str, Rule],
    as_of: AsOf,
    files: DayFiles,
    names: Collection[str],
) -> dict[str, str]:
    """A key for each of these segments and all they refer to: the same key means the same members.

    A source is looked at only when one of these segments reads it.
    """
    version = cache(partial(_version, session, files, as_of))
    everything = needed(set(names), rules)
    keys: dict[str, str] = {}
    for name in children_first({each: rules[each] for each in rules if each in everything}):
        rule, segment = rules[name], program.segments[name]
        parts = {
            "code": code_version(),
            "as_of": as_of.key,
            "timezone": as_of.timezone,
            "rule": rule.version,
            "title": segment.title,
            "min_completeness": segment.min_completeness,
            "sources": {source.name: version(source) for source in SOURCES if source.read_by(rule)},
            "segments": {other: keys[other] for other in sorted(rule.segments)},
        }
        keys[name] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return keys


def _version(session: Session, files: DayFiles, as_of: AsOf, source: Source) -> str:
    return source.version(session, files, as_of)


@cache
def code_version() -> str:
    """Changes with the code that gives rules their meaning, and with the engine."""
    folders = (Path(language.__file__).parent, Path(__file__).parent)
    found = hashlib.sha256(duckdb.__version__.encode())
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
