"""Asks every destination what it holds about a person: a copy is of what platforms hold, not of what we sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from personalization.errors import ExportError, ProgramError
from personalization.privacy.erase_destinations import former_addresses
from personalization.privacy.work import Work
from personalization.stages.export.adapters.base import Lost, Postponed
from personalization.stages.export.adapters.registry import adapter_for

if TYPE_CHECKING:
    from personalization.privacy.person import Person
    from personalization.runtime import Runtime


def held_by_destinations(runtime: Runtime, person: Person) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Read the person's records at each destination, under every address that it was ever given.

    Returns
    -------
    (dict, dict)
        By destination: the records, in its own form; and what went wrong, where it could not be read.
    """
    held: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    work = Work.of(runtime, person)
    for name in runtime.program.destinations:
        try:
            adapter = adapter_for(runtime.program, name, runtime.workspace)
            addresses = sorted({*work.addresses, *former_addresses(runtime, adapter, name, work)})
            found = adapter.shown(addresses, work.external_ids.get(name, ()))
        except (Postponed, Lost) as problem:
            failed[name] = problem.reason
        except (ExportError, ProgramError) as error:
            failed[name] = error.message
        else:
            if found:
                held[name] = found
    return held, failed
