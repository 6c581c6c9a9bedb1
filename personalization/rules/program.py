"""All rules of a program: parsed, typed and checked against each other, with every mistake found in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personalization.errors import Position, ProgramError
from personalization.program import Program
from personalization.rules.catalog import EVENTS, Catalog
from personalization.rules.order import cycles
from personalization.rules.parse import Rule, Value, parse_rule, parse_value
from personalization.rules.problems import Origin, Source, combined
from personalization.rules.tree import InSegment, Unknown

RESERVED_SEGMENTS = ("history", "membership", "profile", "summary")
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class ProgramRules:
    """Every rule of a program by its place. Dictionaries keep the order in which the program lists them.

    Attributes
    ----------
    segments, audiences, eligible : dict of name to Rule
        By segment, campaign and experiment; `eligible` only holds experiments that have a rule.
    branches : dict of (block, code) to Rule
    offers, caps : dict of name to Rule or None
        By offer and fatigue tier; None stands for everyone.
    values : dict of campaign to Value
        Only campaigns that have one.
    sunset : dict of str to Rule
        The rule `when` of the sunset, when it has one of its own.
    """

    catalog: Catalog
    segments: dict[str, Rule] = field(default_factory=dict)
    branches: dict[tuple[str, str], Rule] = field(default_factory=dict)
    offers: dict[str, Rule | None] = field(default_factory=dict)
    audiences: dict[str, Rule] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    caps: dict[str, Rule | None] = field(default_factory=dict)
    eligible: dict[str, Rule] = field(default_factory=dict)
    sunset: dict[str, Rule] = field(default_factory=dict)


def program_rules(program: Program) -> ProgramRules:
    """Parse and check all rules of a program.

    Raises
    ------
    ProgramError
        Its `problems` are all mistakes in all rules.
    """
    rules, problems = _read(program)
    if problems:
        raise combined(problems)
    return rules


def check_program(program: Program) -> list[ProgramError]:
    """All mistakes in the rules of a program, in the order of its files; empty when there are none."""
    problems = _read(program)[1]
    return combined(problems).problems if problems else []


class _Reader:
    """Parses rules at their place in the program and collects the mistakes."""

    def __init__(self, program: Program) -> None:
        self.program, self.catalog = program, Catalog.of(program)
        self.problems: list[ProgramError] = []

    def origin(self, file: str, path: _Path) -> Origin:
        return Origin(self.program.position(file, path))

    def rule(self, text: str, file: str, path: _Path, unknown: Unknown = "exclude") -> Rule | None:
        try:
            return parse_rule(text, self.catalog, unknown=unknown, origin=self.origin(file, path))
        except ProgramError as error:
            self.problems.extend(error.problems or [error])
            return None

    def value(self, text: str, file: str, path: _Path) -> Value | None:
        try:
            return parse_value(text, self.catalog, origin=self.origin(file, path))
        except ProgramError as error:
            self.problems.extend(error.problems or [error])
            return None


def _read(program: Program) -> tuple[ProgramRules, list[ProgramError]]:
    reader = _Reader(program)
    rules = ProgramRules(reader.catalog)
    for name, segment in program.segments.items():
        path: _Path = ("segments", name, "rule")
        if found := reader.rule(segment.rule, "segments", path, segment.unknown):
            rules.segments[name] = found
        if name in RESERVED_SEGMENTS:
            at = program.position("segments", ("segments", name))
            reader.problems.append(
                ProgramError(f"a segment can't be named '{name}': segments.{name} is a table of its own", at=at)
            )
    for name in program.settings.events:
        if name in EVENTS:
            at = program.position("program", ("events", name))
            hint = "give events of your own another name"
            reader.problems.append(ProgramError(f"'{name}' is an event that every program has", at=at, hint=hint))
    reader.problems.extend(_cycle_errors(reader, rules.segments))
    for block_name, block in program.blocks.items():
        for index, branch in enumerate(block.branches):
            path = ("blocks", block_name, "branches", index, "when")
            if found := reader.rule(branch.when, "content", path):
                rules.branches[block_name, branch.code] = found
    for name, offer in program.offers.items():
        _optional(rules.offers, name, offer.when, reader, "offers", ("offers", name, "when"))
    for name, campaign in program.campaigns.items():
        if found := reader.rule(campaign.audience, "campaigns", ("campaigns", name, "audience")):
            rules.audiences[name] = found
        if campaign.value is not None and (
            value := reader.value(campaign.value, "campaigns", ("campaigns", name, "value"))
        ):
            rules.values[name] = value
    for index, cap in enumerate(program.settings.fatigue.caps):
        _optional(rules.caps, cap.tier, cap.when, reader, "program", ("fatigue", "caps", index, "when"))
    if program.settings.sunset is not None and program.settings.sunset.when is not None:
        _optional(rules.sunset, "when", program.settings.sunset.when, reader, "program", ("sunset", "when"))
    for name, experiment in program.experiments.items():
        if experiment.eligible is not None and (
            found := reader.rule(experiment.eligible, "experiments", ("experiments", name, "eligible"))
        ):
            rules.eligible[name] = found
    return rules, reader.problems


def _optional(found: dict[str, Any], name: str, text: str | None, reader: _Reader, file: str, path: _Path) -> None:
    if text is None:
        found[name] = None
    elif rule := reader.rule(text, file, path):
        found[name] = rule


def _cycle_errors(reader: _Reader, segments: Mapping[str, Rule]) -> list[ProgramError]:
    """One error a circle, at the reference that closes it."""
    errors: list[ProgramError] = []
    for path in cycles(segments):
        last, first = path[-2], path[-1]
        rule = segments[last]
        reference = next(n for n in rule.condition.walk() if isinstance(n, InSegment) and n.name == first)
        source = Source(rule.text, reader.origin("segments", ("segments", last, "rule")))
        message = f"segment '{first}' refers to itself: {' → '.join(path)}"
        errors.append(source.error(reference.span, message, "take one of these references out"))
    return errors


def rule_origin(name: str = "expression") -> Origin:
    """The origin of a rule typed on the command line, shown in errors under the given name."""
    return Origin(Position(name), in_yaml=False)
