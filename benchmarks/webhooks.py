"""Webhooks: signed, durable posts a second, beside one commit a request. Server and client have a core each."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

SECRET = b"a-key-of-thirty-two-bytes-------"
CONNECTIONS = 64
WARM_UP_SECONDS = 1.0
SOURCES = """
sources:
  hooks:
    kind: webhook
    sender: standard
    secrets: ["${env:HOOKS_SECRET}"]
"""


@dataclass(frozen=True)
class Rate:
    """Posts that were answered with 200, how long each waited, and what they cost the server.

    On a busy machine the posts a CPU second of the server say more than those a second.
    """

    posts: int
    seconds: float
    p50: float
    p99: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.posts / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.posts / self.cpu_seconds


def bench_webhooks(seconds: float = 20.0) -> list[tuple[str, Rate]]:
    """Rates over `seconds` for ours, and for the same receiver with a commit for each request.

    Bodies have about 450 bytes, every event has an id of its own, 64 connections are kept open. Each rate is only
    given when every acknowledged event is in the ledger afterwards.
    """
    return [
        ("one commit a request", _measure(seconds, group=1)),
        ("ours, group commit", _measure(seconds, group=None)),
    ]


def _measure(seconds: float, group: int | None) -> Rate:
    cores = sorted(os.sched_getaffinity(0))
    with TemporaryDirectory() as folder:
        home = _workspace(Path(folder))
        with _server(home, cores[0], group) as (pid, port):
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {cores[-1]})
            idle = _cpu_seconds(pid)
            try:
                acknowledged, waits, elapsed = asyncio.run(_load(port, seconds))
                cpu = _cpu_seconds(pid) - idle
            finally:
                os.sched_setaffinity(0, before)
        missing = acknowledged - _kept(home)
        if missing:
            raise SystemExit(f"{len(missing)} acknowledged events are not in the ledger")
    waits.sort()
    return Rate(
        len(acknowledged), elapsed + WARM_UP_SECONDS, waits[len(waits) // 2], waits[int(len(waits) * 0.99)], cpu
    )


def _workspace(folder: Path) -> Path:
    from personalization.ledger import Keyring

    program = folder / "program"
    program.mkdir()
    (program / "program.yaml").write_text("name: Benchmark\nstart: 2026-01-01\n")
    (program / "consent.yaml").write_text("purposes:\n  email.marketing: {title: News by e-mail}\n")
    (program / "sources.yaml").write_text(SOURCES)
    Keyring.create(folder / "var" / "keys.json")
    return folder


@contextmanager
def _server(home: Path, core: int, group: int | None) -> Iterator[tuple[int, int]]:
    """A server process on one core; its process id and port."""
    environment = {**os.environ, "HOOKS_SECRET": base64.b64encode(SECRET).decode()}
    command = [sys.executable, "-m", "benchmarks.webhooks", str(home), str(core), str(group or 0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.terminate()


def _serve(home: str, core: int, group: int) -> None:
    import uvicorn

    from personalization.runtime import Runtime
    from personalization.serve import writer
    from personalization.serve.app import create_app
    from personalization.workspace import Workspace

    os.sched_setaffinity(0, {core})
    if group:
        writer.GROUP = group
    app = create_app(Runtime(Workspace.at(home)))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning", ws="none")
    uvicorn.Server(config).run(sockets=[listener])


async def _load(port: int, seconds: float) -> tuple[set[str], list[float], float]:
    """Post until the time is over. What was acknowledged, how long each waited, and the time measured."""
    acknowledged: set[str] = set()
    waits: list[float] = []
    ids = count()
    start = time.perf_counter() + WARM_UP_SECONDS
    end = start + seconds

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < end:
            event_id = f"msg_{next(ids)}"
            writer.write(_request(event_id))
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(answer.decode())
            acknowledged.add(event_id)
            if sent >= start:
                waits.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return acknowledged, waits, time.perf_counter() - start


_FILLING = "x" * 300


def _request(event_id: str) -> bytes:
    body = (
        f'{{"type":"order.placed","timestamp":"2026-06-01T12:00:00Z","data":{{"id":"{event_id}",'
        f'"customer":"4711","note":"{_FILLING}","lines":[{{"sku":"a","quantity":1,"total":9.99}}]}}}}'
    ).encode()
    timestamp = str(int(time.time()))
    signed = hmac.digest(SECRET, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return (
        f"POST /webhooks/hooks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"webhook-id: {event_id}\r\nwebhook-timestamp: {timestamp}\r\n"
        f"webhook-signature: v1,{base64.b64encode(signed).decode()}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def _cpu_seconds(pid: int) -> float:
    """Of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kept(home: Path) -> set[str]:
    from personalization.ledger import Ledger

    with Ledger.open(f"sqlite:///{home / 'var' / 'ledger.sqlite'}") as ledger:
        return {row.event_key for row in ledger.inbox.rows(0)}


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
