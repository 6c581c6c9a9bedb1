"""listmonk has no segments, only queries: each is tried, and shown for use in *Subscribers, Advanced*.

No list is made of a query: a list has subscriptions of its own, so that somebody who opted out of ours would still be
mailed through it.
"""

from __future__ import annotations

from collections.abc import Sequence

from personalization.rules.native import Native
from personalization.stages.export.adapters.listmonk_server import Server
from personalization.stages.export.adapters.native import Brought


class ListmonkSegments:
    """See `NativeSegments`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def bring(self, wanted: Sequence[Native]) -> Brought:
        """See `NativeSegments.bring`. Nothing is made; one request a segment."""
        notes = []
        for native in wanted:
            query: dict[str, str | int] = {
                "query": str(native.content),
                "list_id": self._server.list_id,
                "page": 1,
                "per_page": 1,
            }
            answer = self._server.expect(
                self._server.http.call("GET", "/subscribers", query=query), f"take the query of '{native.segment}'"
            )
            total = int(answer.body["data"]["total"])
            notes.append(f"segment '{native.segment}': {total:,} subscribers of the list match its query")
        return Brought([], notes)
