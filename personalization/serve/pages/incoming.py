"""One request as the pages see it: small, plain, without cookies; and what of it is kept as proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request

from personalization.ledger import Keyring

MAX_BODY = 64 * 1024
MAX_FIELDS = 500


class BadRequest(Exception):
    """A request that no form of ours sends. `status` is 400 or 413."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Incoming:
    """What a page looks at. The link is never in its repr, and so in no log.

    Attributes
    ----------
    form : dict of str to list of str
        Fields of a form, empty when it is none.
    """

    method: str
    link: str = field(repr=False)
    body: bytes = field(repr=False)
    form: dict[str, list[str]]
    wanted_language: str | None
    accept_language: str | None
    privacy_control: bool
    address: str | None = field(repr=False)
    user_agent: str | None = field(repr=False)

    @property
    def posts(self) -> bool:
        return self.method == "POST"

    def value(self, name: str) -> str:
        """The only value of a form's field; empty when it has none."""
        return self.form.get(name, [""])[-1]

    def evidence(self, keys: Keyring) -> dict[str, Any]:
        """What can later show that it was this browser, without saying which it was."""
        found: dict[str, Any] = {}
        if self.address:
            found["ip_token"] = keys.token("ip", self.address)
        if self.user_agent:
            found["ua_hash"] = keys.token("user-agent", self.user_agent)
        if self.privacy_control:
            found["gpc"] = True
        return found


async def receive(request: Request) -> Incoming:
    """Read a request. Raises `BadRequest` when it is too large or its form can't be read."""
    body = await _body(request) if request.method == "POST" else b""
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    form: dict[str, list[str]] = {}
    if kind == "application/x-www-form-urlencoded":
        try:
            form = parse_qs(body.decode("ascii"), max_num_fields=MAX_FIELDS, errors="strict")
        except ValueError:
            raise BadRequest(400) from None
    return Incoming(
        method=request.method,
        link=str(request.path_params["link"]),
        body=body,
        form=form,
        wanted_language=request.query_params.get("lang"),
        accept_language=headers.get("accept-language"),
        privacy_control=headers.get("sec-gpc", "").strip() == "1",
        address=request.client.host if request.client else None,
        user_agent=headers.get("user-agent"),
    )


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise BadRequest(413)
            chunks.append(chunk)
    except ClientDisconnect:
        raise BadRequest(400) from None
    return b"".join(chunks)
