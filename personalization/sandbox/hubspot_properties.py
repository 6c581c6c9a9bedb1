"""Properties of contacts in the HubSpot sandbox: their definition, and which values they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_problems import Refused, bad_input, invalid_values, not_found
from personalization.sandbox.store import Store

FIELD_TYPES = {
    "bool": {"booleancheckbox", "calculation_equation"},
    "date": {"date"},
    "datetime": {"date"},
    "enumeration": {"booleancheckbox", "checkbox", "radio", "select", "calculation_equation"},
    "number": {"number", "calculation_equation"},
    "phone_number": {"phonenumber"},
    "string": {"file", "text", "textarea", "calculation_equation", "html", "phonenumber"},
}
LONGEST, MOST_UNIQUE = 65_536, 10
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")
_OWN = ("email", "firstname", "lastname")
_READ_ONLY = ("hs_object_id", "createdate", "lastmodifieddate", "hs_email_optout", "hs_additional_emails")


class Properties:
    """The properties of one account.

    Parameters
    ----------
    subscriptions : iterable of int
        Each has a property that shows who has opted out of it.
    """

    def __init__(self, store: Store, subscriptions: Mapping[int, str]) -> None:
        self._store = store
        self._opt_outs = tuple(f"hs_email_optout_{one}" for one in subscriptions)

    def all(self) -> dict[str, dict[str, Any]]:
        """HubSpot's own, then those that were made, by name."""
        own = {name: _defined(name) for name in _OWN}
        own |= {name: _defined(name, read_only=True) for name in (*_READ_ONLY, *self._opt_outs)}
        return {**own, **self._store.all("properties")}

    def unique(self) -> set[str]:
        return {name for name, one in self._store.all("properties").items() if one["hasUniqueValue"]}

    def handle(self, method: str, parts: list[str], body: Any) -> Answer:
        if parts[:1] == ["groups"]:
            return self._groups(method, parts[1:], body)
        if method == "GET" and not parts:
            return Answer(200, {"results": list(self.all().values())})
        if method == "POST" and not parts:
            return Answer(201, self._make(body))
        if len(parts) == 1 and parts[0] not in self.all():
            raise not_found(f"Property {parts[0]}")
        if method == "GET" and len(parts) == 1:
            return Answer(200, self.all()[parts[0]])
        if method == "DELETE" and len(parts) == 1:
            self._store.delete("properties", parts[0])
            return Answer(204)
        raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")

    def check(self, values: Any) -> dict[str, str]:
        """The values as they are kept. Raises `Refused` with every value that does not fit."""
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise bad_input("Cannot deserialize value of type `java.lang.String`: properties are text")
        known, kept, problems = self.all(), {}, []
        for name, value in values.items():
            if name not in known:
                problems.append((name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
            elif known[name]["modificationMetadata"]["readOnlyValue"]:
                problems.append((name, "READ_ONLY_VALUE", f'"{name}" is a read only property'))
            elif value and (misfit := _misfit(known[name], value)):
                problems.append((name, *misfit))
            else:
                kept[name] = value.lower() if name == "email" else value
        if problems:
            raise invalid_values(problems)
        return kept

    def _make(self, body: Any) -> dict[str, Any]:
        body = body if isinstance(body, dict) else {}
        missing = [key for key in ("name", "label", "type", "fieldType", "groupName") if not body.get(key)]
        if missing:
            raise bad_input(f"some required fields were not set: {missing}")
        name, kind = body["name"], body["type"]
        if not _NAME.fullmatch(name) or name.startswith("hs_"):
            raise Refused(400, "VALIDATION_ERROR", f"Property name '{name}' is not allowed")
        if kind not in FIELD_TYPES or body["fieldType"] not in FIELD_TYPES[kind]:
            raise bad_input(f"type {kind} and fieldType {body['fieldType']} don't go together")
        if kind == "enumeration" and not body.get("options"):
            raise bad_input("options are required for enumerations")
        if name in self.all():
            raise Refused(409, "OBJECT_ALREADY_EXISTS", f"A property named '{name}' already exists.")
        if body["groupName"] not in self._store.all("groups") | {"contactinformation": {}}:
            raise Refused(400, "VALIDATION_ERROR", f"property group {body['groupName']} does not exist")
        if body.get("hasUniqueValue") and len(self.unique()) >= MOST_UNIQUE:
            raise Refused(400, "VALIDATION_ERROR", f"at most {MOST_UNIQUE} properties may have unique values")
        made = {**_defined(name, kind, body["fieldType"]), "label": body["label"], "groupName": body["groupName"]}
        made |= {"hasUniqueValue": bool(body.get("hasUniqueValue")), "hubspotDefined": False}
        self._store.put("properties", name, made)
        return made

    def _groups(self, method: str, parts: list[str], body: Any) -> Answer:
        groups = {
            "contactinformation": _group("contactinformation", "Contact information"),
            **self._store.all("groups"),
        }
        if method == "GET" and not parts:
            return Answer(200, {"results": list(groups.values())})
        if method == "GET" and parts[0] in groups:
            return Answer(200, groups[parts[0]])
        if method == "POST" and not parts:
            if not isinstance(body, dict) or not body.get("name") or not body.get("label"):
                raise bad_input("name and label are required")
            if body["name"] in groups:
                raise Refused(409, "OBJECT_ALREADY_EXISTS", f"A group named '{body['name']}' already exists.")
            self._store.put("groups", body["name"], _group(body["name"], body["label"]))
            return Answer(201, self._store.get("groups", body["name"]))
        raise not_found("Property group")


def _group(name: str, label: str) -> dict[str, Any]:
    return {"name": name, "label": label, "displayOrder": -1, "archived": False}


def _defined(name: str, kind: str = "string", field: str = "text", *, read_only: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": kind,
        "fieldType": field,
        "description": "",
        "groupName": "contactinformation",
        "options": [],
        "hasUniqueValue": False,
        "hubspotDefined": True,
        "calculated": False,
        "modificationMetadata": {"archivable": not read_only, "readOnlyDefinition": False, "readOnlyValue": read_only},
    }


def _misfit(defined: Mapping[str, Any], value: str) -> tuple[str, str] | None:
    """HubSpot's code and words for a value that a property does not take."""
    if defined["name"] == "email" and not _ADDRESS.fullmatch(value):
        return "INVALID_EMAIL", f"Email address {value} is invalid"
    if len(value) > LONGEST:
        return "INVALID_LENGTH", f"value is too long: {len(value)} characters"
    if defined["type"] == "number":
        try:
            float(value)
        except ValueError:
            return "INVALID_LONG", f"{value} was not a valid number."
    if defined["type"] == "date" and not _is_date(value):
        return "INVALID_DATE", f"{value} was not a valid date."
    return None


def _is_date(value: str) -> bool:
    """YYYY-MM-DD, or milliseconds that are midnight UTC."""
    try:
        if value.isdigit():
            return datetime.fromtimestamp(int(value) / 1000, UTC).time().isoformat() == "00:00:00"
        return bool(date.fromisoformat(value))
    except (ValueError, OverflowError):
        return False
