"""Requests to a listmonk server that more than one part of the adapter makes: the list, look-ups, imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from personalization.program.models import ListmonkDestination
from personalization.stages.export.adapters.base import Clock, DestinationError, Postponed
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.listmonk_shapes import (
    EXTERNAL_ID,
    Subscriber,
    queries,
    subscriber,
    version_of,
    words,
)
from personalization.stages.export.adapters.traffic import Traffic

CONNECTIONS = 8  # listmonk names no limit; this leaves a small server and its database room for others
BUSY_SECONDS = 5.0
FORGETS = (3, 0)  # from then on an import may begin when the last one was not cleared
PATCHES = (6, 1)  # the first version that can change a subscriber in part
WINDOW, LARGEST_WINDOW = 1_000, 64_000  # ids: pages of listmonk end at 50, and its offsets slow down with every page
_UNDER_WAY = ("importing", "stopping")
KEY_HINT = (
    "check the API user and its token (Admin, Users), and that its role has lists:get_all, lists:manage_all (or a list "
    "role that manages the list), subscribers:get_all, subscribers:manage, subscribers:import and subscribers:sql_query"
)
LIST_HINT = "the API user's role may not manage it (lists:manage_all, or a list role)"


class Server:
    """One list of one server.

    Parameters
    ----------
    destination : ListmonkDestination
    name : str
        Of the destination, for messages.
    base_url : str
        With or without /api at its end.
    api_user, api_token : str
    traffic : Traffic, optional
        What every request has to pass.
    clock : Clock, optional
    """

    def __init__(
        self,
        destination: ListmonkDestination,
        name: str,
        *,
        base_url: str,
        api_user: str,
        api_token: str,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._destination, self._name = destination, name
        self.http = Http(
            "listmonk",
            base_url.rstrip("/").removesuffix("/api") + "/api",
            auth=(api_user, api_token),
            connections=CONNECTIONS,
            key_hint=KEY_HINT,
            traffic=traffic,
            clock=clock,
        )
        self._list: dict[str, Any] | None = None
        self._patches = True

    @cached_property
    def version(self) -> tuple[int, int] | None:
        """Of the server's release, for example (6, 2); None when it tells none."""
        try:
            answer = self.http.call("GET", "/config")
        except DestinationError:  # that an API user may not see it says nothing about what they may change
            return None
        data = answer.body.get("data") if answer.ok and isinstance(answer.body, dict) else None
        return version_of(data.get("version")) if isinstance(data, dict) else None

    @property
    def patches(self) -> bool:
        """Whether it can change a subscriber in part."""
        return self._patches and (self.version is None or self.version >= PATCHES)

    def cannot_patch(self) -> None:
        """Remember that it can't, whatever its version says."""
        self._patches = False

    @property
    def list_id(self) -> int:
        return int(self._shown_list()["id"])

    @property
    def double_optin(self) -> bool:
        return bool(self._shown_list()["optin"] == "double")

    @property
    def sends_optins(self) -> bool:
        """Whether listmonk is to ask new contacts to confirm: it does for single calls, and not for imports."""
        return self.double_optin and self._destination.new_contacts == "unconfirmed"

    def find_list(self, known_fields: frozenset[str]) -> list[str]:
        """Find the list, by number or name; make it when it has a name and never was there. Returns what was made."""
        wanted = self._destination.list
        found = self._lists_called(wanted)
        if len(found) > 1:
            raise DestinationError(
                f"listmonk has {len(found)} lists called '{wanted}'", hint="set `list` to the number of one of them"
            )
        if found:
            self._list = found[0]
            return []
        if isinstance(wanted, int):
            raise DestinationError(
                f"listmonk has no list {wanted}, or the API user may not see it",
                hint="`list` is the number in the list's address in listmonk, or its name",
            )
        if known_fields:
            raise DestinationError(
                f"the list '{wanted}' was deleted at listmonk, and with it who was on it",
                hint=f"name another one, or run `personalization export setup {self._name}`: it makes the list again "
                "and lets the next run send all contacts",
            )
        body = {"name": wanted, "type": "private", "optin": "single", "tags": ["personalization"]}
        answer = self.expect(self.http.call("POST", "/lists", body=body, repeatable=False), "make a list")
        self._list = answer.body["data"]
        return [f"list '{wanted}' for {', '.join(mapped.name for mapped in self._destination.fields)}"]

    def look_up(self, addresses: Sequence[str], deadline: float | None = None) -> dict[str, Subscriber]:
        """Subscribers by address; whoever is not there is left out."""
        found = self._ask(list(queries("subscribers.email", addresses)), deadline)
        return {str(shown["email"]): subscriber(self._destination, self.list_id, shown) for shown in found}

    def delete(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """Delete subscribers with their subscriptions, views and clicks. Returns how many there were."""
        ids = self._ids(addresses, external_ids)
        for key in ids:
            self.expect(self.http.call("DELETE", f"/subscribers/{key}"), "delete a subscriber")
        return len(ids)

    def exports(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Subscribers with their subscriptions, views and clicks: a file, without the usual envelope."""
        found = []
        for key in self._ids(addresses, external_ids):
            answer = self.http.call("GET", f"/subscribers/{key}/export")
            if not answer.ok or not isinstance(answer.body, dict):
                raise DestinationError(f"listmonk would not export a subscriber: {self.http.redact(words(answer))}")
            found.append(dict(answer.body))
        return found

    def _ids(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[int]:
        token = f"subscribers.attribs->'{self._destination.attribute}'->>'{EXTERNAL_ID}'"
        expressions = [*queries("subscribers.email", addresses), *queries(token, external_ids)]
        return sorted({int(shown["id"]) for shown in self._ask(expressions)})

    def all_subscribers(self) -> Iterator[dict[str, Any]]:
        """Every subscriber of the list in the order of their numbers."""
        # not `order_by`: what listmonk can order by, and does by itself, differs from version to version
        latest = f"(SELECT MAX(subscriber_id) FROM subscriber_lists WHERE list_id = {self.list_id})"  # noqa: S608
        newest = self._query({"query": f"subscribers.id = {latest}", "list_id": self.list_id, "per_page": 1})
        last = int(newest[0]["id"]) if newest else 0
        begin, window = 0, WINDOW
        while begin < last:
            expression = f"subscribers.id > {begin} AND subscribers.id <= {begin + window}"
            page = self._query({"query": expression, "list_id": self.list_id, "order": "asc", "per_page": "all"})
            yield from page
            begin += window
            if len(page) < WINDOW / 4:  # most numbers belong to other lists, or to nobody any more
                window = min(window * 2, LARGEST_WINDOW)
            elif len(page) > WINDOW:
                window = max(window // 2, WINDOW)

    def opt_out(self, ids: Sequence[int], deadline: float, *, of_all: bool = False) -> Answer:
        """Unsubscribe from the list, or blocklist for all lists, as the destination or the reason says."""
        if of_all or self._destination.opt_out == "blocklist":
            body: dict[str, Any] = {"ids": list(ids)}
            return self.http.call("PUT", "/subscribers/blocklist", body=body, deadline=deadline)
        body = {"ids": list(ids), "action": "unsubscribe", "target_list_ids": [self.list_id]}
        return self.http.call("PUT", "/subscribers/lists", body=body, deadline=deadline)

    def import_stats(self) -> dict[str, Any]:
        """`name` of the newest import's file and its `status`: none, importing, stopping, finished, failed."""
        answer = self.expect(self.http.call("GET", "/import/subscribers"), "show its imports")
        return dict(answer.body["data"])

    def importing(self, prefix: str = "") -> bool:
        """Whether an import runs whose file's name begins like that."""
        stats = self.import_stats()
        return stats["status"] in _UNDER_WAY and str(stats["name"]).startswith(prefix)

    def import_log(self) -> str:
        answer = self.expect(self.http.call("GET", "/import/subscribers/logs"), "show the log of an import")
        return str(answer.body["data"])

    def start_import(self, name: str, params: str, content: bytes, deadline: float) -> None:
        form = {"params": (None, params), "file": (name, content, "text/csv")}
        over = self.import_stats()["status"] in ("finished", "failed")
        if over and self.version is not None and self.version < FORGETS:
            self.expect(self.http.call("DELETE", "/import/subscribers"), "clear what is left of an import")
        answer = self.http.call("POST", "/import/subscribers", form=form, repeatable=False, deadline=deadline)
        if not answer.ok and self.importing():
            raise Postponed("another import began at listmonk", BUSY_SECONDS)
        self.expect(answer, "take an import")

    def expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok or not isinstance(answer.body, dict) or "data" not in answer.body:
            raise DestinationError(f"listmonk would not {what}: {self.http.redact(words(answer))}")
        return answer

    def _ask(self, expressions: Sequence[str], deadline: float | None = None) -> list[dict[str, Any]]:
        if not expressions:
            return []

        def ask(expression: str) -> list[dict[str, Any]]:
            return self._query({"query": expression, "per_page": "all"}, deadline)

        with ThreadPoolExecutor(max_workers=min(CONNECTIONS, len(expressions))) as pool:
            return [shown for page in pool.map(ask, expressions) for shown in page]

    def _query(self, query: dict[str, str | int], deadline: float | None = None) -> list[dict[str, Any]]:
        answer = self.expect(self.http.call("GET", "/subscribers", query=query, deadline=deadline), "show subscribers")
        return list(answer.body["data"]["results"] or [])

    def _shown_list(self) -> dict[str, Any]:
        if self._list is None:
            self.find_list(frozenset({"known"}))
        assert self._list is not None
        return self._list

    def _lists_called(self, wanted: int | str) -> list[dict[str, Any]]:
        query: dict[str, str | int] = {"minimal": "true", "per_page": "all"}
        answer = self.expect(self.http.call("GET", "/lists", query=query), "show its lists")
        data = answer.body["data"]
        lists = data["results"] if isinstance(data, dict) else data  # without any list an empty array comes instead
        return [entry for entry in lists if entry["id" if isinstance(wanted, int) else "name"] == wanted]
