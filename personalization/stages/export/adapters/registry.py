"""Which adapter serves which destination of a program, and what can be said about a destination before it is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from personalization.errors import ExportError, ProgramError, did_you_mean
from personalization.program import Program, resolve_secret
from personalization.program.models import (
    ActiveCampaignDestination,
    CsvDestination,
    Destination,
    HubspotDestination,
    ListmonkDestination,
    MailchimpDestination,
    SalesforceDestination,
)
from personalization.stages.export.adapters import (
    activecampaign,
    activecampaign_shapes,
    csv,
    hubspot,
    hubspot_shapes,
    listmonk,
    listmonk_shapes,
    mailchimp,
    mailchimp_shapes,
    salesforce,
    salesforce_shapes,
)
from personalization.stages.export.adapters.base import Adapter, Clock, Limits
from personalization.stages.export.adapters.csv_store import CsvStore, LocalStore, ObjectStore, is_object_store
from personalization.stages.export.adapters.guarded import Guarded
from personalization.stages.export.adapters.traffic import Traffic
from personalization.workspace import Workspace

if TYPE_CHECKING:
    from personalization.ledger import Ledger

_LIMITS: dict[str, Limits] = {
    "csv": csv.LIMITS,
    "mailchimp": mailchimp.LIMITS,
    "hubspot": hubspot.LIMITS,
    "listmonk": listmonk.LIMITS,
    "activecampaign": activecampaign.LIMITS,
    "salesforce": salesforce.LIMITS,
}

Problem = tuple[tuple[str | int, ...], str]
"""Where in a destination, and what is wrong there."""


def destination_of(program: Program, name: str) -> Destination:
    """A destination by name. Raises `ExportError` with the nearest name when there is none."""
    if name not in program.destinations:
        raise ExportError(f"unknown destination '{name}' ({did_you_mean(name, program.destinations)})")
    return program.destinations[name]


def limits_of(destination: Destination) -> Limits:
    return _LIMITS[destination.platform]


def check_fields(program: Program, name: str) -> None:
    """Raise `ProgramError` when the platform can't have fields of these names, with the place in destinations.yaml."""
    destination = destination_of(program, name)
    problems: list[Problem] = [
        (("fields", number), f"the field '{field.name}' is listed twice")
        for number, field in enumerate(destination.fields)
        if field.name in {earlier.name for earlier in destination.fields[:number]}
    ]
    if isinstance(destination, MailchimpDestination):
        problems += [(("fields", n), text) for n, text in mailchimp_shapes.field_problems(destination.fields)]
        problems += _unknown_campaigns(program, "tags", destination.tags)
        problems += [
            (("tags", campaign), f"the tag '{tag}' is another campaign's already: each needs its own")
            for number, (campaign, tag) in enumerate(destination.tags.items())
            if tag in list(destination.tags.values())[:number]
        ]
    if isinstance(destination, ListmonkDestination):
        problems += [(("fields", n), text) for n, text in listmonk_shapes.field_problems(destination.fields)]
    if isinstance(destination, ActiveCampaignDestination):
        problems += [(("fields", n), text) for n, text in activecampaign_shapes.field_problems(destination.fields)]
    if isinstance(destination, SalesforceDestination):
        problems += salesforce_shapes.problems(destination)
    if isinstance(destination, HubspotDestination):
        problems += hubspot_shapes.problems(destination)
        problems += _unknown_campaigns(program, "lists", destination.lists)
    if problems:
        raise ProgramError(
            f"{len(problems)} problems in destination '{name}'",
            problems=[
                ProgramError(
                    f"destinations.{name}: {text}",
                    at=program.position("destinations", ("destinations", name, *path)),
                )
                for path, text in problems
            ],
        )


def _unknown_campaigns(program: Program, setting: str, given: Iterable[str]) -> list[Problem]:
    return [
        ((setting, campaign), f"there is no campaign '{campaign}' ({did_you_mean(campaign, program.campaigns)})")
        for campaign in given
        if campaign not in program.campaigns
    ]


def mapping_version(destination: Destination) -> str:
    """Changes when what a row says at the platform changes: another mapping, another list, another folder.

    How the platform is reached is left out: the same list behind another address knows the same contacts.
    """
    no_contact = {*destination.same_contacts, "mails", "results", "native_segments", "limits"}
    content = destination.model_dump(mode="json", exclude=no_contact)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def adapter_for(
    program: Program,
    name: str,
    workspace: Workspace,
    clock: Clock | None = None,
    *,
    ledger: Ledger | None = None,
    urgent: bool = False,
) -> Guarded:
    """The adapter of a destination, ready to work, behind its guard.

    Parameters
    ----------
    ledger : Ledger, optional
        Keeps count of requests and failures; without it neither allowances nor circuit breaker are there.
    urgent : bool
        Requests are tried also while the destination is left alone after failures: for opt-outs.

    Raises
    ------
    ProgramError
        A secret is not set.
    """
    return Guarded(_opened(program, name, workspace, clock, ledger, urgent))


def _opened(
    program: Program, name: str, workspace: Workspace, clock: Clock | None, ledger: Ledger | None, urgent: bool
) -> Adapter:
    destination = destination_of(program, name)
    timezone = ZoneInfo(program.settings.timezone)
    traffic = Traffic(name, destination.limits, ledger, timezone, urgent=urgent) if ledger else None
    if isinstance(destination, CsvDestination):
        return csv.CsvAdapter(destination, name, _csv_store(program, destination, name, workspace, clock))

    def secret(key: str) -> str:
        at = program.position("destinations", ("destinations", name, key))
        return resolve_secret(getattr(destination, key), at=at)

    # the key first: what is missing is named in this order
    if isinstance(destination, HubspotDestination):
        token = secret("access_token")
        base_url = secret("base_url") if destination.base_url else None
        return hubspot.HubspotAdapter(destination, name, token=token, base_url=base_url, traffic=traffic, clock=clock)
    if isinstance(destination, ListmonkDestination):
        account = {key: secret(key) for key in ("api_user", "api_token", "base_url")}
        return listmonk.ListmonkAdapter(destination, name, **account, traffic=traffic, clock=clock)
    if isinstance(destination, ActiveCampaignDestination):
        account = {key: secret(key) for key in ("api_token", "base_url")}
        return activecampaign.ActiveCampaignAdapter(destination, name, **account, traffic=traffic, clock=clock)
    if isinstance(destination, SalesforceDestination):
        return salesforce.SalesforceAdapter(
            destination,
            name,
            client_id=secret("client_id"),
            client_secret=secret("client_secret"),
            base_url=secret("base_url") if destination.base_url else None,
            token_file=workspace.state / "tokens" / f"{name}.json",
            traffic=traffic,
            clock=clock,
        )
    api_key = secret("api_key")
    base_url = secret("base_url") if destination.base_url else None
    return mailchimp.MailchimpAdapter(
        destination, name, api_key=api_key, base_url=base_url, traffic=traffic, clock=clock
    )


def _csv_store(
    program: Program, destination: CsvDestination, name: str, workspace: Workspace, clock: Clock | None
) -> CsvStore:
    """Where a CSV destination writes: `folder` below the workspace or in an object store, or var/exports/<name>."""
    if destination.folder is None:
        return LocalStore(name, workspace.exports / name)
    folder = resolve_secret(destination.folder, at=program.position("destinations", ("destinations", name, "folder")))
    return ObjectStore(name, folder, clock) if is_object_store(folder) else LocalStore(name, workspace.root / folder)
