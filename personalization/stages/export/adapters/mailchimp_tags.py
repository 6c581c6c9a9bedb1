"""Tags of a Mailchimp list. A tag is a static segment there, changed for 500 contacts at a time.

https://mailchimp.com/developer/marketing/api/list-segments/batch-add-or-remove-members/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.mailchimp_shapes import words

PAGE = 1000
AT_ONCE = 500


class MailchimpTags:
    """See `Tags`."""

    def __init__(self, http: Http, list_id: str) -> None:
        self._http, self._path = http, f"/lists/{list_id}/segments"
        self._ids: dict[str, int] | None = None

    def make(self, name: str) -> bool:
        if name in self._known():
            return False
        body = {"name": name, "static_segment": []}
        answer = self._expect(
            self._http.call("POST", self._path, body=body, repeatable=False), f"make the tag '{name}'"
        )
        self._known()[name] = int(answer.body["id"])
        return True

    def carriers(self, name: str) -> Iterator[str]:
        path = f"{self._path}/{self._known()[name]}/members"
        whoever = {"include_unsubscribed": "true", "include_cleaned": "true", "include_transactional": "true"}
        for member in self._pages(path, {"fields": "members.email_address", **whoever}, "members"):
            yield str(member["email_address"])

    def change(self, name: str, add: Sequence[str], remove: Sequence[str]) -> int:
        """See `Tags.change`. A request for each 500 contacts."""
        path, refused = f"{self._path}/{self._known()[name]}", 0
        for start in range(0, max(len(add), len(remove)), AT_ONCE):
            portions = {
                "members_to_add": add[start : start + AT_ONCE],
                "members_to_remove": remove[start : start + AT_ONCE],
            }
            body = {name: list(addresses) for name, addresses in portions.items() if addresses}
            answer = self._expect(self._http.call("POST", path, body=body), f"change who carries the tag '{name}'")
            refused += int(answer.body.get("error_count", 0))
        return refused

    def _known(self) -> dict[str, int]:
        if self._ids is None:
            self._ids = {}
            for one in self._pages(self._path, {}, "segments"):
                if one["type"] == "static":
                    self._ids[str(one["name"])] = int(one["id"])
                else:
                    self._ids.pop(str(one["name"]), None)
        return self._ids

    def _pages(self, path: str, query: dict[str, str | int], of: str) -> Iterator[Any]:
        offset = 0
        while True:
            answer = self._http.call("GET", path, query={**query, "count": PAGE, "offset": offset})
            page = self._expect(answer, "list its tags").body[of]
            yield from page
            offset += PAGE
            if len(page) < PAGE:
                return

    def _expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok:
            raise DestinationError(f"Mailchimp would not {what}: {self._http.redact(words(answer))}")
        return answer
