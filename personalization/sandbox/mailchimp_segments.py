"""Saved segments of the Mailchimp sandbox: conditions on merge fields, and who meets them now.

What Mailchimp's documents leave open is a setting, so that a test can try both ways: whether a member without a value
passes `not`, `notcontain` and, counted as 0, `less`, `greater` and `is`; and whether texts are compared in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.sandbox.answers import invalid, not_found
from personalization.sandbox.mailchimp_fields import MergeFields
from personalization.sandbox.store import Store

MOST_CONDITIONS, LONGEST_NAME = 5, 100
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
    blanks_pass, ignores_case : bool
        The ways to read what is not documented.
    """

    def __init__(
        self,
        store: Store,
        list_id: str,
        fields: MergeFields,
        members: Callable[[], Mapping[str, Any]],
        *,
        blanks_pass: bool = True,
        ignores_case: bool = True,
    ) -> None:
        self._store, self._list_id, self._fields, self._all_members = store, list_id, fields, members
        self._kind = f"segments:{list_id}"
        self.blanks_pass, self.ignores_case = blanks_pass, ignores_case

    def all(self) -> list[dict[str, Any]]:
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

    def members(self, key: str) -> list[dict[str, Any]]:
        """Subscribed members who meet the conditions now."""
        options = self.get(key)["options"]
        join = all if options["match"] == "all" else any
        return [
            member
            for member in self._all_members().values()
            if member["status"] == "subscribed"
            and join(self._meets(member["merge_fields"], one) for one in options["conditions"])
        ]

    def shown(self, segment: Mapping[str, Any]) -> dict[str, Any]:
        count = len(self.members(str(segment["id"])))
        return {**segment, "member_count": count, "type": "saved", "list_id": self._list_id}

    def _checked(self, body: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise invalid(_SCHEMA, [("name", "Required fields were not provided: name")])
        if any(o["name"] == name for o in self._store.all(self._kind).values() if not known or o["id"] != known["id"]):
            raise invalid("Sorry, that tag or segment already exists.", [("name", "Already exists")])
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
