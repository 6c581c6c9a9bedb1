"""The segments of `native_segments`, made at the destination as its platform's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from personalization.as_of import AsOf
from personalization.errors import ExportError, ProgramError
from personalization.program import Program
from personalization.rules import program_rules
from personalization.rules.native import Native, check_native, native_segment
from personalization.rules.native.formula import Test, leaves, reads_case
from personalization.stages.export.adapters.base import DestinationError, Lost, Postponed
from personalization.stages.export.adapters.guarded import Guarded, understood
from personalization.stages.export.adapters.native import Brought
from personalization.stages.export.adapters.registry import adapter_for, destination_of

PROFILE = "features.customer_profile"
_TEXTS = (
    'select distinct "{column}" from {table} where "{column}" is not null and as_of = (select max(as_of) from {table})'
)

if TYPE_CHECKING:
    from personalization.runtime import Runtime


def wanted_segments(program: Program, name: str, as_of: AsOf) -> list[Native]:
    """The definitions of a destination's `native_segments`.

    Raises
    ------
    ProgramError
        The platform can't express one of them; `personalization check` says the same.
    """
    place = destination_of(program, name)
    if not place.native_segments:
        return []
    problems = check_native(program, as_of, only=name)
    if problems:
        raise ProgramError(f"{len(problems)} problems in `native_segments`", problems=problems)
    rules = program_rules(program).segments
    return [native_segment(program, name, segment, as_of, rules) for segment in place.native_segments]


def setup_segments(runtime: Runtime, name: str, as_of: AsOf) -> Brought:
    """Make and change a destination's own segments, after its fields are there.

    Parameters
    ----------
    as_of : AsOf
        The day from which dates in segments count.

    Raises
    ------
    ExportError
        Another process exports to it, or the platform refuses.
    ProgramError
        See `wanted_segments`.
    """
    wanted = wanted_segments(runtime.program, name, as_of)
    if not wanted:
        return Brought()
    _refuse_case(runtime, wanted)
    with runtime.ledger.leases.held(f"export:{name}"):
        return _bring(adapter_for(runtime.program, name, runtime.workspace), wanted, f"segments at '{name}'")


def update_segments(
    runtime: Runtime, name: str, as_of: AsOf, adapter: Callable[[], Guarded], *, sent: bool
) -> list[str]:
    """After an export: the same, unless nothing was sent and no segment holds a date that moves.

    Returns what was made, in words. Raises `ExportError`: the contacts are delivered, the segments are not as they
    should be.
    """
    wanted = wanted_segments(runtime.program, name, as_of)
    if not wanted or not (sent or any(native.rolling for native in wanted)):
        return []
    _refuse_case(runtime, wanted)
    return _bring(adapter(), wanted, f"contacts were delivered to '{name}', but its segments").made


def _bring(adapter: Guarded, wanted: list[Native], what: str) -> Brought:
    segments = adapter.segments()
    if segments is None:
        return Brought()  # of a platform without any; `check` has refused that
    try:
        with understood():
            return segments.bring(wanted)
    except (DestinationError, Postponed, Lost) as problem:
        said = problem.message if isinstance(problem, DestinationError) else problem.reason
        hint = problem.hint if isinstance(problem, DestinationError) else None
        raise ExportError(
            f"{what} could not be brought up to date: {said}", hint=hint or "`personalization export setup` tries again"
        ) from None


def _refuse_case(runtime: Runtime, wanted: list[Native]) -> None:
    """Values that differ in case only, where that decides about membership, must not be left to the platform.

    Raises `ExportError` with the first ones found among the customers of the newest day.
    """
    tests = [
        (native, leaf)
        for native in wanted
        if native.may_ignore_case and native.formula is not None
        for leaf in leaves(native.formula)
        if isinstance(leaf, Test) and leaf.kind == "text"
    ]
    if not tests:
        return
    with runtime.warehouse.connect(read_only=True) as session:
        if not session.has_table(PROFILE):
            return
        known = {row[0] for row in session.rows(f"select column_name from (describe {PROFILE})")}  # noqa: S608
        texts = {
            name: [row[0] for row in session.rows(_TEXTS.format(column=name, table=PROFILE))]
            for name in {leaf.field for _, leaf in tests} & known
        }
    for native, leaf in tests:
        doubtful = sorted(text for text in texts.get(leaf.field, ()) if reads_case(leaf, text))
        if doubtful:
            raise ExportError(
                f"the segment '{native.segment}' says `{leaf.clause}`, and there are customers with "
                f"{leaf.field} = '{doubtful[0]}': only upper and lower case keep them apart, which "
                f"{native.platform} may not",
                hint="write these values in one way where they come from, or take the segment out of native_segments",
            )
