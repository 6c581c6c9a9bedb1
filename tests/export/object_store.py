"""An S3 server on this machine (moto, over HTTP), and faults in front of it."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "exports"
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


@dataclass
class Fault:
    """What happens to requests of a method to paths that match, so many `times`."""

    method: str
    path: str
    status: int | None = None
    code: str = ""
    applied: bool = False
    times: int = 1
    seen: int = 0


@dataclass
class ObjectStoreServer:
    url: str
    faults: list[Fault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What a driver of S3 reads; the server believes every key."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def client(self) -> Any:
        keys = {"aws_access_key_id": "sandbox", "aws_secret_access_key": "sandbox", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **keys)

    def objects(self) -> dict[str, bytes]:
        """Contents by key."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {
            entry["Key"]: self.client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed
        }

    def empty(self) -> None:
        self.faults.clear()
        for key in self.objects():
            self.client.delete_object(Bucket=BUCKET, Key=key)
        self.log.clear()


@contextmanager
def object_store() -> Iterator[ObjectStoreServer]:
    """A server with an empty bucket `exports`, on a port of its own until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ObjectStoreServer("")
    real = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, _faulty(real, store), threaded=True)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        store.client.create_bucket(Bucket=BUCKET)
        yield store
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def _faulty(real: Callable[..., Iterable[bytes]], store: ObjectStoreServer) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        store.log.append(f"{method} {path}")
        for fault in store.faults:
            if fault.method == method and re.search(fault.path, path) and fault.seen < fault.times:
                fault.seen += 1
                if fault.applied:
                    list(real(environ, lambda *_: None))
                if fault.status is None:  # the connection ends without an answer
                    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                    start_response("500 Scripted", [])
                    return [b"nobody reads this"]
                body = _ERROR.format(code=fault.code, message=f"scripted: {fault.code}").encode()
                start_response(f"{fault.status} Scripted", [("Content-Type", "application/xml")])
                return [body]
        return real(environ, start_response)

    return answer
