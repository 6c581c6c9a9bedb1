"""uvicorn's connections by client address, so that a fault can break one off as a network does: without a goodbye."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_transports: dict[tuple[str, int], Any] = {}


class TrackedProtocol(H11Protocol):
    """uvicorn's HTTP protocol; remembers its transport while the connection is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _transports[transport.get_extra_info("peername")[:2]] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        _transports.pop(self.transport.get_extra_info("peername")[:2], None)
        super().connection_lost(exc)


def abort_connection(scope: Any) -> None:
    """Close the connection of a request at once; what was not sent yet is lost."""
    transport = _transports.get(tuple(scope["client"]))
    if transport is not None:
        transport.abort()
