"""Every segment of a program as a destination's own platform would define it, or why it can't."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from personalization.as_of import AsOf
from personalization.errors import Position, ProgramError, did_you_mean
from personalization.program import Program
from personalization.program.models import (
    Destination,
    HubspotDestination,
    ListmonkDestination,
    MailchimpDestination,
    SalesforceDestination,
)
from personalization.rules.catalog import Catalog
from personalization.rules.native import formula as f
from personalization.rules.native import hubspot, mailchimp, sql
from personalization.rules.native.normal_form import normal_form
from personalization.rules.native.reasons import Inexpressible, Reason, refuse
from personalization.rules.native.sent import Sent, campaign_field, sent
from personalization.rules.parse import Rule
from personalization.rules.problems import Origin
from personalization.rules.program import program_rules

NUMBERS = "numbers are compared as they are sent: with four decimals"
_CASE = (
    "whether {0} tells upper from lower case is not documented: `export setup` and exports stop when there are values "
    "about which that would decide"
)
_PLATFORMS = {
    "mailchimp": "Mailchimp",
    "hubspot": "HubSpot",
    "listmonk": "listmonk",
    "salesforce": "Salesforce",
    "activecampaign": "ActiveCampaign",
    "csv": "A file",
}
_NEVER = {
    "csv": "files have no segments",
    "activecampaign": "ActiveCampaign's API documents segments over tags only, and guarantees nothing else "
    "(segmentsV2: what the segment builder supports)",
}


@dataclass(frozen=True)
class Native:
    """A segment at a destination.

    Attributes
    ----------
    content : dict or str, optional
        Mailchimp's `options`, HubSpot's `filterBranch`, the SQL condition for listmonk and Salesforce; None when the
        platform can't express the segment.
    reasons : tuple of Reason
        Why it can't; empty when it can.
    notes : tuple of str
        What to know about it, in words.
    rolling : bool
        It holds a date counted from `as_of`, so it is another one every day.
    formula : Formula, optional
        What `content` says, by profile field.
    """

    segment: str
    title: str
    platform: str
    content: dict[str, Any] | str | None = None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    rolling: bool = False
    formula: f.Formula | None = None

    @property
    def may_ignore_case(self) -> bool:
        """Whether the platform may take upper and lower case for the same."""
        return self.platform != "listmonk"

    def to_dict(self) -> dict[str, Any]:
        return {
            "segment": self.segment,
            "title": self.title,
            "platform": self.platform,
            "definition": self.content,
            "reasons": [vars(reason) for reason in self.reasons],
            "notes": list(self.notes),
        }


def native_segments(program: Program, destination: str, as_of: AsOf, rules: Mapping[str, Rule]) -> dict[str, Native]:
    """All segments of a program, in its order, as a destination's platform would define them.

    Parameters
    ----------
    rules : mapping of name to Rule
        `program_rules(program).segments`.
    """
    return {name: native_segment(program, destination, name, as_of, rules) for name in program.segments}


def native_segment(program: Program, destination: str, name: str, as_of: AsOf, rules: Mapping[str, Rule]) -> Native:
    """One segment as a destination's platform would define it, or why it can't."""
    place = program.destinations[destination]
    title = program.segments[name].title
    held = frozenset(one for one, each in program.segments.items() if each.min_completeness > 0)
    try:
        if place.platform in _NEVER:
            raise refuse("platform", _NEVER[place.platform])
        normal = normal_form(name, rules, held, as_of)
        names = sent(normal.formula, place.fields, _marker(place), program.blocks)
        content = _compiled(place, normal.formula, names)
    except Inexpressible as problem:
        reasons = tuple(
            replace(reason, segment=reason.segment or name, advice=reason.advice.replace("'…'", f"'{name}'"))
            for reason in problem.reasons
        )
        return Native(name, title, place.platform, reasons=reasons)
    notes = _notes(normal.formula, place, program)
    if normal.rolling:
        notes = (*notes, f"it names the day {as_of.key}: every export that sends something, and `setup`, renews it")
    return Native(name, title, place.platform, content, notes=notes, rolling=normal.rolling, formula=normal.formula)


def check_native(program: Program, as_of: AsOf | None = None, only: str | None = None) -> list[ProgramError]:
    """What is wrong with the `native_segments` of all destinations, or of `only` one, each at its place.

    Parameters
    ----------
    as_of : AsOf, optional
        The day for which rules are read that name one; default: the program's first.
    """
    as_of = as_of or AsOf(program.settings.start, program.settings.timezone)
    places = {name: place for name, place in program.destinations.items() if only in (None, name)}
    if not any(place.native_segments for place in places.values()):
        return []
    try:
        rules = program_rules(program).segments
    except ProgramError:
        return []  # told already, and better
    problems = []
    for destination, place in places.items():
        for number, name in enumerate(place.native_segments):
            at = program.position("destinations", ("destinations", destination, "native_segments", number))
            said = f"destinations.{destination}: "
            if name not in program.segments:
                text = f"unknown segment '{name}' ({did_you_mean(name, program.segments)})"
                problems.append(ProgramError(said + text, at=at))
                continue
            if name in place.native_segments[:number]:
                problems.append(ProgramError(f"{said}the segment '{name}' is listed twice", at=at))
                continue
            found = native_segment(program, destination, name, as_of, rules)
            platform = _PLATFORMS[place.platform]
            problems += [
                ProgramError(
                    f"{said}{platform} can't express the segment '{name}': {in_words(program, reason, rules)}",
                    at=at,
                    hint=reason.advice,
                )
                for reason in found.reasons
            ]
    return problems


def in_words(program: Program, reason: Reason, rules: Mapping[str, Rule]) -> str:
    """A reason with its clause and where that stands."""
    if not reason.clause:
        where = f" (segment '{reason.segment}')" if reason.kind == "held" else ""
        return f"{reason.text}{where}"
    return f"`{reason.clause}` ({clause_position(program, reason, rules)}): {reason.text}"


def clause_position(program: Program, reason: Reason, rules: Mapping[str, Rule]) -> Position:
    """Where a clause stands in segments.yaml; the rule itself when it is written in another way there."""
    at = program.position("segments", ("segments", reason.segment, "rule"))
    text = rules[reason.segment].text
    tokens = re.findall(r"\w+|[^\w\s]", reason.clause)
    match = re.search(r"\s*".join(map(re.escape, tokens)), text, re.IGNORECASE)
    return Origin(at).locate(text, match.start() if match else 0)[0]


def _marker(place: Destination) -> str | None:
    if isinstance(place, ListmonkDestination):
        return "external_id"  # goes with the whole attribute when a contact is taken away
    return campaign_field(place.fields)


def _compiled(place: Destination, formula: f.Formula, names: Sent) -> dict[str, Any] | str:
    if isinstance(place, MailchimpDestination):
        return mailchimp.conditions(formula, names)
    if isinstance(place, HubspotDestination):
        return hubspot.filter_branch(formula, names)
    if isinstance(place, ListmonkDestination):
        return sql.where(formula, names, sql.Listmonk(place.attribute))
    assert isinstance(place, SalesforceDestination)
    store = sql.Salesforce()
    opt_out = sql.bracketed(place.opt_out_column)
    return f"({opt_out} IS NULL OR {opt_out} = 0) AND {sql.where(formula, names, store)}"


def _notes(formula: f.Formula, place: Destination, program: Program) -> tuple[str, ...]:
    tests = [leaf for leaf in f.leaves(formula) if isinstance(leaf, f.Test)]
    fields = Catalog.of(program).fields
    notes = [NUMBERS] if any(test.kind == "number" for test in tests) else []
    listed = {name for name, field in fields.items() if field.values is not None}
    open_texts = [test for test in tests if test.kind == "text" and test.field not in listed]
    if open_texts and not isinstance(place, ListmonkDestination):
        notes.append(_CASE.format(_PLATFORMS[place.platform]))
    return tuple(notes)


__all__ = ["Native", "check_native", "clause_position", "in_words", "native_segment", "native_segments"]
