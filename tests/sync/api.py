"""A real REST API on this machine, with pages, a change cursor, a token, and failures on demand."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "let-me-in"


@dataclass
class Api:
    """What it holds, what was asked, and how it answers.

    Attributes
    ----------
    failures : deque
        Status and headers with which the next requests are answered; `None` lets one through.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    failures: deque[tuple[int, dict[str, str]] | None] = field(default_factory=deque)
    body: str | None = None
    url: str = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[dict[str, str], Any]:
        since = query.get("since")
        found = [record for record in self.records if since is None or record["ordered"] >= since]
        size = int(query.get("size", 2))
        if path == "/page":
            start = (int(query["page"]) - 1) * size
            return {}, {"data": found[start : start + size]}
        start = int(query.get("cursor", query.get("from", 0)))
        following = start + size if start + size < len(found) else None
        if path == "/cursor":
            return {}, {"result": {"items": found[start : start + size], "next": following and str(following)}}
        link = {"Link": f'<{self.url}/link?from={following}&size={size}>; rel="next"'} if following else {}
        return link, found[start : start + size]


@contextmanager
def run_api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            api.requests.append({"path": address.path, **query})
            failure = api.failures.popleft() if api.failures else None
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                failure = (401, {})
            if failure:
                self.reply(failure[0], failure[1], "{}")
                return
            headers, document = api.answer(address.path, query)
            self.reply(200, headers, api.body or json.dumps(document))

        def reply(self, status: int, headers: dict[str, str], body: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
