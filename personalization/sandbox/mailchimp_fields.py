"""Merge fields of the Mailchimp sandbox: their definition, and which values of members they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from personalization.sandbox.answers import invalid, not_found
from personalization.sandbox.store import Store

TYPES = frozenset(
    ["text", "number", "address", "phone", "date", "url", "imageurl", "radio", "dropdown", "birthday", "zip"]
)
MAX_FIELDS = 30
MAX_TEXT_BYTES = 255
_TAG = re.compile(r"[A-Z0-9_]{1,10}")
_BIRTHDAY = re.compile(r"(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])")


class MergeFields:
    """The merge fields of one list, by tag."""

    def __init__(self, store: Store, list_id: str) -> None:
        self._store = store
        self._list_id = list_id
        self._kind = f"merge_fields:{list_id}"

    @property
    def by_tag(self) -> Mapping[str, Any]:
        return self._store.all(self._kind)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        name, kind = body.get("name"), body.get("type")
        problems = []
        if not isinstance(name, str) or not name:
            problems.append(("name", "Please enter a value"))
        if kind not in TYPES:
            problems.append(("type", f"Value must be one of: {', '.join(TYPES)}"))
        number = max((field["merge_id"] for field in self.by_tag.values()), default=0) + 1
        tag = body.get("tag") or f"MMERGE{number}"
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            problems.append(("tag", "At most 10 characters of A-Z, 0-9 and _"))
        if problems:
            raise invalid("The resource submitted could not be validated.", problems)
        if tag in self.by_tag:
            raise invalid(f"A Merge Field with the tag '{tag}' already exists for this list.", [])
        if len(self.by_tag) >= MAX_FIELDS:
            raise invalid(f"This list has {MAX_FIELDS} merge fields, the most it can have.", [])
        field = {
            "merge_id": number,
            "tag": tag,
            "name": name,
            "type": kind,
            "required": bool(body.get("required", False)),
            "default_value": str(body.get("default_value", "")),
            "public": bool(body.get("public", False)),
            "display_order": number + 1,
            "options": dict(body.get("options") or {}),
            "help_text": str(body.get("help_text", "")),
            "list_id": self._list_id,
        }
        self._store.put(self._kind, tag, field)
        return field

    def delete(self, merge_id: str) -> str:
        """Remove a field; returns its tag."""
        for tag, field in self.by_tag.items():
            if str(field["merge_id"]) == merge_id:
                self._store.delete(self._kind, tag)
                return tag
        raise not_found()

    def check(self, values: Any, *, new_member: bool, skip_required: bool) -> dict[str, Any]:
        """The values to keep: those of existing fields. Values of unknown tags are ignored without a word.

        Raises `Problem` (400, with one entry per field) when a value does not fit its field.
        """
        if not isinstance(values, dict):
            raise invalid(_SCHEMA, [("merge_fields", "Schema describes object, another type found instead")])
        problems = []
        for tag, value in values.items():
            field = self.by_tag.get(tag)
            if field and not isinstance(value, str | int | float):
                problems.append((f"merge_fields.{tag}", "Data did not match any of the schemas described in anyOf."))
        if problems:
            raise invalid(_SCHEMA, problems)
        kept = {}
        for tag, field in self.by_tag.items():
            if tag not in values:
                if field["required"] and new_member and not skip_required:
                    problems.append((tag, "Please enter a value"))
                continue
            message = _misfit(field, values[tag])
            if message:
                problems.append((tag, message))
            elif values[tag] == "" and field["required"] and not skip_required:
                problems.append((tag, "Please enter a value"))
            else:
                kept[tag] = _stored(field, values[tag])
        if problems:
            raise invalid("Your merge fields were invalid.", problems)
        return kept


_SCHEMA = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."


def _misfit(field: Mapping[str, Any], value: Any) -> str | None:
    if value == "":
        return None
    if field["type"] == "number":
        return None if _number(value) is not None else "Please enter a number"
    text = str(value)
    if field["type"] == "date":
        try:
            date.fromisoformat(text)
        except ValueError:
            return "Please enter the date"
    if field["type"] == "birthday" and not _BIRTHDAY.fullmatch(text):
        return "Please enter a month (01-12) and a day (01-31)"
    if field["type"] in ("radio", "dropdown") and text not in field["options"].get("choices", []):
        return "Please select a value from the list"
    if len(text.encode()) > MAX_TEXT_BYTES:
        return f"Please enter at most {MAX_TEXT_BYTES} bytes"
    return None


def _stored(field: Mapping[str, Any], value: Any) -> Any:
    return _number(value) if field["type"] == "number" and value != "" else str(value)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value)
    except ValueError:
        return None
