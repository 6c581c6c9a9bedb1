"""Saved segments of a Mailchimp list: made and kept as our rules say.

https://mailchimp.com/developer/marketing/api/list-segments/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from personalization.rules.native import Native
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.mailchimp_setup import expect
from personalization.stages.export.adapters.native import Brought, left_over, name_of, shows

PAGE = 1000


class MailchimpSegments:
    """See `NativeSegments`."""

    def __init__(self, http: Http, list_id: str) -> None:
        self._http, self._path = http, f"/lists/{list_id}/segments"

    def bring(self, wanted: Sequence[Native]) -> Brought:
        """See `NativeSegments.bring`. One request when nothing has changed."""
        existing = {str(one["name"]): one for one in pages(self._http, self._path, {}, "segments")}
        made = []
        for native in wanted:
            name = name_of(native)
            body = {"name": name, "options": native.content}
            known = existing.get(name)
            if known is None:
                expect(self._http, self._http.call("POST", self._path, body=body, repeatable=False), f"make '{name}'")
                made.append(f"segment '{name}'")
            elif known.get("type") == "static":
                raise DestinationError(
                    f"'{name}' at Mailchimp is a tag, not a segment with conditions",
                    hint="rename or delete it at Mailchimp: Audience, Tags",
                )
            elif not shows(known.get("options"), native.content):
                expect(
                    self._http, self._http.call("PATCH", f"{self._path}/{known['id']}", body=body), f"change '{name}'"
                )
                made.append(f"segment '{name}' changed")
        return Brought(made, left_over(list(existing), wanted, "Mailchimp"))


def pages(http: Http, path: str, query: Mapping[str, str | int], of: str) -> Iterator[Any]:
    """What all pages of an answer hold under a name."""
    offset = 0
    while True:
        answer = http.call("GET", path, query={**query, "count": PAGE, "offset": offset})
        page = expect(http, answer, f"list its {of}").body[of]
        yield from page
        offset += PAGE
        if len(page) < PAGE:
            return
