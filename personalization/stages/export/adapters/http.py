"""HTTP for all platforms: one session, with limits, retries, redaction, and a clear word for every way to fail.

What counts for the outbox is whether a request was applied. So a failure is one of three: `Postponed` (certainly
not), `Lost` (perhaps), or an answer. Requests that may be repeated are, until their deadline.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from personalization.stages.export.adapters.base import Clock, DestinationError, Lost, Postponed
from personalization.stages.export.adapters.pace import Pace
from personalization.stages.export.adapters.reading import (
    BROKEN_OFF,
    NO_ADDRESS,
    NOT_JSON,
    cause_of,
    fits_a_header,
    json_of,
    kind_of,
    never_connected,
    retry_after_of,
    said_in,
    server_of,
    xml_of,
)
from personalization.stages.export.adapters.redaction import Redactor, hide_contacts_in_debug_log
from personalization.stages.export.adapters.traffic import AllowanceUsedUp, CircuitOpen, Traffic

__all__ = ["Answer", "Bearer", "Http", "Pace", "Redactor", "TokenRefused"]

CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
ATTEMPTS = 6
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Answer:
    """A platform's answer: 2xx, or a 4xx in the platform's own form."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 400


class Bearer(AuthBase):
    """Sends a token, and the next one when it was renewed."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Http:
    """A platform's HTTP API.

    Parameters
    ----------
    platform : str
        As messages name it, e.g. `Mailchimp`.
    base_url : str
        Paths are below it. Credentials are sent to it and to nothing else.
    auth : tuple of str, or requests.auth.AuthBase
        User and password for HTTP Basic; or what puts a token into each request.
    headers : mapping, optional
        Sent with every request to the API.
    connections : int
        Requests under way at the same time.
    secrets : sequence of str
        Taken out of every text; user and password of HTTP Basic are too.
    pace : Pace, optional
        How many requests the platform allows in a time.
    bare_403_slows : bool
        A 403 without JSON means too many requests, as at Mailchimp's edge.
    special : callable, optional
        The platform's own reading of a status and body, before the general rules: what to raise, or None.
    renew : callable, optional
        Called when the platform does not take the token; True when there is another one to try, once a request.
    key_hint : str
        What to do when the platform refuses the key.
    plain : str, optional
        A text that is a whole answer of this platform, beside objects and arrays.
    read_seconds : float
        How long an answer may take.
    traffic : Traffic, optional
        Counts requests, keeps the allowances of the program, and leaves a platform alone that is down.
    clock : Clock
        Replaced in tests.
    """

    def __init__(
        self,
        platform: str,
        base_url: str,
        *,
        auth: tuple[str, str] | AuthBase,
        headers: Mapping[str, str] | None = None,
        connections: int,
        key_hint: str,
        secrets: Sequence[str] = (),
        pace: Pace | None = None,
        bare_403_slows: bool = False,
        special: Callable[[int, Any], Exception | None] | None = None,
        renew: Callable[[], bool] | None = None,
        plain: str | None = None,
        read_seconds: float = READ_SECONDS,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._traffic = traffic
        connections = (traffic.connections if traffic else None) or connections
        self.platform, self.connections = platform, connections
        self.clock = clock or Clock()
        secrets = [*secrets, *(auth if isinstance(auth, tuple) else ())]
        self.redact = Redactor(secrets)
        self._sendable = all(fits_a_header(secret) for secret in secrets)
        self._pace, self._bare_403_slows, self._renew = pace, bare_403_slows, renew
        self._special, self._plain = special, plain
        self._base_url, self._auth, self._key_hint = base_url.rstrip("/"), auth, key_hint
        self._headers = dict(headers or {})
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._places = threading.BoundedSemaphore(connections)
        self._session = requests.Session()
        self._session.mount("https://", HTTPAdapter(pool_maxsize=connections))
        self._session.mount("http://", HTTPAdapter(pool_maxsize=connections))
        hide_contacts_in_debug_log()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
        soap: tuple[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        repeatable: bool = True,
        deadline: float | None = None,
    ) -> Answer:
        """Send a request, again if need be, and return the answer.

        Parameters
        ----------
        body : optional
            Sent as JSON.
        form : mapping, optional
            Sent as multipart/form-data instead: by name (file name or None, content, content type).
        soap : tuple of str, optional
            Sent as SOAP 1.1 instead: the action, and the envelope. The answer's body is the answer's envelope.
        repeatable : bool
            Applying it twice is as good as once. Otherwise it is repeated only when it certainly was not applied.
        deadline : float, optional
            On the clock: no attempt begins after it.

        Raises
        ------
        Postponed, Lost, DestinationError
            See `Adapter.send`.
        """
        if not self._sendable:
            raise DestinationError(
                f"the credentials for {self.platform} hold a line break, or characters that can't be sent",
                hint=f"copy them again, without anything before or after; {self._key_hint}",
            )
        what = f"{method} {self.redact(path)}"
        failure: Postponed | Lost = Postponed(f"{self.platform}: no time left for {what}", 0.0)
        renewed = False
        for attempt in range(ATTEMPTS):
            if self._is_late(deadline) or (self._pace and not self._pace.wait(self.clock, deadline)):
                break
            try:
                if self._traffic:
                    self._traffic.before(self.clock)
            except (AllowanceUsedUp, CircuitOpen):
                if isinstance(failure, Lost):
                    break
                raise
            if self._is_late(deadline):
                break
            try:
                return self._counted(method, path, body, form, soap, query, what)
            except Postponed as postponed:
                # what may have been applied stays so when a later attempt is refused
                failure = failure if isinstance(failure, Lost) else postponed
                pause = postponed.retry_after or _pause(attempt)
            except Lost as lost:
                failure, pause = lost, _pause(attempt)
                if not repeatable:
                    break
            except DestinationError as refused:
                if isinstance(refused, TokenRefused) and not renewed and self._renew and self._renew():
                    renewed = True
                    continue
                if isinstance(failure, Lost):
                    raise Lost(refused.message) from None
                raise
            if isinstance(failure, _Unreachable) and attempt == ATTEMPTS - 1:
                raise DestinationError(failure.reason, hint="is `base_url` right, and is the network up?")
            if self._is_late(deadline, pause) or attempt == ATTEMPTS - 1 or pause > READ_SECONDS:
                if isinstance(failure, Postponed):
                    failure = Postponed(failure.reason, pause)
                break
            self.clock.sleep(pause)
        raise failure

    def _is_late(self, deadline: float | None, pause: float = 0.0) -> bool:
        return deadline is not None and self.clock.monotonic() + pause >= deadline

    def download(self, url: str) -> bytes:
        """Fetch a file from wherever the platform keeps it. The URL itself is the permission: no credentials go along.

        Raises
        ------
        Lost
            It can't be had (any more).
        """
        try:
            answer = self._session.get(url, timeout=self._timeout)
        except requests.RequestException as error:
            raise Lost(f"{self.platform}: results can't be fetched: {self.redact(cause_of(error))}") from None
        if not answer.ok:
            raise Lost(f"{self.platform}: results can't be fetched: status {answer.status_code}")
        return answer.content

    def _counted(self, *request: Any) -> Answer:
        """One attempt, of which the circuit breaker is told the end."""
        if self._traffic is None:
            return self._once(*request)
        try:
            answer = self._once(*request)
        except (_Unreachable, Lost) as failure:
            self._traffic.failed(failure.reason, self.clock)
            raise
        except Postponed:
            self._traffic.undecided()
            raise
        except DestinationError:
            self._traffic.answered()
            raise
        self._traffic.answered()
        return answer

    def _once(self, method: str, path: str, body: Any, form: Any, soap: Any, query: Any, what: str) -> Answer:
        headers = {**self._headers, "Accept": "application/json"}
        data = None
        if soap is not None:
            headers |= {"Accept": "text/xml", "Content-Type": "text/xml; charset=utf-8", "SOAPAction": soap[0]}
            data = soap[1].encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            with self._places:
                answer = self._session.request(
                    method,
                    self._base_url + path,
                    data=data,
                    files=form,
                    params=query,
                    headers=headers,
                    auth=self._auth,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except requests.exceptions.SSLError as error:
            cause = self.redact(cause_of(error))
            if BROKEN_OFF.search(str(error)):  # it broke off later: something may have arrived
                raise Lost(f"{self.platform} gave no whole answer to {what}: {cause}") from None
            raise DestinationError(
                f"{self.platform}'s certificate was not accepted: {cause}",
                hint="check `base_url`, this machine's clock and its certificate store; a server with a certificate of "
                "your own authority needs REQUESTS_CA_BUNDLE, the path of that authority's certificate",
            ) from None
        except NO_ADDRESS:
            raise DestinationError(
                f"`base_url` for {self.platform} is no address of a server: {self.redact(self._base_url)!r}",
                hint="it begins with https:// and the name of the server",
            ) from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ConnectionError) as error:
            reason = f"{self.platform} can't be reached for {what}: {self.redact(cause_of(error))}"
            raise (_Unreachable(reason, 0.0) if never_connected(error) else Lost(reason)) from None
        except requests.RequestException as error:
            raise Lost(f"{self.platform} gave no whole answer to {what}: {self.redact(cause_of(error))}") from None
        return self._judged(answer, what, xml_of(answer) if soap is not None else json_of(answer, self._plain))

    def _judged(self, answer: requests.Response, what: str, content: Any) -> Answer:
        """Turn what came back, and was read from it, into an answer, or into the reason why it is none."""
        status = answer.status_code
        special = self._special(status, content) if self._special and content is not NOT_JSON else None
        if special:
            raise special
        if status == 429 or (status == 403 and content is NOT_JSON and self._bare_403_slows):
            bare = ", without a reason: too many requests, or something in between" if status == 403 else ""
            raise Postponed(f"{self.platform} asks to slow down (status {status}{bare})", retry_after_of(answer))
        if status >= 500:
            raise Lost(f"{self.platform} failed at {what} (status {status})")
        if status in (401, 403):
            if content is NOT_JSON and status == 403:
                raise DestinationError(
                    f"{self.platform} answered {what} with {kind_of(answer.content)} (status 403)",
                    hint=f"something in between may have refused, such as a proxy; or {self._key_hint}",
                )
            said = self.redact(said_in(content))
            refusal = TokenRefused if status == 401 else DestinationError
            raise refusal(f"{self.platform} refused the key (status {status}{said})", hint=self._key_hint)
        if 300 <= status < 400:
            where = self.redact(server_of(answer.headers.get("Location", "")))
            raise DestinationError(
                f"{self.platform} redirects {what} to {where} (status {status}); nothing was sent there",
                hint="check `base_url`, and whether something in between asks for a login",
            )
        if content is NOT_JSON:
            kind = kind_of(answer.content)
            if status >= 400:
                raise DestinationError(
                    f"{self.platform} answered {what} with {kind} (status {status})",
                    hint="check `base_url`: this looks like another server",
                )
            raise Lost(f"{self.platform} answered {what} with {kind} (status {status})")
        return Answer(status, content)


class TokenRefused(DestinationError):
    """The token is not taken (any more)."""


class _Unreachable(Postponed):
    """No connection was made."""


def _pause(attempt: int) -> float:
    """Exponential with full jitter, so that many clients do not come back at the same moment."""
    return random.uniform(0.1, min(_LONGEST_PAUSE, 0.5 * 2**attempt))
