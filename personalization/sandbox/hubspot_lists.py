"""Static lists of the HubSpot sandbox, and who is on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_problems import Refused, bad_input, moment, not_found
from personalization.sandbox.store import Store

PROCESSING = ("MANUAL", "SNAPSHOT", "DYNAMIC")


class Lists:
    """The lists of contacts of one account."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handle(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        lists = self._store.all("lists")
        if method == "POST" and not parts:
            return Answer(200, {"list": self._make(body)})
        if method == "GET" and parts[:1] == ["object-type-id"] and parts[2:3] == ["name"] and len(parts) == 4:
            found = [one for one in lists.values() if (one["objectTypeId"], one["name"]) == (parts[1], parts[3])]
        else:
            found = [lists[one] for one in parts[:1] if one in lists]
        if not found:
            raise not_found("List")
        if method == "GET" and parts[-1] != "memberships":
            return Answer(200, {"list": found[0]})
        if method == "DELETE" and len(parts) == 1:
            self._store.delete("lists", parts[0])
            self._store.delete("members", parts[0])
            return Answer(204)
        if len(parts) < 2 or parts[1] != "memberships":
            raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        if method == "GET":
            members = sorted(self._store.get("members", parts[0]) or [])
            return Answer(200, {"results": [{"recordId": one, "membershipTimestamp": moment()} for one in members]})
        if found[0]["processingType"] == "DYNAMIC":
            raise Refused(400, "VALIDATION_ERROR", "The list must have a MANUAL or SNAPSHOT processing type")
        return Answer(200, self._change(parts[0], parts[2:], body))

    def _make(self, body: Any) -> dict[str, Any]:
        body = body if isinstance(body, dict) else {}
        if not body.get("name") or not body.get("objectTypeId") or body.get("processingType") not in PROCESSING:
            raise bad_input("some required fields were not set: [name, objectTypeId, processingType]")
        lists = self._store.all("lists")
        if any(one["name"] == body["name"] for one in lists.values()):
            raise Refused(400, "VALIDATION_ERROR", f"A list named '{body['name']}' already exists")
        number = str(max(map(int, lists), default=0) + 1)
        made = {"listId": number, "listVersion": 1, "name": body["name"], "objectTypeId": body["objectTypeId"]}
        made |= {"processingType": body["processingType"], "processingStatus": "COMPLETE"}
        self._store.put("lists", number, made)
        return made

    def _change(self, number: str, what: list[str], body: Any) -> dict[str, Any]:
        if what == ["add"] and isinstance(body, list):
            adding, removing = body, []
        elif what == ["remove"] and isinstance(body, list):
            adding, removing = [], body
        elif what == ["add-and-remove"] and isinstance(body, dict):
            adding, removing = body.get("recordIdsToAdd", []), body.get("recordIdsToRemove", [])
        else:
            raise bad_input("a list of record ids is required")
        members, contacts = set(self._store.get("members", number) or []), self._store.all("contacts")
        missing = [one for one in map(str, [*adding, *removing]) if one not in contacts]
        added = [one for one in map(str, adding) if one in contacts and one not in members]
        removed = [one for one in map(str, removing) if one in members]
        self._store.put("members", number, sorted((members | set(added)) - set(removed)))
        return {"recordIdsAdded": added, "recordIdsRemoved": removed, "recordIdsMissing": missing}
