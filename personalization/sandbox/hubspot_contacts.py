"""Contacts of the HubSpot sandbox: one by one, in batches, and what HubSpot says about each input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_problems import (
    Refused,
    bad_input,
    batch,
    inputs_of,
    invalid_values,
    moment,
    not_found,
)
from personalization.sandbox.hubspot_properties import Properties
from personalization.sandbox.store import Store

PAGE = 100
_ALWAYS = ("createdate", "email", "hs_object_id", "lastmodifieddate")


class Contacts:
    """The contacts of one account.

    Parameters
    ----------
    opt_outs : callable
        What the opt-out properties of an address show.
    """

    def __init__(self, store: Store, properties: Properties, opt_outs: Callable[[str], dict[str, str]]) -> None:
        self._store, self._properties, self._opt_outs = store, properties, opt_outs
        self._index: dict[str, dict[str, str]] = {}
        self._last = "100"

    @property
    def all(self) -> dict[str, dict[str, Any]]:
        return self._store.all("contacts")

    def forget(self) -> None:
        self._index.clear()
        self._last = "100"

    def handle(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        if not parts:
            return self._page(query) if method == "GET" else Answer(201, self._shown(self._create(_properties(body))))
        if method == "POST" and parts == ["gdpr-delete"]:
            return self._delete_for_good(body)
        if method == "POST" and parts[0] == "batch" and len(parts) == 2:
            return self._batch(parts[1], body)
        contact = self._get(parts[0], query.get("idProperty"))
        if method == "GET":
            return Answer(200, self._shown(contact, _asked(query)))
        if method == "PATCH":
            return Answer(200, self._shown(self._change(contact, _properties(body))))
        if method == "DELETE":
            self._remove(contact)
            return Answer(204)
        raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")

    def _batch(self, what: str, body: Any) -> Answer:
        inputs = inputs_of(body)
        if what == "read":
            return self._read(inputs, body)
        ids = [(one.get("idProperty"), one.get("id")) for one in inputs if isinstance(one, dict)]
        if what in ("update", "upsert") and len(set(ids)) < len(inputs):
            raise Refused(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input: IDs must be unique")
        work = {"create": self._create_one, "update": self._update_one, "upsert": self._upsert_one}.get(what)
        if work is None:
            raise not_found(f"batch/{what}")
        # without a trace id for every input, and with `email` as the key, a batch is all or nothing
        partial = all(one.get("objectWriteTraceId") and one.get("idProperty") != "email" for one in inputs)
        if not partial:
            for one in inputs:
                self._properties.check(_properties(one))
        results, errors = [], []
        for one in inputs:
            try:
                results.append(work(one))
            except Refused as refused:
                if not partial:
                    raise
                errors.append(refused.entry(objectWriteTraceId=[one["objectWriteTraceId"]]))
        return batch(results, errors)

    def _create_one(self, one: Mapping[str, Any]) -> dict[str, Any]:
        return self._written(one, self._create(_properties(one)))

    def _update_one(self, one: Mapping[str, Any]) -> dict[str, Any]:
        contact = self._get(str(one.get("id")), self._key(one))
        return self._written(one, self._change(contact, _properties(one)))

    def _upsert_one(self, one: Mapping[str, Any]) -> dict[str, Any]:
        key = one.get("idProperty")
        if key != "email":
            self._key(one)
        if not key or not one.get("id"):
            raise bad_input("idProperty and id are required")
        found = self._find(key, str(one["id"]))
        values = _properties(one)
        contact = self._change(found, values) if found else self._create({**values, key: str(one["id"])})
        shown = self._written(one, contact)
        # null is for other answers: here the published document has texts only
        properties = {name: "" if value is None else value for name, value in shown["properties"].items()}
        return {**shown, "properties": properties, "new": not found}

    def _read(self, inputs: list[Any], body: Mapping[str, Any]) -> Answer:
        key = body.get("idProperty")
        asked = body.get("properties")
        if not isinstance(asked, list) or "propertiesWithHistory" not in body:
            raise bad_input("some required fields were not set: [properties, propertiesWithHistory]")
        if key and key != "email":
            self._key(body)
        found = [(str(one["id"]), self._find(key, str(one["id"]))) for one in inputs]
        results = {contact["id"]: self._shown(contact, asked) for _, contact in found if contact}
        missing = [name for name, contact in found if not contact]
        message = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."
        errors = [Refused(404, "OBJECT_NOT_FOUND", message).entry(ids=missing)] if missing else []
        return batch(list(results.values()), errors)

    def _page(self, query: Mapping[str, str]) -> Answer:
        limit = int(query.get("limit", 10))
        if not 0 < limit <= PAGE:
            raise Refused(400, "VALIDATION_ERROR", f"limit must be at most {PAGE}")
        after = int(query.get("after", 0))
        ids = sorted(one for one in map(int, self.all) if one >= after)
        body: dict[str, Any] = {"results": [self._shown(self.all[str(one)], _asked(query)) for one in ids[:limit]]}
        if len(ids) > limit:
            body["paging"] = {"next": {"after": str(ids[limit]), "link": "https://api.hubapi.com/…"}}
        return Answer(200, body)

    def _key(self, one: Mapping[str, Any]) -> str | None:
        key = one.get("idProperty")
        if key and key not in self._properties.unique():
            message = f"Unable to perform update/upsert by non-unique 0-1 property {key}"
            raise Refused(400, "VALIDATION_ERROR", message)
        return key

    def _get(self, one: str, key: str | None) -> dict[str, Any]:
        contact = self._find(key, one)
        if contact is None:
            raise not_found("resource")
        return contact

    def _find(self, key: str | None, value: str) -> dict[str, Any] | None:
        return self.all.get(self._indexed(key).get(value.lower(), "") if key else value)

    def _indexed(self, key: str) -> dict[str, str]:
        if key not in self._index:
            held = {i: one["properties"].get(key) for i, one in self.all.items()}
            self._index[key] = {value.lower(): i for i, value in held.items() if value}
        return self._index[key]

    def _create(self, values: Any) -> dict[str, Any]:
        kept = self._properties.check(values)
        if not any(kept.get(name) for name in ("email", "firstname", "lastname")):
            raise invalid_values([("email", "REQUIRED_PROPERTY", "email, firstname or lastname must be set")])
        self._check_unique(kept, None)
        self._last = str(max(int(self._last), *(map(int, list(self.all)[-1:])), 100) + 1)
        number = self._last
        now = moment()
        contact = {"id": number, "properties": {}, "createdAt": now, "updatedAt": now, "archived": False}
        return self._put(contact, kept)

    def _change(self, contact: dict[str, Any], values: Any) -> dict[str, Any]:
        kept = self._properties.check(values)
        self._check_unique(kept, contact["id"])
        return self._put({**contact, "updatedAt": moment()}, kept)

    def _put(self, contact: dict[str, Any], kept: Mapping[str, str]) -> dict[str, Any]:
        old = contact["properties"]
        new = {name: value for name, value in {**old, **kept}.items() if value}
        for key in ("email", *self._properties.unique()):
            if key in kept:
                self._indexed(key).pop((old.get(key) or "").lower(), None)
                if kept[key]:
                    self._indexed(key)[kept[key].lower()] = contact["id"]
        self._store.put("contacts", contact["id"], {**contact, "properties": new})
        return self.all[contact["id"]]

    def _check_unique(self, kept: Mapping[str, str], own: str | None) -> None:
        email = kept.get("email")
        other = self._indexed("email").get(email) if email else None
        if other and other != own:
            raise Refused(409, "CONFLICT", f"Contact already exists. Existing ID: {other}")
        if email and email in self._store.all("deleted_for_good"):
            raise invalid_values([("email", "FORGOTTEN", f"{email} was deleted for good and can't be used again")])
        for key in self._properties.unique() & kept.keys():
            other = self._indexed(key).get(kept[key].lower()) if kept[key] else None
            if other and other != own:
                raise invalid_values([(key, "CONFLICTING_UNIQUE_VALUE", f"{other} already has that value.")])

    def _remove(self, contact: Mapping[str, Any]) -> None:
        self._store.delete("contacts", contact["id"])
        self._index.clear()

    def _delete_for_good(self, body: Any) -> Answer:
        body = body if isinstance(body, dict) else {}
        contact = self._find(body.get("idProperty"), str(body.get("objectId")))
        if contact is None and body.get("idProperty") != "email":
            raise not_found("resource")
        email = contact["properties"].get("email") if contact else str(body["objectId"]).lower()
        if email:
            self._store.put("deleted_for_good", email, True)
        if contact:
            self._remove(contact)
        return Answer(204)

    def _written(self, one: Mapping[str, Any], contact: dict[str, Any]) -> dict[str, Any]:
        shown = self._shown(contact, list(_properties(one)))
        return {**shown, "objectWriteTraceId": one["objectWriteTraceId"]} if one.get("objectWriteTraceId") else shown

    def _shown(self, contact: Mapping[str, Any], asked: list[str] | None = None) -> dict[str, Any]:
        held = contact["properties"]
        held = {**held, **self._opt_outs(held.get("email", "")), "hs_object_id": contact["id"]}
        held |= {"createdate": contact["createdAt"], "lastmodifieddate": contact["updatedAt"]}
        names = [name for name in dict.fromkeys((*_ALWAYS, *(asked or ()))) if name in self._properties.all()]
        return {**contact, "properties": {name: held.get(name) for name in names}}


def _properties(body: Any) -> dict[str, Any]:
    values = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(values, dict):
        raise bad_input("properties are required")
    return values


def _asked(query: Mapping[str, str]) -> list[str]:
    return [name for name in query.get("properties", "").split(",") if name]
