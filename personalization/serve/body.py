"""Reading a request's body: never more than allowed, never unpacked, never for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from personalization.webhooks.senders.base import JSON

MAX_BODY = 1024 * 1024
MAX_IN_FLIGHT = 64 * 1024 * 1024
READ_SECONDS = 10.0


class Refused(Exception):
    """A request that is answered without a look at what is in it.

    Attributes
    ----------
    status : int
    reason : str
        For the sender; nothing of the request is in it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(slots=True)
class Memory:
    """How many bytes of bodies are held at once, so that many large requests can't use up the machine."""

    limit: int = MAX_IN_FLIGHT
    used: int = 0

    def take(self, size: int) -> None:
        if self.used + size > self.limit:
            raise Refused(503, "too many requests at once")
        self.used += size

    def give_back(self, size: int) -> None:
        self.used -= size


def check_headers(request: Request, content_types: tuple[str, ...], max_body: int = MAX_BODY) -> None:
    """Refuse by its headers a request that is too large, packed, or of another type.

    Raises
    ------
    Refused
        413 or 415.
    """
    kinds: list[bytes] = []
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            kinds.append(value)
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Refused(415, "bodies must not be compressed")  # a small one could become a very large one
        elif name == b"content-length" and value.isdigit() and (len(value) > 12 or int(value) > max_body):
            raise Refused(413, f"a body may have {max_body} bytes")
    kind = kinds[0].partition(b";")[0].strip().lower().decode("latin-1") if len(kinds) == 1 else ""
    if kind not in content_types and not (JSON in content_types and kind.endswith("+json")):
        raise Refused(415, f"the content type must be {' or '.join(content_types)}")


async def read_body(
    request: Request, memory: Memory, *, max_body: int = MAX_BODY, seconds: float = READ_SECONDS
) -> bytes:
    """The body; the caller gives its length back to `memory` when it is done with it.

    Raises
    ------
    Refused
        413 when it is too large, whatever its headers said; 408 when it comes too slowly; 503 when too much is held.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if size + len(chunk) > max_body:
                    raise Refused(413, f"a body may have {max_body} bytes")
                memory.take(len(chunk))
                size += len(chunk)
                chunks.append(chunk)
    except BaseException as error:
        memory.give_back(size)
        if isinstance(error, TimeoutError):
            raise Refused(408, "the body came too slowly") from None
        if isinstance(error, ClientDisconnect):
            raise Refused(400, "the body is incomplete") from None
        raise
    return b"".join(chunks)
