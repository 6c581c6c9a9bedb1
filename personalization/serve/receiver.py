"""`POST /webhooks/{source}`: 2xx only after the commit, and never a word about what was in a request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from personalization.errors import KeyFileError
from personalization.ledger import Keyring
from personalization.ledger.inbox_event import NEW
from personalization.program import Program
from personalization.serve.body import MAX_BODY, READ_SECONDS, Memory, Refused, check_headers, read_body
from personalization.serve.writer import Busy, Writer
from personalization.webhooks.receipt import Preparer
from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.sources import Endpoint

RETRY_AFTER_SECONDS = 5
_QUIET = timedelta(seconds=10)

log = logging.getLogger(__name__)


class Receiver:
    """Receives for all webhook sources of a program.

    Parameters
    ----------
    endpoints : mapping of str to Endpoint
        By source.
    clock : callable
        The moment that counts for replay windows, and as the time of receipt.
    max_body : int
        Bytes a body may have.
    read_seconds : float
        Within what time it must have come.
    """

    def __init__(
        self,
        program: Program,
        endpoints: Mapping[str, Endpoint],
        keys: Keyring,
        writer: Writer,
        *,
        clock: Callable[[], datetime],
        max_body: int = MAX_BODY,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._endpoints, self._writer, self._clock = endpoints, writer, clock
        self._max_body, self._read_seconds = max_body, read_seconds
        self._public_url = (program.settings.serve.public_url or "").rstrip("/")
        self._preparers = {
            name: Preparer(program, name, endpoint.settings, keys) for name, endpoint in endpoints.items()
        }
        self._keys, self._keys_seen = keys, _changed_at(keys)
        self._memory = Memory()
        self._refusals: dict[str, tuple[datetime, int]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/webhooks/{source}", self.handle, methods=["GET", "POST"]),
            Route("/webhooks/{source}/{url_secret}", self.handle, methods=["GET", "POST"]),
        ]

    async def handle(self, request: Request) -> Response:
        """One request; whatever is wrong with it, the answer says so."""
        endpoint = self._endpoints.get(request.path_params["source"])
        if endpoint is None:
            return _problem(404, "there is no such source")
        url_secret = request.path_params.get("url_secret")
        try:
            if request.method != "POST":
                return self._check_of_address(endpoint, url_secret)
            return await self._receive(request, endpoint, url_secret)
        except Refused as refused:
            return _problem(refused.status, refused.reason)
        except NotAuthentic as reason:
            self._note_refusal(endpoint.name, str(reason))
            return _problem(401, "not authentic")
        except Busy:
            return _problem(503, "it can't be kept now; send it again")

    async def _receive(self, request: Request, endpoint: Endpoint, url_secret: str | None) -> Response:
        check_headers(request, endpoint.sender.content_types, self._max_body)
        body = await read_body(request, self._memory, max_body=self._max_body, seconds=self._read_seconds)
        try:
            now = self._clock()
            webhook = WebhookRequest(body, request.headers.raw, self._url(request))
            endpoint.verify(webhook, url_secret, now)
            self._follow_key_file()
            prepared = self._preparers[endpoint.name].prepare(webhook, now)
            receipts = await self._writer.write(prepared) if prepared else []
        finally:
            self._memory.give_back(len(body))
        new = sum(receipt.state == NEW for receipt in receipts)
        return JSONResponse({"received": len(receipts), "new": new})

    def _check_of_address(self, endpoint: Endpoint, url_secret: str | None) -> Response:
        """The answer to a GET: some senders ask whether the address works before they use it."""
        if not endpoint.sender.answers_get:
            raise Refused(405, "send a POST")
        endpoint.verify_address(url_secret)
        return JSONResponse({"ready": True})

    def _url(self, request: Request) -> str:
        """The address as the sender called it: a proxy in between may have another one for us."""
        query = request.url.query
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").partition("?")[0]
        return f"{self._public_url}{path}" + (f"?{query}" if query else "")

    def _follow_key_file(self) -> None:
        """Seal with a new master key as soon as there is one: what is sealed with the old one bars it from retiring."""
        seen = _changed_at(self._keys)
        if seen is not None and seen != self._keys_seen:
            self._keys_seen = seen
            try:
                self._keys.reload()
            except KeyFileError as error:  # the keys read before are still good
                log.error("the key file was changed and can't be read: %s", error.message)

    def _note_refusal(self, source: str, reason: str) -> None:
        """Tell of refused requests, but not of each: who sends them must not be able to fill the disk."""
        now = self._clock()
        since, unseen = self._refusals.get(source, (None, 0))
        if since is not None and timedelta(0) <= now - since < _QUIET:
            self._refusals[source] = (since, unseen + 1)
            return
        more = f" ({unseen} more before it)" if unseen else ""
        log.warning("source %s: a request was refused: %s%s", source, reason, more)
        self._refusals[source] = (now, 0)


def _changed_at(keys: Keyring) -> int | None:
    try:
        return os.stat(keys.path).st_mtime_ns
    except OSError:
        return None


def _problem(status: int, reason: str) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
