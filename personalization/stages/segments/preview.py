"""What a rule would select, before it is saved as a segment."""

from __future__ import annotations

from dataclasses import dataclass

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.program import Program
from personalization.rules import describe, evaluation_query, parse_rule, program_rules, rule_origin
from personalization.rules.tree import Unknown
from personalization.stages.segments.completeness import known
from personalization.stages.segments.profile import PROFILE
from personalization.stages.segments.tables import MEMBERSHIP
from personalization.stages.segments.unseen import unseen_values
from personalization.warehouse import Session

_EXAMPLES = 5


@dataclass(frozen=True)
class Overlap:
    """A saved segment and how many of its members the previewed rule selects as well."""

    segment: str
    size: int
    both: int


@dataclass(frozen=True)
class SegmentPreview:
    """The outcome of a rule for one day.

    Attributes
    ----------
    words : str
        The rule in words.
    size, undecided, candidates : int
        Customers for whom it holds, for whom it can't be decided, and all.
    completeness : float
        Share of customers with everything known that the rule itself needs.
    overlaps : tuple of Overlap
        With each saved segment, in the order of the program.
    examples : tuple of str
        Tokens of up to five members.
    unknown : {"exclude", "include", "hold"}
        What happens to the undecided.
    unseen : tuple of str
        A sentence for each text the rule compares with that nobody has, perhaps misspelt.
    """

    expression: str
    words: str
    size: int
    undecided: int
    candidates: int
    completeness: float
    overlaps: tuple[Overlap, ...]
    examples: tuple[str, ...]
    unknown: Unknown = "exclude"
    unseen: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.size / self.candidates if self.candidates else 0.0


def preview(
    session: Session, program: Program, as_of: AsOf, expression: str, unknown: Unknown = "exclude"
) -> SegmentPreview:
    """Evaluate a rule on the day's profile and membership. It reads only.

    Raises
    ------
    ProgramError, DataError
        The rule or the program is wrong; the segments stage has not run for the day.
    """
    rules = program_rules(program)
    rule = parse_rule(expression, rules.catalog, unknown=unknown, origin=rule_origin())
    if not session.has_table(PROFILE) or not session.has_table(MEMBERSHIP):
        raise DataError("no segments were evaluated yet", hint="run `personalization run` first")
    query = evaluation_query({"preview": rule}, as_of, membership=MEMBERSHIP, profile=PROFILE)
    session.execute(f"create or replace temp table _preview as {query}")
    candidates, size, undecided = session.rows(
        "select count(*), count(*) filter (where preview), count(*) filter (where not preview__decidable) from _preview"
    )[0]
    if not candidates:
        raise DataError(f"no customer has a profile for {as_of.key}", hint="run the segments stage for that day first")
    complete = session.value(
        f"select count(*) from {PROFILE} where as_of = ? and {known(sorted(rule.needs))}",  # noqa: S608
        [as_of.day],
    )
    found = {
        segment: Overlap(segment, members, both)
        for segment, members, both in session.rows(
            f"""
            select m.segment, count(*), count(*) filter (where p.preview)
            from {MEMBERSHIP} as m left join _preview as p using (customer_token)
            where m.as_of = ? and m.status = 'in' group by m.segment
            """,  # noqa: S608
            [as_of.day],
        )
    }
    examples = session.rows(
        "select customer_token from _preview where preview order by customer_token limit ?", [_EXAMPLES]
    )
    return SegmentPreview(
        expression=expression,
        words=describe(rule),
        size=size,
        undecided=undecided,
        candidates=candidates,
        completeness=complete / candidates,
        overlaps=tuple(found.get(name, Overlap(name, 0, 0)) for name in program.segments),
        examples=tuple(token for (token,) in examples),
        unknown=unknown,
        unseen=tuple(unseen_values(session, rule, as_of)),
    )
