"""Active lists of a HubSpot account: made and kept as our rules say.

Published OpenAPI of lists: create, search, `update-list-filters`, look up by name with `includeFilters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from personalization.rules.native import Native
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.hubspot_setup import CONTACTS
from personalization.stages.export.adapters.hubspot_shapes import Paths, words
from personalization.stages.export.adapters.native import PREFIX, Brought, left_over, name_of, shows

PAGE = 500


class HubspotSegments:
    """See `NativeSegments`."""

    def __init__(self, http: Http, paths: Paths) -> None:
        self._http, self._path = http, paths.lists

    def bring(self, wanted: Sequence[Native]) -> Brought:
        """See `NativeSegments.bring`. One request a segment, and one for all."""
        made = []
        for native in wanted:
            name = name_of(native)
            known = self._known(name)
            if known is None:
                body = {
                    "name": name,
                    "objectTypeId": CONTACTS,
                    "processingType": "DYNAMIC",
                    "filterBranch": native.content,
                }
                self._expect(self._http.call("POST", self._path, body=body, repeatable=False), f"make '{name}'")
                made.append(f"active list '{name}'")
            elif known.get("processingType") != "DYNAMIC":
                raise DestinationError(
                    f"the list '{name}' at HubSpot is a static one: filters don't say who is on it",
                    hint="rename or delete it at HubSpot: CRM, Lists",
                )
            elif not shows(known.get("filterBranch"), native.content):
                path = f"{self._path}/{known['listId']}/update-list-filters"
                body = {"filterBranch": native.content}
                self._expect(self._http.call("PUT", path, body=body), f"change '{name}'")
                made.append(f"active list '{name}' changed")
        return Brought(made, left_over(self._names(), wanted, "HubSpot"))

    def _known(self, name: str) -> dict[str, Any] | None:
        path = f"{self._path}/object-type-id/{CONTACTS}/name/{quote(name, safe='')}"
        answer = self._http.call("GET", path, query={"includeFilters": "true"})
        return None if answer.status == 404 else dict(self._expect(answer, f"show the list '{name}'").body["list"])

    def _names(self) -> list[str]:
        """All active lists whose name holds our prefix."""
        found: list[str] = []
        offset = 0
        while True:
            body = {"query": PREFIX.strip(), "processingTypes": ["DYNAMIC"], "count": PAGE, "offset": offset}
            answer = self._expect(self._http.call("POST", f"{self._path}/search", body=body), "search its lists")
            found += [str(one["name"]) for one in answer.body["lists"]]
            if not answer.body.get("hasMore"):
                return found
            offset = int(answer.body["offset"])

    def _expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok:
            raise DestinationError(f"HubSpot would not {what}: {self._http.redact(words(answer.body))}")
        return answer
