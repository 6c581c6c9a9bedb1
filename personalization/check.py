"""Everything that can be found wrong with a program without looking at data: what `personalization check` tells."""

from __future__ import annotations

from functools import partial

from personalization.errors import ProgramError
from personalization.program import Program
from personalization.rules import check_program
from personalization.rules.native import check_native
from personalization.stages.decisions.decide import check_names
from personalization.stages.export.adapters.registry import check_fields
from personalization.stages.sync.tables import check_tables
from personalization.webhooks.sources import check_webhooks


def problems_of(program: Program) -> list[ProgramError]:
    """Mistakes in rules, names, the mapping of source columns, webhook sources, destinations' fields and segments."""
    problems = [*check_program(program), *check_tables(program), *check_webhooks(program), *check_native(program)]
    checks = [partial(check_names, program)]
    checks += [partial(check_fields, program, name) for name in program.destinations]
    for check in checks:
        try:
            check()
        except ProgramError as problem:
            problems += problem.problems or [problem]
    return problems


def require_sound(program: Program) -> None:
    """Raise `ProgramError` with every mistake."""
    problems = problems_of(program)
    if problems:
        raise ProgramError(f"{len(problems)} problems in {program.root}", problems=problems)
