"""Shapes of the ActiveCampaign API v3: what is written to it and how its answers are read. No request is made here.

Nothing here can subscribe anybody again: a `subscribe` goes with bulk imports of new contacts only, and "contacts may
not be subscribed to lists which they have previously unsubscribed from" there (published OpenAPI, bulk_import); the
only status ever written to `/contactLists` is 2, unsubscribed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.program.models import ActiveCampaignDestination, DestinationField
from personalization.stages.export.adapters.base import Contact
from personalization.stages.export.adapters.http import Answer

EXTERNAL_ID = "EXTERNALID"
IMPORT_CONTACTS, IMPORT_BYTES = 250, 390_000  # the limit is 400 KB; this leaves room for what surrounds the contacts
FIELD_TYPES = {"text": "text", "number": "number", "date": "date"}
UNSUBSCRIBED = "2"
_TAG = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Wish:
    """What is to become of one contact: `values` by field name, an empty text clears."""

    address: str = field(repr=False)
    operation: str
    values: Mapping[str, str]

    @property
    def brings(self) -> bool:
        return self.operation in ("add", "change")

    @property
    def clears(self) -> bool:
        """Whether a value is to disappear: imports are not documented to do that, changes of one contact are."""
        return self.operation != "add" and "" in self.values.values()


def field_problems(fields: Sequence[DestinationField]) -> list[tuple[int, str]]:
    """Which fields can't be custom fields, and why."""
    return [
        (number, f"'{mapped.name}' can't be a personalization tag: A-Z, 0-9 and _ only, a letter first")
        if not _TAG.fullmatch(mapped.name)
        else (number, f"{EXTERNAL_ID} is where the customer's token goes: choose another name")
        for number, mapped in enumerate(fields)
        if not _TAG.fullmatch(mapped.name) or mapped.name == EXTERNAL_ID
    ]


def wish(destination: ActiveCampaignDestination, contact: Contact) -> Wish:
    """What a contact's operation means for it."""
    address = contact.address.strip().lower()
    if contact.operation in ("remove", "retract"):
        cleared = {mapped.name: "" for mapped in destination.fields}
        return Wish(address, contact.operation, {EXTERNAL_ID: "", **cleared})
    values = {EXTERNAL_ID: contact.external_id}
    for mapped in destination.fields:
        value = contact.values.get(mapped.name)
        if value is not None:
            values[mapped.name] = value
        elif mapped.null == "clear":
            values[mapped.name] = ""
    return Wish(address, contact.operation, values)


def imported(wanted: Wish, ids: Mapping[str, str], list_id: int) -> dict[str, Any]:
    """One contact of a bulk import. Only who is new to us is put on the list; opt-outs there win over that."""
    values = [{"id": int(ids[name]), "value": value} for name, value in wanted.values.items() if value]
    entry: dict[str, Any] = {"email": wanted.address, "fields": values}
    if wanted.operation == "add":
        entry["subscribe"] = [{"listid": str(list_id)}]
    return entry


def chunks(entries: Sequence[dict[str, Any]]) -> Iterator[slice]:
    """Parts of a list of contacts, each small enough for one import."""
    begin = size = 0
    for number, entry in enumerate(entries):
        length = len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if number > begin and (number - begin >= IMPORT_CONTACTS or size + length > IMPORT_BYTES):
            yield slice(begin, number)
            begin, size = number, 0
        size += length
    if len(entries) > begin:
        yield slice(begin, len(entries))


def field_values(wanted: Wish, ids: Mapping[str, str]) -> list[dict[str, str]]:
    """Custom field values as changes of one contact take them."""
    return [{"field": ids[name], "value": value} for name, value in wanted.values.items()]


def held(answer: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, str]:
    """Our values in an answer about one contact, by field name."""
    names = {key: name for name, key in ids.items()}
    return {
        names[str(entry["field"])]: "" if entry.get("value") is None else str(entry["value"])
        for entry in answer.get("fieldValues") or []
        if str(entry["field"]) in names
    }


def differing(wanted: Wish, shown: Mapping[str, str]) -> list[str]:
    """Fields in which a contact does not show what it should."""
    return sorted(name for name, value in wanted.values.items() if not _same(shown.get(name, ""), value))


def suspects(answer: Answer, count: int) -> list[int]:
    """Positions of contacts that may have made an import fail, from `failureReasons`.

    The documents don't say whether `contact` counts from 0 or from 1, so both are under suspicion.
    """
    reasons = answer.body.get("failureReasons") if isinstance(answer.body, dict) else None
    numbers = {entry.get("contact") for entry in reasons or [] if isinstance(entry, dict)}
    found = {place for number in numbers if isinstance(number, int) for place in (number, number - 1)}
    return sorted(place for place in found if 0 <= place < count)


def words(answer: Answer) -> str:
    """The platform's own words about why it refused."""
    body = answer.body if isinstance(answer.body, dict) else {}
    said = [str(body["message"])] if body.get("message") else []
    for entry in body.get("errors") or []:
        said.append(": ".join(str(entry[key]) for key in ("title", "detail") if entry.get(key)))
    for reason in body.get("failureReasons") or []:
        said.append(str(reason.get("failureReason")) if isinstance(reason, dict) else str(reason))
    return "; ".join(said) or f"status {answer.status}"


def _same(shown: str, value: str) -> bool:
    if unicodedata.normalize("NFC", shown).strip() == value.strip():
        return True
    try:
        return bool(value) and Decimal(shown) == Decimal(value)
    except InvalidOperation:
        return False
