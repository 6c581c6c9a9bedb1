"""The token key is replaced while webhooks arrive: nothing acknowledged is lost or kept under a stale key (43)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime

from personalization.ledger import Ledger
from personalization.ledger.retoken import TOKENS
from personalization.runtime import Runtime
from personalization.token_rotation import replace_token_key
from tests.serve.server import Served
from tests.serve.test_faults import ended, killable, started
from tests.webhooks.signing import SIGNERS, sign_standard

__all__ = ["killable"]
AT = datetime(2026, 11, 25, tzinfo=UTC)


class OptOuts:
    """Shops that report opt-outs of new people as fast as they are answered; what is refused is sent again."""

    def __init__(self, served: Served, senders: int = 4) -> None:
        self._served, self._stop, self._lock = served, threading.Event(), threading.Lock()
        self.acknowledged: dict[str, float] = {}
        self.answers: list[int] = []
        self.retry_after: set[str] = set()
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(senders)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self, sender: int) -> None:
        connection, number = self._served.connect(timeout=30), 0
        while not self._stop.is_set():
            address = f"p{sender}-{number}@example.com"
            event = {"type": "consent.withdrawn", "timestamp": datetime.now(UTC).isoformat()}
            event["data"] = {"id": address, "email": address, "purpose": "email.marketing", "action": "withdraw"}
            body = json.dumps(event).encode()
            headers = sign_standard(body, SIGNERS["standard"].secret, datetime.now(UTC), f"p{sender}-{number}")
            answer = self._served.send(
                "POST", "/webhooks/hooks", body, [("content-type", "application/json"), *headers], connection
            )
            with self._lock:
                self.answers.append(answer.status)
                if answer.status == 200:
                    self.acknowledged[address] = time.monotonic()
                else:
                    self.retry_after.add(answer.headers.get("retry-after", ""))
            if answer.status == 200:
                number += 1
            else:
                time.sleep(0.02)
        connection.close()


def test_opt_outs_arrive_through_two_rotations(runtime: Runtime, killable: subprocess.Popen[str]) -> None:
    _ = runtime.keys
    pid, served = started(killable)
    load = OptOuts(served)
    rotations = []
    try:
        for _turn in range(2):
            time.sleep(0.6)
            replace_token_key(Runtime(runtime.workspace), AT)
            rotations.append(time.monotonic())
        time.sleep(0.8)
    finally:
        load.stop()
        os.kill(pid, signal.SIGKILL)
        ended(killable)
    after = Runtime(runtime.workspace)
    assert after.keys.token_key_id == "k3"
    assert set(load.answers) <= {200, 503}
    assert load.retry_after <= {"5"}
    assert all(sum(moment > turn for moment in load.acknowledged.values()) > 5 for turn in rotations), "it went on"
    with after.ledger.read() as connection:
        tokens = set(connection.exec_driver_sql("select subject_token from consent_events").scalars())
        texts = " ".join(
            connection.exec_driver_sql("select event_id || coalesce(evidence, '') from consent_events").scalars()
        )
    assert {token for token in tokens if token.startswith("t1_") and not token.startswith("t1_k3_")} == set()
    assert set(after.keys.tokens("email", sorted(load.acknowledged))) <= tokens
    assert set(after.keys.suppression_tokens(sorted(load.acknowledged))) <= tokens
    assert all("_k3_" in token for token in TOKENS.findall(texts))
    after.ledger.verify()
    after.ledger.close()


def test_pages_go_on_and_old_links_open_them(runtime: Runtime, serve: object) -> None:
    keys = runtime.keys
    token = keys.token("email", "ann@example.com")
    [link] = runtime.ledger.links.issue(keys, "unsubscribe", [token], "mailchimp")
    served: Served = serve()  # type: ignore[operator]
    assert served.send("GET", f"/unsubscribe/{link}").status == 200
    replace_token_key(Runtime(runtime.workspace), AT)
    answers = [
        served.send("POST", f"/unsubscribe/{link}", b"List-Unsubscribe=One-Click", FORM).status for _ in range(3)
    ]
    assert answers[0] in (200, 503)
    assert answers[1:] == [200, 200]
    after = Runtime(runtime.workspace)
    found = after.ledger.consent.state([after.keys.token("email", "ann@example.com")], "email.marketing")
    assert [state.state for state in found.values()] == ["withdrawn"]
    assert Ledger(after.ledger.engine).verify().seq > 0
    after.ledger.close()


FORM = [("content-type", "application/x-www-form-urlencoded")]
