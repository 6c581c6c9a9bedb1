"""What a destination really holds, read back from it: for the audit, never for planning."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from personalization.errors import ExportError
from personalization.program import Program, resolve_secret
from personalization.program.models import CsvDestination, MailchimpDestination
from personalization.stages.export.adapters.csv import REMOVALS, SUPPRESSIONS, UPSERTS
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.mailchimp import KEY_HINT
from personalization.stages.export.adapters.mailchimp_shapes import data_centre_url
from personalization.stages.export.adapters.registry import csv_folder, destination_of
from personalization.workspace import Workspace

PAGE = 1000  # the most Mailchimp gives at once
_REACHABLE = ("subscribed", "pending")


@dataclass(frozen=True)
class Holding:
    """One contact at a destination.

    Attributes
    ----------
    address : str
        Never shown.
    active : bool
        Whether the destination would mail it.
    values : dict
        Field name to text; empty where the destination has no value.
    """

    address: str = field(repr=False)
    active: bool
    values: dict[str, str]

    @property
    def personalised(self) -> bool:
        return any(self.values.values())


def holdings(program: Program, name: str, workspace: Workspace) -> Iterator[Holding]:
    """Every contact of a destination. Raises `ExportError` when it can't be read."""
    destination = destination_of(program, name)
    if isinstance(destination, CsvDestination):
        yield from _csv(destination, name, workspace)
    else:
        yield from _mailchimp(program, destination, name)


def _csv(destination: CsvDestination, name: str, workspace: Workspace) -> Iterator[Holding]:
    """What somebody holds who imported all files in the order they were written."""
    names = [f.name for f in destination.fields]
    held: dict[str, Holding] = {}
    for folder in sorted(csv_folder(destination, name, workspace).glob("run-*")):
        for file, active in ((UPSERTS, True), (REMOVALS, True), (SUPPRESSIONS, False)):
            with (folder / file).open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    values = {n: row.get(n, "").removeprefix("'") for n in names}
                    held[row["email"]] = Holding(row["email"], active, values)
    yield from held.values()


def _mailchimp(program: Program, destination: MailchimpDestination, name: str) -> Iterator[Holding]:
    def secret(key: str) -> str:
        at = program.position("destinations", ("destinations", name, key))
        return resolve_secret(getattr(destination, key), at=at)

    api_key = secret("api_key")
    base_url = secret("base_url") if destination.base_url else data_centre_url(api_key)
    http = Http("Mailchimp", base_url, auth=("personalization", api_key), connections=1, key_hint=KEY_HINT)
    names = [f.name for f in destination.fields]
    offset = 0
    while True:
        query: dict[str, str | int] = {
            "count": PAGE,
            "offset": offset,
            "fields": "members.email_address,members.status,members.merge_fields",
        }
        answer = http.call("GET", f"/lists/{destination.list_id}/members", query=query)
        if not answer.ok:
            raise ExportError(f"Mailchimp would not show the members of list '{destination.list_id}'")
        members: list[dict[str, Any]] = answer.body["members"]
        for member in members:
            shown = member.get("merge_fields") or {}
            values = {n: "" if shown.get(n) is None else str(shown[n]) for n in names}
            yield Holding(member["email_address"], member["status"] in _REACHABLE, values)
        if len(members) < PAGE:
            return
        offset += PAGE
