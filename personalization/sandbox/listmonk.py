"""A stand-in for a listmonk server on this machine: stateful, strict, and faulty when a test asks for it.

Built from listmonk's source (cmd/subscribers.go, cmd/import.go, internal/subimporter, queries/subscribers.sql) and
API documentation, and compared with a running server. It is version 6.2 unless a test asks for an older one
(`PUT /_sandbox/version`). Differences are listed in docs/export.md.
"""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from personalization.sandbox.answers import Answer
from personalization.sandbox.listmonk_data import STATUSES, SUBSCRIPTIONS, Data, default_name, sanitised
from personalization.sandbox.listmonk_import import Importer, NotStarted
from personalization.sandbox.store import Store
from personalization.sandbox.web import PlatformSandbox, json_body

VERSION = (6, 2)
SAYS_NO = (6, 0)  # before it lists that the API user may not manage are left out without a word
NO_405 = (4, 0)  # from then on a method that is not there gets 404
_PER_PAGE, _MOST_PER_PAGE = 20, 50
_ORDERS = ("email", "status", "name", "created_at", "updated_at")


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, {"message": message})


class ListmonkSandbox(PlatformSandbox):
    """The server's state and its routes.

    Parameters
    ----------
    api_key : str
        API user and token as `user:token`; without a colon the user is called `sandbox`.
    list_id : str
        Name of the first list, whose number is 1.
    state : Path, optional
        SQLite file to keep the state in; None forgets it at the end.
    batch_seconds : float
        How long an import takes at least.
    latency : float
        Seconds that every request takes at least.
    """

    api = "/api"

    def __init__(
        self,
        api_key: str,
        list_id: str,
        *,
        state: Path | None = None,
        batch_seconds: float = 0.2,
        latency: float = 0.0,
    ) -> None:
        super().__init__(Store(), latency=latency)
        self._credentials = api_key if ":" in api_key else f"sandbox:{api_key}"
        self.data = Data(state, list_id)
        self.importer = Importer(self.data, batch_seconds)
        self._become(VERSION)

    def further_routes(self) -> list[BaseRoute]:
        return [
            Route("/_sandbox/version", self._set_version, methods=["PUT"]),
            Route("/_sandbox/optins", self._show_optins),
        ]

    async def _set_version(self, request: Request) -> Response:
        """`version`, for example "5.1.0", and `manages_lists`, whether the API user may: until the state is reset."""
        asked = await request.json()
        text = str(asked["version"])
        major, minor = text.split(".")[:2]
        self._become((int(major), int(minor)), bool(asked.get("manages_lists", True)))
        return JSONResponse({"version": text})

    async def _show_optins(self, request: Request) -> Response:
        """Mails that asked somebody to confirm: each with `email` and `list_id`."""
        return JSONResponse({"optins": self.data.sent_optins()})

    def _become(self, version: tuple[int, int], manages_lists: bool = True) -> None:
        self._manages_lists = manages_lists
        self._version = self.data.version = self.importer.version = version

    def forget(self) -> None:
        super().forget()
        self._become(VERSION)
        self.importer.forget()
        self.data.forget()

    def recipients(self) -> list[str]:
        return self.data.recipients()

    def happened(self, event: dict[str, Any]) -> None:
        self.data.happened(event)

    def refuses(self, request: Request, path: str) -> Answer | None:
        header = request.headers.get("authorization", "").strip()
        if not header:
            return Answer(403, {"message": "invalid session"})
        if _credentials(header) != self._credentials:
            return Answer(403, {"message": "invalid API credentials"})
        return None

    async def answer(self, request: Request, path: str) -> Answer:
        allowed = False
        for verb, pattern, handler in _ROUTES:
            match = pattern.fullmatch(path)
            if self._version < _SINCE.get(handler, (0, 0)):
                continue
            allowed = allowed or bool(match)
            if not match or verb != request.method:
                continue
            try:
                if path == "/import/subscribers" and verb == "POST":
                    return Answer(200, {"data": self._import(request.headers, await request.body())})
                if not all(part.isdigit() and int(part) for part in match.groups()):
                    raise _Refused(400, "invalid ID")
                keys = tuple(int(part) for part in match.groups())
                if path.endswith("/export"):  # a file: without the envelope
                    return Answer(200, self.export_subscriber(keys))
                return Answer(200, {"data": handler(self, keys, request.query_params, await _body(request))})
            except _Refused as refused:
                return refused.answer
        if self._version >= NO_405:
            return Answer(404, {"message": "404 unknown endpoint"})
        return Answer(405, {"message": "Method Not Allowed"}) if allowed else Answer(404, {"message": "Not Found"})

    def _import(self, headers: Mapping[str, str], body: bytes) -> Any:
        parts = _multipart(headers.get("content-type", ""), body)
        params = parts.get("params", ("", b""))[1].decode()
        file = parts.get("file")
        try:
            return self.importer.begin(params, file)
        except NotStarted as problem:
            raise _Refused(problem.status, problem.message) from None

    def import_stats(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        return self.importer.stats

    def import_log(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        return self.importer.log

    def stop_import(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        self.importer.stop()
        return self.importer.stats

    def health(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        return True

    def config(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        major, minor = self._version
        return {"lang": "en", "needs_restart": False, "version": f"v{major}.{minor}.0"}

    def all_lists(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        found = self.data.lists()
        if query.get("minimal", "").lower() in ("true", "1", "t"):
            return {"results": found, "total": len(found), "page": 1, "per_page": len(found)} if found else []
        page, per_page = _page(query)
        shown = [self.data.counted(entry) for entry in found[(page - 1) * per_page :][: per_page or None]]
        return {"results": shown, "total": len(found), "page": page, "per_page": per_page}

    def one_list(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        found = [entry for entry in self.data.lists() if entry["id"] == keys[0]]
        if not found:
            raise _Refused(400, "List not found")
        return self.data.counted(found[0])

    def add_list(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        if not isinstance(body.get("name"), str) or not 1 <= len(body["name"]) <= 2000:
            raise _Refused(400, "Invalid length for `name`")
        kind, optin = body.get("type"), body.get("optin")
        if kind not in ("private", "public") or optin not in ("single", "double"):
            raise _Refused(500, 'Error creating list: invalid input value for enum: ""')
        return self.data.counted(self.data.add_list(body["name"], kind, optin, body.get("tags") or []))

    def delete_list(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        self.data.delete_list(keys[0])
        return True

    def query_subscribers(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        page, per_page = _page(query)
        try:
            list_ids = [int(text) for text in query.getlist("list_id")]
        except ValueError:
            raise _Refused(400, "Invalid ID") from None
        where = query.get("query", "").strip().removesuffix(";")
        order_by = query.get("order_by") if query.get("order_by") in _ORDERS else "subscribers.id"
        order = query.get("order", "desc").lower()
        order = order if order in ("asc", "desc") else "desc"
        status = query.get("subscription_status", "")
        try:
            found, total = self.data.subscribers(
                where, list_ids, status, f"{order_by} {order}", per_page or -1, (page - 1) * per_page
            )
        except sqlite3.Error as error:
            raise _Refused(400, f"Error preparing subscriber query: {error}") from None
        return {"results": found, "query": where, "search": "", "total": total, "page": page, "per_page": per_page}

    def export_subscriber(self, keys: tuple[int, ...]) -> dict[str, Any]:
        """Everything about one subscriber; names of private lists are not told."""
        found = self.data.subscriber(keys[0])
        if found is None:
            raise _Refused(500, 'Error fetching subscribers: sql: Scan error on column index 0, name "email"')
        views, clicks = self.data.activity(keys[0])
        names = {int(key): campaign["name"] for key, campaign in self.mailings.campaigns.items()}
        lists = [
            {
                "subscription_status": entry["subscription_status"],
                "name": "Private list" if entry["type"] == "private" else entry["name"],
                "type": entry["type"],
                "created_at": entry["subscription_created_at"],
            }
            for entry in found.pop("lists")
        ]
        return {
            "profile": [found],
            "subscriptions": lists,
            "campaign_views": [{"campaign": names.get(v["id"]), "views": v["view_count"]} for v in views],
            "link_clicks": [{"url": click["url"], "clicks": click["click_count"]} for click in clicks],
        }

    def show_activity(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        self.get_subscriber(keys, query, body)
        names = {int(key): campaign["name"] for key, campaign in self.mailings.campaigns.items()}
        views, clicks = self.data.activity(keys[0])
        return {
            "campaign_views": [{**view, "name": names.get(view["id"])} for view in views],
            "link_clicks": [{**click, "campaign_name": names.get(click["campaign_id"])} for click in clicks],
        }

    def show_bounces(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        names = {int(key): campaign["name"] for key, campaign in self.mailings.campaigns.items()}
        found = [
            {**one, "source": "api", "meta": {}, "campaign": {"id": key, "name": names.get(key)}}
            for one in self.data.bounces()
            for key in (one.pop("campaign_id"),)
        ]
        return _results(found, query)

    def show_campaigns(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        found = [
            {
                "id": int(campaign["id"]),
                "name": campaign["name"],
                "subject": campaign["name"],
                "status": "finished",
                "created_at": campaign["sent_at"],
                "started_at": campaign["sent_at"],
                "sent": len(self.mailings.events(campaign["id"], "sent")),
            }
            for campaign in reversed(self.mailings.campaigns.values())
        ]
        return _results(found, query)

    def get_subscriber(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        found = self.data.subscriber(keys[0])
        if found is None:
            raise _Refused(400, f"Subscriber ({keys[0]}: ) not found")
        return found

    def add_subscriber(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        email = sanitised(body.get("email"))
        if email is None:
            raise _Refused(400, "Invalid e-mail.")
        status = body.get("status") or "enabled"
        _check_status(status)
        known = {entry["id"] for entry in self.data.lists() if self._manages_lists}
        lists = [key for key in body.get("lists") or [] if key in known]
        if body.get("lists") and not lists and self._version >= SAYS_NO:
            raise _Refused(403, "Permission denied: lists")
        attribs = _attributes(body.get("attribs"))
        name = str(body.get("name") or "").strip() or default_name(email, self._version)
        if not name:
            raise _Refused(400, 'invalid or empty name ""')
        try:
            return self.data.insert(email, name, status, attribs, lists, bool(body.get("preconfirm_subscriptions")))
        except sqlite3.IntegrityError:
            raise _Refused(409, "E-mail already exists.") from None

    def put_subscriber(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        """Lists that are left out are taken away, as are attributes."""
        self.get_subscriber(keys, query, body)
        return self._update(keys[0], body, _attributes(body.get("attribs")), body.get("lists") or [])

    def patch_subscriber(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        """Attributes are merged at the top level. A status that is not sent is written back as it was read.

        Whoever has not confirmed a double opt-in list is asked again, unless `preconfirm_subscriptions` is set.
        """
        known = self.get_subscriber(keys, query, body)
        merged = {**known, **{key: value for key, value in body.items() if key != "attribs"}}
        attribs = {**known["attribs"], **_attributes(body.get("attribs"))}
        return self._update(keys[0], merged, attribs, body.get("lists"))

    def delete_subscriber(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        self.data.delete(keys)
        return True

    def delete_subscribers(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        ids = query.getlist("id")
        if not ids or not all(text.isdigit() for text in ids):
            raise _Refused(400, "One or more invalid IDs given: ids")
        self.data.delete([int(text) for text in ids])
        return True

    def change_lists(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        subscribers, lists = _ids(body, "ids"), _ids(body, "target_list_ids")
        if body.get("action") == "add":
            if body.get("status", "") not in ("", *SUBSCRIPTIONS):
                raise _Refused(500, "invalid input value for enum subscription_status")
            try:
                self.data.subscribe(subscribers, lists, body.get("status", ""))
            except sqlite3.IntegrityError:
                raise _Refused(500, "Error updating subscribers: violates foreign key constraint") from None
        elif body.get("action") == "unsubscribe":
            self.data.unsubscribe(subscribers, lists)
        elif body.get("action") == "remove":
            self.data.remove(subscribers, lists)
        else:
            raise _Refused(400, "Invalid action")
        return True

    def blocklist(self, keys: tuple[int, ...], query: QueryParams, body: Any) -> Any:
        self.data.blocklist(keys or _ids(body, "ids"))
        return True

    def _update(self, key: int, body: Mapping[str, Any], attribs: Mapping[str, Any], lists: Any) -> Any:
        email, status = sanitised(body.get("email")), body.get("status") or ""
        if email is None:
            raise _Refused(400, "Invalid e-mail.")
        if status:
            _check_status(status)
        try:
            name, preconfirm = str(body.get("name") or "").strip(), bool(body.get("preconfirm_subscriptions"))
            return self.data.update(key, email, name, status, attribs, lists, preconfirm)
        except sqlite3.IntegrityError:
            raise _Refused(500, "Error updating subscriber: duplicate key value") from None


def _credentials(header: str) -> str | None:
    """`token user:token`, or HTTP Basic."""
    if header.startswith("token"):
        return header.removeprefix("token").strip()
    try:
        return base64.b64decode(header.removeprefix("Basic").strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


async def _body(request: Request) -> dict[str, Any]:
    if await request.body() and request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise _Refused(415, "Unsupported Media Type")
    try:
        body = await json_body(request)
    except ValueError as error:
        raise _Refused(400, f"Syntax error: {error}") from None
    if not isinstance(body or {}, dict):
        raise _Refused(400, "Unmarshal type error: expected an object")
    return body or {}


def _multipart(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Parts of a form by name: file name and content."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    if not isinstance(message, EmailMessage) or not message.is_multipart():
        raise _Refused(400, "Invalid params: unexpected end of JSON input")
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        found[str(name)] = (part.get_filename() or "", content if isinstance(content, bytes) else b"")
    return found


def _page(query: QueryParams) -> tuple[int, int]:
    """Page and rows a page; 0 rows means all. More than 50 are never given, except all."""
    page = int(query["page"]) if query.get("page", "").isdigit() else 1
    text = query.get("per_page", "")
    if text == "all":
        return max(page, 1), 0
    return max(page, 1), min(int(text) or _PER_PAGE, _MOST_PER_PAGE) if text.isdigit() else _PER_PAGE


def _results(found: list[dict[str, Any]], query: QueryParams) -> Any:
    page, per_page = _page(query)
    shown = found[(page - 1) * per_page :][: per_page or None]
    return {"results": shown, "total": len(found), "page": page, "per_page": per_page}


def _attributes(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Refused(400, "Unmarshal type error: expected=models.JSON")
    if "\\u0000" in repr(value) or "\\x00" in repr(value):
        raise _Refused(500, "Error updating subscriber: unsupported Unicode escape sequence")
    return value


def _check_status(status: Any) -> None:
    if status not in STATUSES:
        raise _Refused(500, f'invalid input value for enum subscriber_status: "{status}"')


def _ids(body: Mapping[str, Any], name: str) -> list[int]:
    keys = body.get(name)
    if not isinstance(keys, list) or not keys:
        raise _Refused(400, "No IDs given." if name == "ids" else "No lists given.")
    if not all(isinstance(key, int) for key in keys):
        raise _Refused(400, "Invalid IDs given.")
    return keys


_Handler = Callable[[ListmonkSandbox, tuple[int, ...], QueryParams, Any], Any]
_S = ListmonkSandbox
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (verb, re.compile(pattern), handler)
    for verb, pattern, handler in (
        ("GET", r"/health", _S.health),
        ("GET", r"/config", _S.config),
        ("GET", r"/lists", _S.all_lists),
        ("POST", r"/lists", _S.add_list),
        ("GET", r"/lists/([^/]+)", _S.one_list),
        ("DELETE", r"/lists/([^/]+)", _S.delete_list),
        ("PUT", r"/subscribers/lists", _S.change_lists),
        ("PUT", r"/subscribers/blocklist", _S.blocklist),
        ("PUT", r"/subscribers/([^/]+)/blocklist", _S.blocklist),
        ("GET", r"/subscribers", _S.query_subscribers),
        ("POST", r"/subscribers", _S.add_subscriber),
        ("DELETE", r"/subscribers", _S.delete_subscribers),
        ("GET", r"/subscribers/([^/]+)", _S.get_subscriber),
        ("GET", r"/subscribers/([^/]+)/activity", _S.show_activity),
        ("GET", r"/subscribers/([^/]+)/export", _S.get_subscriber),
        ("GET", r"/bounces", _S.show_bounces),
        ("GET", r"/campaigns", _S.show_campaigns),
        ("PUT", r"/subscribers/([^/]+)", _S.put_subscriber),
        ("PATCH", r"/subscribers/([^/]+)", _S.patch_subscriber),
        ("DELETE", r"/subscribers/([^/]+)", _S.delete_subscriber),
        ("GET", r"/import/subscribers", _S.import_stats),
        ("POST", r"/import/subscribers", _S.import_stats),
        ("DELETE", r"/import/subscribers", _S.stop_import),
        ("GET", r"/import/subscribers/logs", _S.import_log),
    )
)
_SINCE: Mapping[_Handler, tuple[int, int]] = {_S.patch_subscriber: (6, 1), _S.show_activity: (6, 0)}
