"""Tags of a Mailchimp list. A tag is a static segment there, changed for 500 contacts at a time.

https://mailchimp.com/developer/marketing/api/list-segments/batch-add-or-remove-members/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.mailchimp_segments import pages
from personalization.stages.export.adapters.mailchimp_setup import expect

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
        answer = self._http.call("POST", self._path, body=body, repeatable=False)
        answer = expect(self._http, answer, f"make the tag '{name}'")
        self._known()[name] = int(answer.body["id"])
        return True

    def carriers(self, name: str) -> Iterator[str]:
        path = f"{self._path}/{self._known()[name]}/members"
        whoever = {"include_unsubscribed": "true", "include_cleaned": "true", "include_transactional": "true"}
        for member in pages(self._http, path, {"fields": "members.email_address", **whoever}, "members"):
            yield str(member["email_address"])

    def change(self, name: str, add: Sequence[str], remove: Sequence[str]) -> int:
        """See `Tags.change`. A request for each 500 contacts."""
        path, refused = f"{self._path}/{self._known()[name]}", 0
        for start in range(0, max(len(add), len(remove)), AT_ONCE):
            portions = {
                "members_to_add": add[start : start + AT_ONCE],
                "members_to_remove": remove[start : start + AT_ONCE],
            }
            body = {kind: list(addresses) for kind, addresses in portions.items() if addresses}
            answer = self._http.call("POST", path, body=body)
            answer = expect(self._http, answer, f"change who carries the tag '{name}'")
            refused += int(answer.body.get("error_count", 0))
        return refused

    def _known(self) -> dict[str, int]:
        """Numbers of the tags that are there, by name."""
        if self._ids is None:
            segments = pages(self._http, self._path, {}, "segments")
            self._ids = {str(one["name"]): int(one["id"]) for one in segments if one["type"] == "static"}
        return self._ids
