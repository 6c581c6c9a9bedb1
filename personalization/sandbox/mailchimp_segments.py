"""Segments of the Mailchimp sandbox: saved ones with conditions on merge fields, and static ones, which are tags.

What Mailchimp's documents leave open is a setting, so that a test can try both ways: whether a member without a value
passes `not`, `notcontain` and, counted as 0, `less`, `greater` and `is`; and whether texts are compared in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.sandbox.answers import invalid, not_found
from personalization.sandbox.mailchimp_fields import MergeFields
from personalization.sandbox.store import Store

MOST_CONDITIONS, LONGEST_NAME, MOST_AT_ONCE = 5, 100, 500
_BLANKS = ("blank", "blank_not")
_OPS = {
    "TextMerge": ("is", "not", "contains", "notcontain", "starts", "ends", "greater", "less", *_BLANKS),
    "DateMerge": ("is", "not", "less", "greater", *_BLANKS),
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "is": lambda held, asked: held == asked,
    "not": lambda held, asked: held != asked,
    "contains": lambda held, asked: asked in held,
    "notcontain": lambda held, asked: asked not in held,
    "starts": lambda held, asked: held.startswith(asked),
    "ends": lambda held, asked: held.endswith(asked),
    "greater": lambda held, asked: held > asked,
    "less": lambda held, asked: held < asked,
}
_NUMBERS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "is": lambda held, asked: held == asked,
    "not": lambda held, asked: held != asked,
    "greater": lambda held, asked: held > asked,
    "less": lambda held, asked: held < asked,
}


class Segments:
    """The saved segments of one list.

    Parameters
    ----------
    tag : callable
        Gives tags to a member and takes them: what the member's own path does.
    blanks_pass, ignores_case : bool
        The ways to read what is not documented.
    """

    def __init__(
        self,
        store: Store,
        list_id: str,
        fields: MergeFields,
        members: Callable[[], Mapping[str, Any]],
        tag: Callable[[str, Mapping[str, Any]], None],
        *,
        blanks_pass: bool = True,
        ignores_case: bool = True,
    ) -> None:
        self._store, self._list_id, self._fields, self._all_members = store, list_id, fields, members
        self._tag = tag
        self._kind = f"segments:{list_id}"
        self.blanks_pass, self.ignores_case = blanks_pass, ignores_case

    def all(self) -> list[dict[str, Any]]:
        """Also the tags that were made by giving them to a member."""
        known = {one["name"] for one in self._store.all(self._kind).values()}
        carried = {tag["name"] for member in self._all_members().values() for tag in member["tags"]}
        for name in sorted(carried - known):
            self.create({"name": name, "static_segment": []})
        return [self.shown(one) for one in self._store.all(self._kind).values()]

    def get(self, key: str) -> dict[str, Any]:
        found = self._store.get(self._kind, key)
        if found is None:
            raise not_found()
        return dict(found)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if "static_segment" in body and "options" in body:
            raise invalid(_SCHEMA, [("static_segment", "static_segment and options can't be given together")])
        made = {**self._checked(body), "created_at": _now()}
        number = max((int(key) for key in self._store.all(self._kind)), default=1000) + 1
        self._store.put(self._kind, str(number), {"id": number, **made})
        return self.shown(self.get(str(number)))

    def change(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        known = self.get(key)
        self._store.put(self._kind, key, {**known, **self._checked(body, known)})
        return self.shown(self.get(key))

    def delete(self, key: str) -> None:
        self.get(key)
        self._store.delete(self._kind, key)

    def batch(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add members to a static segment and take others out; addresses that are not in the list are ignored."""
        segment = self.get(key)
        if not segment.get("static"):
            raise invalid("Only static segments can be changed like this.", [])
        asked = {}
        for name in ("members_to_add", "members_to_remove"):
            asked[name] = body.get(name) or []
            if not isinstance(asked[name], list) or not all(isinstance(one, str) for one in asked[name]):
                raise invalid(_SCHEMA, [(name, "Schema describes array, something else found instead")])
            if len(asked[name]) > MOST_AT_ONCE:
                raise invalid(_SCHEMA, [(name, f"Array must contain at most {MOST_AT_ONCE} items")])
        by_address = {member["email_address"].lower(): member for member in self._all_members().values()}
        changed: dict[str, list[dict[str, Any]]] = {}
        for name, status in (("members_to_add", "active"), ("members_to_remove", "inactive")):
            found = [by_address[one.lower()] for one in asked[name] if one.lower() in by_address]
            changed[name] = [member for member in found if _carries(member, segment) == (status == "inactive")]
            for member in changed[name]:
                self._tag(member["email_address"], {"tags": [{"name": segment["name"], "status": status}]})
        added, removed = changed["members_to_add"], changed["members_to_remove"]
        counts = {"total_added": len(added), "total_removed": len(removed), "error_count": 0}
        return {"members_added": added, "members_removed": removed, "errors": [], **counts}

    def members(self, key: str, statuses: Collection[str] = ("subscribed",)) -> list[dict[str, Any]]:
        """Members of some statuses who meet the conditions now, or carry the tag."""
        segment = self.get(key)
        if segment.get("static"):
            everybody = self._all_members().values()
            return [member for member in everybody if member["status"] in statuses and _carries(member, segment)]
        options = segment["options"]
        join = all if options["match"] == "all" else any
        return [
            member
            for member in self._all_members().values()
            if member["status"] in statuses
            and join(self._meets(member["merge_fields"], one) for one in options["conditions"])
        ]

    def shown(self, segment: Mapping[str, Any]) -> dict[str, Any]:
        count = len(self.members(str(segment["id"])))
        kind = "static" if segment.get("static") else "saved"
        said = {name: value for name, value in segment.items() if name != "static"}
        return {**said, "member_count": count, "type": kind, "list_id": self._list_id}

    def _checked(self, body: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise invalid(_SCHEMA, [("name", "Required fields were not provided: name")])
        if any(o["name"] == name for o in self._store.all(self._kind).values() if not known or o["id"] != known["id"]):
            raise invalid("Sorry, that tag or segment already exists.", [("name", "Already exists")])
        if "static_segment" in body or (known and known.get("static")):
            if body.get("static_segment"):
                raise invalid("The sandbox makes static segments empty: add members afterwards.", [])
            return {"name": name, "static": True, "updated_at": _now()}
        options = body.get("options") or (known or {}).get("options")
        if not isinstance(options, dict) or options.get("match") not in ("any", "all"):
            raise invalid(_SCHEMA, [("options.match", "Value must be one of: any, all")])
        conditions = options.get("conditions")
        if not isinstance(conditions, list) or not 0 < len(conditions) <= MOST_CONDITIONS:
            raise invalid(_SCHEMA, [("options.conditions", f"1 to {MOST_CONDITIONS} conditions")])
        problems = [
            (f"options.conditions.{number}", problem)
            for number, one in enumerate(conditions)
            if (problem := self._misfit(one))
        ]
        if problems:
            raise invalid(_SCHEMA, problems)
        return {"name": name, "options": options, "updated_at": _now()}

    def _misfit(self, condition: Any) -> str | None:
        if not isinstance(condition, dict) or condition.get("condition_type") not in _OPS:
            return f"condition_type must be one of: {', '.join(_OPS)}"
        kind, op = condition["condition_type"], condition.get("op")
        field = self._fields.by_tag.get(condition.get("field", ""))
        if field is None or (field["type"] == "date") != (kind == "DateMerge"):
            return f"there is no merge field {condition.get('field')} for {kind}"
        if op not in _OPS[kind]:
            return f"op must be one of: {', '.join(_OPS[kind])}"
        if op in _BLANKS:
            return "value is not taken here" if condition.get("value") else None
        value = condition.get("value")
        if not isinstance(value, str) or not value:
            return "value must be a text"
        try:
            if kind == "DateMerge":
                date.fromisoformat(value)
            elif field["type"] == "number":
                Decimal(value)
        except (ValueError, InvalidOperation):
            return f"value does not fit a {field['type']}"
        return None

    def _meets(self, values: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
        held, op = values.get(condition["field"], ""), condition["op"]
        blank = held == ""
        if op in _BLANKS:
            return blank == (op == "blank")
        asked = condition["value"]
        if self._fields.by_tag[condition["field"]]["type"] == "number":
            if blank and not self.blanks_pass:
                return False
            number = _NUMBERS.get(op)
            if number:
                return number(Decimal("0" if blank else str(held)), Decimal(asked))
        if blank and not self.blanks_pass:
            return False
        if self.ignores_case:
            held, asked = str(held).lower(), asked.lower()
        return _TEXTS[op](str(held), asked)


_SCHEMA = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."


def _carries(member: Mapping[str, Any], segment: Mapping[str, Any]) -> bool:
    return any(tag["name"] == segment["name"] for tag in member["tags"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
