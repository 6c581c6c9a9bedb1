"""Shapes of Marketing Cloud Engagement: columns, rows, and how its answers are read. No request is made here.

Sources: developer.salesforce.com, Marketing Cloud Engagement: Data Extension API, Data Extension Rows (asynchronous
and synchronous), Rate Limiting Errors; help.salesforce.com, API Limits and Guidelines.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.program.models import DestinationField, SalesforceDestination
from personalization.stages.export.adapters.base import Contact, DestinationError, Postponed

EXTERNAL_ID = "ExternalId"
TEXT_LENGTH = 254  # of columns that are made, where the field says nothing
BLOCKED_SECONDS = 300.0
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_TAKES = {
    "text": ("text", "emailaddress"),
    "number": ("decimal", "number"),
    "date": ("date",),
    "boolean": ("boolean",),
    "address": ("emailaddress", "text"),
}


@dataclass(frozen=True)
class Column:
    """A column that the data extension must have.

    Attributes
    ----------
    kind : str
        text, number, date, boolean or address.
    length : int, optional
        With which it is made.
    demanded : bool
        Whether one that is there must be as long; else Salesforce refuses rows that are too long for it.
    """

    name: str
    kind: str
    length: int | None = None
    demanded: bool = False

    @property
    def words(self) -> str:
        kinds = {"text": "Text", "number": "Decimal (18, 4)", "date": "Date", "boolean": "Boolean"}
        if self.kind == "address":
            return f"{self.name}: EmailAddress, the only primary key"
        return f"{self.name}: {kinds[self.kind]}{f' ({self.length})' if self.length else ''}, nullable"

    def body(self, ordinal: int) -> dict[str, Any]:
        """As the API makes it; with every property, since a third party reports that it demands them."""
        made: dict[str, Any] = {
            "name": self.name,
            "type": {"text": "Text", "number": "Decimal", "date": "Date", "boolean": "Boolean"}.get(
                self.kind, "EmailAddress"
            ),
            "description": "",
            "ordinal": ordinal,
            "isNullable": self.kind != "address",
            "isPrimaryKey": self.kind == "address",
            "isTemplateField": False,
            "isInheritable": False,
            "isOverridable": False,
            "isHidden": False,
            "isReadOnly": False,
            "mustOverride": False,
        }
        if self.kind == "number":
            made |= {"length": 18, "scale": 4}
        elif self.length:
            made["length"] = self.length
        return made

    def problem(self, existing: Mapping[str, Any]) -> str | None:
        """What is wrong with the column as it is there."""
        kind, length = str(existing.get("type", "")), existing.get("length")
        if kind.lower() not in _TAKES[self.kind]:
            return f"has the type {kind}, not {self.words.partition(': ')[2].split(',')[0]}"
        if self.demanded and self.length and length and int(length) < self.length:
            return f"takes {length} characters, destinations.yaml says up to {self.length}"
        if bool(existing.get("isPrimaryKey")) != (self.kind == "address"):
            return "must be the only primary key" if self.kind == "address" else "must not be a primary key"
        if self.kind != "address" and existing.get("isNullable") is False:
            return "must be nullable: it is emptied for who is not wanted any more"
        return None


@dataclass(frozen=True)
class Row:
    """What a row is to hold, without its key. None empties a column."""

    values: Mapping[str, str | None] = field(repr=False)


def columns(destination: SalesforceDestination) -> list[Column]:
    """The columns the data extension must have, the key first."""
    mapped = [
        Column(one.name, one.type, one.max_length or TEXT_LENGTH, demanded=one.max_length is not None)
        if one.type == "text"
        else Column(one.name, one.type)
        for one in destination.fields
    ]
    own = [Column(EXTERNAL_ID, "text", 64), Column(destination.opt_out_column, "boolean")]
    return [Column(destination.address_column, "address", 254), *own, *mapped]


def problems(destination: SalesforceDestination) -> list[tuple[tuple[str | int, ...], str]]:
    """What in a destination can't be columns of a data extension: where, and why."""
    own = {destination.address_column.lower(), destination.opt_out_column.lower(), EXTERNAL_ID.lower()}
    found: list[tuple[tuple[str | int, ...], str]] = []
    for number, one in enumerate(destination.fields):
        if not _COLUMN.fullmatch(one.name):
            text = f"'{one.name}' can't be a column: at most 128 of A-Z, a-z, 0-9 and _, beginning with a letter"
            found.append((("fields", number), text))
        elif one.name.lower() in own:
            found.append((("fields", number), f"'{one.name}' is in use already: choose another name"))
    return found


def wanted(destination: SalesforceDestination, contact: Contact) -> Row:
    """What a contact's operation says its row is to hold.

    The opt-out column is only ever set: nothing here writes that somebody has not opted out.
    """
    if contact.operation in ("remove", "retract"):
        opt_out = {destination.opt_out_column: "True"} if contact.operation == "retract" else {}
        return Row({**{one.name: _empty(one) for one in destination.fields}, **opt_out})
    values: dict[str, str | None] = {EXTERNAL_ID: contact.external_id}
    for one in destination.fields:
        value = contact.values.get(one.name)
        if value is not None:
            values[one.name] = value
        elif one.null == "clear":
            values[one.name] = _empty(one)
    return Row(values)


def differing(row: Row, held: Mapping[str, str]) -> list[str]:
    """Columns that do not hold what they should. `held` is by lower-case name, as rows are read back."""
    return sorted(name for name, value in row.values.items() if not _same(held.get(name.lower(), ""), value))


def words(body: Any) -> str:
    """The platform's own words, from any of its forms of errors."""
    body = body if isinstance(body, dict) else {}
    said = [str(body["message"])] if body.get("message") else []
    for entry in [*(body.get("additionalErrors") or []), *messages(body)]:
        if isinstance(entry, dict) and entry.get("message"):
            said.append(str(entry["message"]))
    return "; ".join(dict.fromkeys(said)) or "no reason given"


def messages(body: Any) -> list[dict[str, Any]]:
    """`resultMessages` that are errors; each may be wrapped in a `resultMessage`."""
    found = body.get("resultMessages") if isinstance(body, dict) else None
    entries = [entry.get("resultMessage", entry) for entry in found or [] if isinstance(entry, dict)]
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("resultClass") == "Error"]


def special(status: int, body: Any) -> Exception | None:
    """Salesforce's own ways to say no."""
    code = str(body.get("errorcode")) if isinstance(body, dict) else ""
    if status == 429 and code == "50200":
        return Postponed("Salesforce blocks requests for now (status 429, error 50200)", BLOCKED_SECONDS)
    if status == 403:
        said = f": {words(body)}" if isinstance(body, dict) else ""
        return DestinationError(
            f"the installed package may not do this (status 403{said})",
            hint="its API integration needs the scopes that docs/export.md lists, in this business unit",
        )
    return None


def _empty(one: DestinationField) -> str | None:
    """Text is emptied by an empty text, other columns by NULL. Not confirmed by Salesforce's documents."""
    return "" if one.type == "text" else None


def _same(held: str, value: str | None) -> bool:
    if not value:
        return held == ""
    if held == value or unicodedata.normalize("NFC", held).strip() == value.strip():
        return True
    if value in ("True", "False"):
        return held.lower() in ({"true", "1"} if value == "True" else {"false", "0"})
    try:
        return Decimal(held) == Decimal(value)
    except InvalidOperation:
        return _day(held) == value


def _day(held: str) -> str:
    """The day of a date as it is read back, such as 12/3/2017 12:00:00 AM."""
    for form in ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%Y"):
        try:
            return datetime.strptime(held, form).date().isoformat()  # noqa: DTZ007  (only its day)
        except ValueError:
            continue
    return held
