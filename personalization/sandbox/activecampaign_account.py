"""Lists, custom fields and contacts of the ActiveCampaign sandbox, as the v3 API shows and changes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.store import Store

FIELD_TYPES = ("dropdown", "hidden", "checkbox", "date", "text", "datetime", "textarea", "listbox", "radio", "number")
STATUSES = {"unconfirmed": "0", "active": "1", "unsubscribed": "2", "bounced": "3"}
_ADDRESS = re.compile(r"[^@\s\"(),:;<>\[\]\\]+@[^@\s\"(),:;<>\[\]\\]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Refused(Exception):
    """An error in ActiveCampaign's form: a message, or a list of errors with titles."""

    def __init__(self, status: int, message: str = "", *, title: str = "", code: str = "", pointer: str = "") -> None:
        super().__init__(message or title)
        body: dict[str, Any] = {"message": message}
        if title:
            error: dict[str, Any] = {"title": title, "detail": "", "code": code}
            body = {"errors": [{**error, "source": {"pointer": pointer}} if pointer else error]}
        self.answer = Answer(status, body)


def is_address(text: Any) -> bool:
    """Whether it looks like an address; what follows the @ is looked at by imports only."""
    return isinstance(text, str) and bool(_ADDRESS.fullmatch(text))


class Account:
    """What the API token of one account can see and do."""

    def __init__(self, store: Store, list_name: str) -> None:
        self._store, self._list_name = store, list_name
        self._by_address: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        """An account starts with one list and no custom field."""
        if not self._store.all("lists"):
            self.add_list(self._list_name)
        self._by_address = {contact["email"]: key for key, contact in self.contacts.items()}

    @property
    def lists(self) -> dict[str, Any]:
        return self._store.all("lists")

    @property
    def fields(self) -> dict[str, Any]:
        return self._store.all("fields")

    @property
    def contacts(self) -> dict[str, Any]:
        return self._store.all("contacts")

    def add_list(self, name: str) -> dict[str, Any]:
        key = self._next("lists")
        entry = {"id": key, "name": name, "stringid": name.lower().replace(" ", "-"), "cdate": _now(), "links": {}}
        self._store.put("lists", key, entry)
        return entry

    def delete_list(self, key: str) -> None:
        self._store.delete("lists", key)

    def shown_fields(self) -> dict[str, Any]:
        relations = [relation for field in self.fields.values() for relation in field["fieldRels"]]
        shown = [self._shown_field(field) for field in self.fields.values()]
        return {"fieldOptions": [], "fieldRels": relations, "fields": shown, "meta": {"total": str(len(shown))}}

    def add_field(self, body: Mapping[str, Any]) -> dict[str, Any]:
        title, kind = body.get("title"), body.get("type")
        if not title:
            raise Refused(422, title="The field title was not provided.", code="field_missing")
        if kind not in FIELD_TYPES:
            raise Refused(422, title="The field type was not provided or is not valid.", code="field_invalid")
        tag = str(body.get("perstag") or title).upper().replace(" ", "_")
        for field in self.fields.values():
            if field["title"] == title:
                raise Refused(422, title="There is already a field with this title", code="duplicate")
            if field["perstag"] == tag:
                taken = "There is already a field with this personalization tag"
                raise Refused(422, title=taken, code="field_invalid")
        key = self._next("fields")
        field = {"id": key, "title": title, "type": kind, "perstag": tag, "defval": None, "fieldRels": []}
        self._store.put("fields", key, field)
        return {"fieldOptions": [], "fieldRels": [], "fields": [self._shown_field(field)], "meta": {"total": "1"}}

    def delete_field(self, key: str) -> None:
        """Its values are gone with it."""
        if key not in self.fields:
            raise Refused(404, f"No Result found for Field with id {key}")
        self._store.delete("fields", key)
        for contact in list(self.contacts.values()):
            values = {number: value for number, value in contact["values"].items() if number != key}
            self._store.put("contacts", contact["id"], {**contact, "values": values})

    def relate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A field on a list. Numbers here; lists of relations show them as texts."""
        if not isinstance(body.get("field"), int) or not isinstance(body.get("relid"), int):
            raise Refused(422, title="field and relid must be integers.", code="field_invalid")
        field, list_id = str(body["field"]), str(body["relid"])
        if field not in self.fields:
            raise Refused(422, title="The related field does not exist.", code="related_missing")
        number = self._next("relations")
        relation = {"field": field, "relid": list_id, "dorder": "0", "cdate": _now(), "links": [], "id": number}
        self._store.put("relations", number, relation)
        known = self.fields[field]
        self._store.put("fields", field, {**known, "fieldRels": [*known["fieldRels"], relation]})
        shown = {name: value for name, value in relation.items() if name != "dorder"}
        return {**shown, "field": int(field), "relid": int(list_id)}

    def find(self, address: str) -> dict[str, Any] | None:
        key = self._by_address.get(address.strip().lower())
        return self.contacts.get(key) if key else None

    def contact(self, key: str) -> dict[str, Any]:
        if key not in self.contacts:
            raise Refused(404, f"No Result found for Subscriber with id {key}")
        return dict(self.contacts[key])

    def upsert(self, address: Any, values: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], bool]:
        """Write a contact; also whether it is new."""
        if not is_address(address):
            raise Refused(
                422,
                title="Contact Email Address is not valid.",
                code="email_invalid",
                pointer="/data/attributes/email",
            )
        known = self.find(address)
        email = address.strip().lower()
        contact = known or {"id": self._next("contacts"), "email": email, "values": {}, "lists": {}, "cdate": _now()}
        return self.write(contact, values), known is None

    def write(self, contact: Mapping[str, Any], values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Set custom field values; an empty one clears. Values of fields that there are not are ignored."""
        held = dict(contact["values"])
        for entry in values:
            key, value = str(entry.get("field", entry.get("id", ""))), entry.get("value")
            if key not in self.fields:
                continue
            text = "" if value is None else str(value)
            if not self._fits(self.fields[key]["type"], text):
                continue  # a value that is no date or number is not kept
            held[key] = text
        changed = {**contact, "values": held, "udate": _now()}
        self._store.put("contacts", changed["id"], changed)
        self._by_address[changed["email"]] = changed["id"]
        return changed

    def set_list(self, key: str, list_id: str, status: str) -> dict[str, Any]:
        """`POST /contactLists`: whatever status is given is written, also over an opt-out."""
        contact = self.contact(key)
        if list_id not in self.lists:
            raise Refused(400, f"List {list_id} does not exist")
        if status not in ("1", "2"):
            raise Refused(400, "Invalid status")
        self._put_on_list(contact, list_id, status, _now())
        shown = {"contact": key, "list": list_id, "status": int(status), "sdate": _now(), "id": f"{key}0{list_id}"}
        return {**shown, "form": None, "seriesid": "0", "unsubreason": "", "sourceid": "3", "links": {}}

    def leave(self, address: str, status: str, at: str) -> None:
        """A recipient unsubscribes from all lists, or bounces."""
        contact = self.find(address)
        for list_id in contact["lists"] if contact else ():
            self._put_on_list(self.contact(contact["id"]) if contact else {}, list_id, status, at)

    def _put_on_list(self, contact: Mapping[str, Any], list_id: str, status: str, at: str) -> None:
        lists = {**contact["lists"], list_id: status}
        left = {**contact.get("left", {}), list_id: at}
        self._store.put("contacts", contact["id"], {**contact, "lists": lists, "left": left, "udate": _now()})

    def join(self, key: str, list_id: str) -> None:
        """What an import's `subscribe` does: nobody who unsubscribed or bounced gets on the list again."""
        contact = self.contact(key)
        if list_id in self.lists and list_id not in contact["lists"]:
            self._store.put("contacts", key, {**contact, "lists": {**contact["lists"], list_id: "1"}})

    def delete(self, key: str) -> None:
        contact = self.contact(key)
        self._by_address.pop(contact["email"], None)
        self._store.delete("contacts", key)

    def shown(self, contact: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": contact["id"],
            "email": contact["email"],
            "firstName": "",
            "lastName": "",
            "phone": "",
            "cdate": contact["cdate"],
            "udate": contact.get("udate"),
            "deleted": "0",
            "links": {},
        }

    def shown_values(self, contact: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"{contact['id']}0{key}",
                "contact": contact["id"],
                "field": key,
                "value": value,
                "owner": contact["id"],
            }
            for key, value in contact["values"].items()
        ]

    def shown_lists(self, contact: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"{contact['id']}0{key}",
                "contact": contact["id"],
                "list": key,
                "status": status,
                "udate": contact.get("left", {}).get(key),
                "unsubreason": "",
            }
            for key, status in contact["lists"].items()
        ]

    @staticmethod
    def _fits(kind: str, text: str) -> bool:
        if text and kind == "date":
            return bool(_DATE.fullmatch(text))
        return bool(_NUMBER.fullmatch(text)) if text and kind == "number" else True

    def _shown_field(self, field: Mapping[str, Any]) -> dict[str, Any]:
        shown = {name: value for name, value in field.items() if name != "fieldRels"}
        return {**shown, "options": [], "relations": [relation["id"] for relation in field["fieldRels"]], "links": {}}

    def _next(self, kind: str) -> str:
        number = int(self._store.get("numbers", kind) or 0) + 1
        self._store.put("numbers", kind, number)
        return str(number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
