"""Lists of the HubSpot sandbox, and who is on them: static ones by name, active ones by their filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_filters import check_branch, passes
from personalization.sandbox.hubspot_problems import Refused, bad_input, moment, not_found
from personalization.sandbox.store import Store

PROCESSING = ("MANUAL", "SNAPSHOT", "DYNAMIC")


class Lists:
    """The lists of contacts of one account.

    Parameters
    ----------
    properties : callable
        The properties there are, by name.
    ignores_case : bool
        How active lists compare texts.
    """

    def __init__(
        self, store: Store, properties: Callable[[], Mapping[str, Any]] = dict, *, ignores_case: bool = True
    ) -> None:
        self._store, self._properties, self.ignores_case = store, properties, ignores_case

    def handle(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        lists = self._store.all("lists")
        if method == "POST" and not parts:
            return Answer(200, {"list": self._make(body)})
        if method == "POST" and parts == ["search"]:
            return self._search(body)
        if method == "GET" and parts[:1] == ["object-type-id"] and parts[2:3] == ["name"] and len(parts) == 4:
            found = [one for one in lists.values() if (one["objectTypeId"], one["name"]) == (parts[1], parts[3])]
        else:
            found = [lists[one] for one in parts[:1] if one in lists]
        if not found:
            raise not_found("List")
        if method == "GET" and parts[-1] != "memberships":
            return Answer(200, {"list": _shown(found[0], query)})
        if method == "PUT" and parts[1:] == ["update-list-filters"]:
            return self._refilter(found[0], body)
        if method == "DELETE" and len(parts) == 1:
            self._store.delete("lists", parts[0])
            self._store.delete("members", parts[0])
            return Answer(204)
        if len(parts) < 2 or parts[1] != "memberships":
            raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        if method == "GET":
            members = sorted(self._members(found[0]))
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
        if body.get("filterBranch") is not None:
            check_branch(body["filterBranch"], self._properties())
            made["filterBranch"] = body["filterBranch"]
        self._store.put("lists", number, made)
        return made

    def _refilter(self, known: dict[str, Any], body: Any) -> Answer:
        if known["processingType"] != "DYNAMIC":
            raise Refused(400, "VALIDATION_ERROR", "Only lists with a DYNAMIC processing type have filters to update")
        branch = body.get("filterBranch") if isinstance(body, dict) else None
        check_branch(branch, self._properties())
        changed = {**known, "filterBranch": branch, "listVersion": known["listVersion"] + 1}
        self._store.put("lists", known["listId"], changed)
        return Answer(200, {"updatedList": changed})

    def _search(self, body: Any) -> Answer:
        body = body if isinstance(body, dict) else {}
        asked = str(body.get("query", "")).lower()
        kinds = body.get("processingTypes") or PROCESSING
        found = [
            _shown(one, {})
            for one in self._store.all("lists").values()
            if asked in one["name"].lower() and one["processingType"] in kinds
        ]
        begin, count = int(body.get("offset", 0)), int(body.get("count", 20))
        shown = found[begin : begin + count]
        more = {"offset": begin + len(shown), "hasMore": begin + len(shown) < len(found), "total": len(found)}
        return Answer(200, {"lists": shown, **more})

    def _members(self, known: Mapping[str, Any]) -> list[str]:
        if known["processingType"] != "DYNAMIC":
            return list(self._store.get("members", known["listId"]) or [])
        branch = known.get("filterBranch")
        return [
            key
            for key, contact in self._store.all("contacts").items()
            if branch and passes(branch, contact["properties"], ignores_case=self.ignores_case)
        ]

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
        # `records…` is no slip of ours: so it is in the published document (MembershipsUpdateResponse)
        return {"recordsIdsAdded": added, "recordIdsRemoved": removed, "recordIdsMissing": missing}


def _shown(known: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """Filters are shown when they are asked for."""
    asked = query.get("includeFilters", "").lower() == "true"
    return {name: value for name, value in known.items() if asked or name != "filterBranch"}
