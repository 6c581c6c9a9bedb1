"""The addresses of the pages. What a page does is in the module of its name; here is what all have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import Keyring, Ledger
from personalization.ledger.links import ExpiredLink, Link, UnknownLink
from personalization.ledger.schema import now
from personalization.program import Program
from personalization.serve.pages.incoming import BadRequest, Incoming, receive
from personalization.serve.pages.record import GPC, Circumstances, Recorder
from personalization.serve.pages.render import Language, choose_language, page
from personalization.serve.pages.visitor import Visitor, look

if TYPE_CHECKING:
    from personalization.runtime import Runtime

RETRY_SECONDS = 10

log = logging.getLogger(__name__)


@dataclass
class Site:
    """What every page works with.

    Attributes
    ----------
    clock : callable
        Wall time: when something is said on a page is when it arrives.
    """

    runtime: Runtime
    clock: Callable[[], datetime]
    _keys_read: int | None = None

    @property
    def program(self) -> Program:
        return self.runtime.program

    @property
    def ledger(self) -> Ledger:
        return self.runtime.ledger

    @property
    def keys(self) -> Keyring:
        return self.runtime.keys

    @cached_property
    def recorder(self) -> Recorder:
        return Recorder(self.ledger, self.keys, self.program)

    def visitor(self, incoming: Incoming, kind: str) -> tuple[Visitor, Language]:
        """The person behind a link, and the language to speak. A browser's privacy signal is heeded first.

        Raises
        ------
        LinkRefused
            The link changes nothing, and so does the signal.
        """
        self._follow_key_file()
        link = self.ledger.links.read(self.keys, kind, incoming.link, self.clock())
        visitor = look(self.ledger, self.keys, self.program, link)
        language = choose_language(self.program, incoming.wanted_language, visitor.locale, incoming.accept_language)
        if incoming.privacy_control and incoming.method in ("GET", "POST"):
            how = self.circumstances(incoming, GPC, language)
            if self.recorder.opt_out_of_sale(visitor, how):
                visitor = self.again(visitor)
        return visitor, language

    def _follow_key_file(self) -> None:
        """Know a new master key as soon as there is one: links that were made with it are out then."""
        try:
            changed = self.keys.path.stat().st_mtime_ns
            if changed != self._keys_read:
                self._keys_read = changed
                self.keys.reload()
        except (OSError, KeyFileError) as problem:  # the keys read before are still good
            log.error("the key file can't be read again: %s", problem)

    def again(self, visitor: Visitor) -> Visitor:
        """The same person after something was recorded."""
        return look(self.ledger, self.keys, self.program, visitor.link)

    def circumstances(self, incoming: Incoming, method: str, language: Language) -> Circumstances:
        return Circumstances(self.clock(), method, language.tag, incoming.evidence(self.keys))

    def link_to(self, kind: str, link: Link, scope: str | None = None, expires_at: datetime | None = None) -> str:
        """The address of another page for the same person, seen from any page."""
        [text] = self.ledger.links.issue(
            self.keys, kind, [link.subject_token], link.scope if scope is None else scope, expires_at=expires_at
        )
        return f"../{kind}/{text}"

    def page(self, language: Language, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        return page(self.program, language, template, values, status=status)


def routes(runtime: Runtime, *, clock: Callable[[], datetime] = now) -> list[Route]:
    """The pages of a workspace, to be served where `serve.public_url` of the program leads to.

    The server in front must not log the path: whoever has it can act for the person.
    """
    from personalization.serve.pages import confirm, preferences, unsubscribe

    site = Site(runtime, clock)
    pages = {"preferences": preferences.answer, "unsubscribe": unsubscribe.answer, "confirm": confirm.answer}
    return [
        Route(f"/{name}/{{link}}", _endpoint(site, answer), methods=["GET", "POST"], name=name)
        for name, answer in pages.items()
    ]


def _endpoint(site: Site, answer: Callable[[Site, Incoming], Response]) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        try:
            incoming = await receive(request)
        except BadRequest as problem:
            return _trouble(site, request, "bad", problem.status)
        try:
            return await run_in_threadpool(answer, site, incoming)
        except UnknownLink:
            return _trouble(site, request, "unknown", 404)
        except ExpiredLink:
            return _trouble(site, request, "gone", 410)
        except BadRequest as problem:
            return _trouble(site, request, "bad", problem.status)
        except (LedgerError, KeyFileError) as problem:
            log.error("a page could not be answered: %s", problem.message)
            response = _trouble(site, request, "busy", 503)
            response.headers["Retry-After"] = str(RETRY_SECONDS)
            return response

    return endpoint


def _trouble(site: Site, request: Request, words: str, status: int) -> HTMLResponse:
    language = choose_language(
        site.program, request.query_params.get("lang"), None, request.headers.get("accept-language")
    )
    return site.page(language, "trouble", status=status, words=words)
