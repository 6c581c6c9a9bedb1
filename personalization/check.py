"""Everything that can be found wrong with a program without looking at data: what `personalization check` tells."""

from __future__ import annotations

from personalization.errors import ProgramError
from personalization.program import Program
from personalization.rules import check_program
from personalization.stages.export.adapters.registry import check_fields
from personalization.stages.sync.tables import check_tables


def problems_of(program: Program) -> list[ProgramError]:
    """Mistakes in rules, in the mapping of source columns, and in the fields of destinations."""
    problems = [*check_program(program), *check_tables(program)]
    for name in program.destinations:
        try:
            check_fields(program, name)
        except ProgramError as problem:
            problems += problem.problems
    return problems


def require_sound(program: Program) -> None:
    """Raise `ProgramError` with every mistake."""
    problems = problems_of(program)
    if problems:
        raise ProgramError(f"{len(problems)} problems in {program.root}", problems=problems)
