"""Senders that post signed events as fast as they are answered, and remember which were acknowledged."""

from __future__ import annotations

import http.client
import threading
from datetime import UTC, datetime

from tests.serve.server import Served
from tests.webhooks.signing import SIGNERS, sign_standard


class Load:
    """Posts events with ids of its own over several connections until it is stopped or the server is gone."""

    def __init__(self, served: Served, name: str, connections: int = 8) -> None:
        self._served, self._name = served, name
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self.unanswered = 0
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(connections)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.wait()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def _post(self, sender: int) -> None:
        connection = self._served.connect(timeout=30)
        number = 0
        while not self._stop.is_set():
            event_id = f"{self._name}-{sender}-{number}"
            number += 1
            body = b'{"type": "load", "id": "%s"}' % event_id.encode()
            headers = sign_standard(body, SIGNERS["standard"].secret, datetime.now(UTC), event_id)
            try:
                answer = self._served.send(
                    "POST", "/webhooks/hooks", body, [("content-type", "application/json"), *headers], connection
                )
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.unanswered += 1
                return
            with self._lock:
                if answer.status == 200:
                    self.acknowledged.append(event_id)
                else:
                    self.refused.append(answer.status)
        connection.close()
