"""Shapes of HubSpot's API: paths by version, what is written, and how its answers are read. No request is made here.

Sources: HubSpot's published OpenAPI (HubSpot-public-api-spec-collection: CRM contacts, properties, lists;
Communication Preferences v4) and developers.hubspot.com (contacts guide, error handling, usage guidelines).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.program.models import HubspotDestination
from personalization.stages.export.adapters.base import Contact, DestinationError, Postponed

MOST = 100  # records in a batch request (contacts guide, Limits)
PROPERTY_TYPES = {"text": ("string", "text"), "number": ("number", "number"), "date": ("date", "date")}
MOVED_FROM = "personalization_moved_from"
"""Our property that holds the former address while a contact is moved to a new one, and is empty otherwise."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_EXISTING = re.compile(r"Existing ID: (\d+)")


class Paths:
    """The same API under its versions: `v3`, which HubSpot calls legacy, and those named after a month.

    Parameters
    ----------
    version : str
        `v3`, or such as `2026-03`.
    """

    def __init__(self, version: str) -> None:
        if version == "v3":
            self.contacts, self.properties = "/crm/v3/objects/contacts", "/crm/v3/properties/contacts"
            self.lists, self.consent = "/crm/v3/lists", "/communication-preferences/v4"
        else:
            self.contacts, self.properties = f"/crm/objects/{version}/contacts", f"/crm/properties/{version}/contacts"
            self.lists, self.consent = f"/crm/lists/{version}", f"/communication-preferences/{version}"


@dataclass(frozen=True)
class Wanted:
    """What a contact is to hold: properties and their values, all text; empty clears. Without the address."""

    properties: Mapping[str, str] = field(repr=False)
    campaign: str | None


@dataclass(frozen=True)
class Record:
    """A contact at HubSpot."""

    id: str
    properties: Mapping[str, str | None] = field(repr=False)

    @property
    def address(self) -> str:
        return (self.properties.get("email") or "").lower()

    def holds(self, name: str) -> str:
        return self.properties.get(name) or ""

    def differs(self, wanted: Mapping[str, str]) -> list[str]:
        """Properties that are shown, and not as wanted."""
        return sorted(n for n, v in wanted.items() if n in self.properties and not _same(self.holds(n), v))


@dataclass(frozen=True)
class Refusal:
    """Why HubSpot did not take one input of a batch, in its own words."""

    words: str
    existing: str | None = None

    @classmethod
    def of(cls, error: Any) -> Refusal:
        text = words(error)
        found = _EXISTING.search(text)
        return cls(text, found.group(1) if found else None)


def problems(destination: HubspotDestination) -> list[tuple[tuple[str | int, ...], str]]:
    """What in a destination HubSpot can't have: where, and why."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for number, mapped in enumerate(destination.fields):
        path, name = ("fields", number), mapped.name
        if not _NAME.fullmatch(name):
            text = f"'{name}' can't be a HubSpot property: at most 100 of a-z, 0-9 and _, beginning with a letter"
            found.append((path, text))
        elif name == "email" or name.startswith("hs_"):
            # hs_email_optout and its like are how people have opted out
            found.append((path, f"'{name}' belongs to HubSpot itself and is never written: choose another name"))
        elif name in (MOVED_FROM, destination.id_property):
            found.append((path, f"'{name}' is in use already: choose another name"))
    if destination.lists and not any(mapped.column == "campaign" for mapped in destination.fields):
        found.append((("lists",), "`lists` needs a field with `column: campaign`"))
    return found


def wanted(destination: HubspotDestination, contact: Contact) -> Wanted:
    """What a contact's operation says it is to hold."""
    if contact.operation in ("remove", "retract"):
        return Wanted({mapped.name: "" for mapped in destination.fields}, None)
    properties = {destination.id_property: contact.external_id}
    campaign = None
    for mapped in destination.fields:
        value = contact.values.get(mapped.name)
        if mapped.column == "campaign":
            campaign = value
        if value is not None:
            properties[mapped.name] = value
        elif mapped.null == "clear":
            properties[mapped.name] = ""
    return Wanted(properties, campaign)


def property_body(destination: HubspotDestination, name: str, kind: str, *, unique: bool = False) -> dict[str, Any]:
    """The body that makes a property."""
    of_type, of_field = PROPERTY_TYPES[kind]
    return {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "groupName": destination.property_group,
        "type": of_type,
        "fieldType": of_field,
        "hasUniqueValue": unique,
    }


def trace_of(error: Mapping[str, Any]) -> str | None:
    """Which input an error of a 207 is about, when it says so."""
    named = (error.get("context") or {}).get("objectWriteTraceId") or []
    return str(named[0]) if named else None


def ids_of(error: Mapping[str, Any]) -> list[str]:
    """The record ids an error names."""
    return [str(one) for one in (error.get("context") or {}).get("ids") or []]


def words(body: Any) -> str:
    """The platform's own words. Every part may be missing (error handling guide)."""
    body = body if isinstance(body, dict) else {}
    said = str(body.get("message") or body.get("category") or "no reason given")
    details = [error["message"] for error in body.get("errors") or [] if isinstance(error, dict) and "message" in error]
    return f"{said} ({'; '.join(str(detail) for detail in details)})" if details else said


def special(status: int, body: Any) -> Exception | None:
    """HubSpot's own ways to say no: the daily limit, locks, moves between data centres, missing permissions."""
    body = body if isinstance(body, dict) else {}
    if status == 429 and str(body.get("policyName", "")).upper() == "DAILY":
        return DestinationError(
            "HubSpot's daily limit of requests is used up",
            hint="it starts again at midnight in the account's time zone; the rest is held and sent by the next run",
        )
    if status == 423:
        return Postponed("HubSpot has locked a contact for a moment (status 423)", 2.0)
    if status == 477:
        return DestinationError("HubSpot is moving the account (status 477)", hint="run again later, at most in a day")
    if status == 403 and body.get("category") == "MISSING_SCOPES":
        contexts = [error.get("context") or {} for error in body.get("errors") or [] if isinstance(error, dict)]
        named = [s for context in contexts for s in context.get("requiredGranularScopes") or []]
        return DestinationError(
            f"the HubSpot app may not do this: missing scopes {', '.join(named) or '(HubSpot does not say which)'}",
            hint="add them to the private app in HubSpot: Settings, Integrations; docs/export.md lists them all",
        )
    return None


def _same(shown: str, value: str) -> bool:
    if shown == value:
        return True
    if unicodedata.normalize("NFC", shown).strip() == value.strip():
        return True
    try:
        return Decimal(shown) == Decimal(value)
    except InvalidOperation:
        return False
