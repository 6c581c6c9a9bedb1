"""Serves an application with the real server on a free port of 127.0.0.1, and talks to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """An application that answers at `port`."""

    port: int

    def connect(self, timeout: float = 20) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: list[tuple[str, str]] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """One request; `headers` may hold one name several times."""
        own = connection or self.connect()
        try:
            own.putrequest(method, path, skip_accept_encoding=True)
            names = {name.lower() for name, _ in headers or []}
            for name, value in headers or []:
                own.putheader(name, value)
            if body is not None and not names & {"content-length", "transfer-encoding"}:
                own.putheader("content-length", str(len(body)))
            own.endheaders(body)
            response = own.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            if connection is None:
                own.close()

    def raw(self, content: bytes, timeout: float = 20) -> bytes:
        """Bytes as they are, and the first that come back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(content)
            return connection.recv(65_536)


def listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


def config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_config=None, ws="none")


@contextmanager
def serving(app: Starlette) -> Iterator[Served]:
    """The application in a thread of this process, stopped at the end of the block."""
    listener = listen()
    server = uvicorn.Server(config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.started, "the application did not start"
    try:
        yield Served(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
