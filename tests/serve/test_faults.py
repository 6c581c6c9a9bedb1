"""Killed, locked, full, overrun: what was acknowledged is there, and what can't be kept is not. Invariants 1, 7, 11."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalization.ledger import Keyring, Ledger
from personalization.ledger.key_rotation import retire_vault_key, rotate_vault
from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.serve.load import Load
from tests.serve.server import Answer, Served, serving
from tests.serve.test_receiver import BODY, JSON, post, signed
from tests.webhooks.signing import SECRET, STANDARD_SECRET, URL_SECRET, form, sign_standard

REPOSITORY = Path(__file__).parents[2]
LOCK = """
import sqlite3, sys
holder = sqlite3.connect(sys.argv[1], isolation_level=None)
holder.execute("begin immediate")
print("locked", flush=True)
sys.stdin.read()
"""


def keys_in(ledger: Ledger) -> set[str]:
    return {row.event_key for row in ledger.inbox.rows(0)}


@pytest.fixture
def killable(runtime: Runtime) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.serve.killable", str(runtime.workspace.root)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def started(killable: subprocess.Popen[str]) -> tuple[int, Served]:
    """Start one server: its process id, and where it answers."""
    assert killable.stdin is not None
    assert killable.stdout is not None
    print("serve", file=killable.stdin, flush=True)
    pid, port = map(int, killable.stdout.readline().split())
    served = Served(port)
    assert served.send("GET", "/health").status == 200
    return pid, served


def ended(killable: subprocess.Popen[str]) -> str:
    """Wait for the end of the server; what it wrote meanwhile."""
    assert killable.stdout is not None
    told = ""
    while (line := killable.stdout.readline()) != "over\n":
        assert line, told
        told += line
    return told


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_sigkill_under_load_loses_nothing_acknowledged(
    killable: subprocess.Popen[str], ledger: Ledger, rounds: int
) -> None:
    draw = random.Random(1)
    acknowledged: set[str] = set()
    cut_off = 0
    for number in range(rounds):
        pid, served = started(killable)
        load = Load(served, f"r{number}")
        load.start()
        time.sleep(draw.uniform(0.05, 0.8))
        os.kill(pid, signal.SIGKILL)
        load.wait()
        ended(killable)
        assert not load.refused
        cut_off += load.unanswered
        acknowledged |= set(load.acknowledged)
        assert acknowledged <= keys_in(ledger)
    assert len(acknowledged) > 50 * rounds
    assert cut_off >= rounds, "each kill came in the middle of requests"
    assert [row.seq for row in ledger.inbox.rows(0)] == list(range(1, ledger.inbox.last_seq() + 1))
    ledger.verify()


def test_a_stop_writes_what_came_first(killable: subprocess.Popen[str], ledger: Ledger) -> None:
    pid, served = started(killable)
    load = Load(served, "stop", connections=16)
    load.start()
    time.sleep(0.5)
    os.kill(pid, signal.SIGTERM)
    load.wait()
    ended(killable)
    assert len(load.acknowledged) > 50
    assert set(load.acknowledged) == keys_in(ledger), "what was written was answered"


@pytest.fixture
def lock(runtime: Runtime) -> Iterator[Callable[[], Callable[[], None]]]:
    """Another process that holds the ledger's lock, until the function it gives is called."""
    holders: list[subprocess.Popen[str]] = []

    def take() -> Callable[[], None]:
        path = str(runtime.workspace.state / "ledger.sqlite")
        holder = subprocess.Popen(
            [sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"

        def release() -> None:
            holder.communicate(timeout=10)

        return release

    yield take
    for holder in holders:
        holder.kill()
        holder.wait()


def busy(answer: Answer) -> bool:
    return (answer.status, answer.headers.get("retry-after"), answer.json) == (
        503,
        "5",
        {"error": "it can't be kept now; send it again"},
    )


@pytest.mark.parametrize("seconds", [0.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_while_another_process_holds_the_lock_senders_are_asked_to_come_again(
    serve: Callable[..., Served],
    ledger: Ledger,
    lock: Callable[[], Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
    seconds: float,
) -> None:
    served = serve(lock_seconds=0.2)
    release = lock()
    answers = [post(served, BODY, signed(BODY, f"m{number}")) for number in range(3)]
    assert all(busy(answer) for answer in answers)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert busy(post(served, BODY, signed(BODY, "m0")))
    health = served.send("GET", "/health")
    assert (health.status, health.json) == (503, {"status": "events can't be written"})
    assert ledger.inbox.last_seq() == 0
    release()
    assert post(served, BODY, signed(BODY, "m0")).json == {"received": 1, "new": 1}
    assert served.send("GET", "/health").status == 200
    told = [record.getMessage() for record in caplog.records if record.name == "personalization.serve.writer"]
    assert len(told) == 2, "once when it begins and once when it is over"
    assert re.search("events can't be written and senders are asked to come again: the ledger .* is locked", told[0])
    assert told[1] == "inbox: events are written again"


def test_more_than_can_wait_is_turned_away_at_once(
    serve: Callable[..., Served], ledger: Ledger, lock: Callable[[], Callable[[], None]]
) -> None:
    served = serve(lock_seconds=5, max_waiting=4)
    release = lock()
    answers: dict[int, Answer] = {}

    def send(number: int) -> None:
        answers[number] = post(served, BODY, signed(BODY, f"m{number}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 4
    while len(answers) < 24 - 4 - 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    turned_away = dict(answers)
    release()
    for thread in threads:
        thread.join()
    assert len(turned_away) >= 16
    assert all(busy(answer) for answer in turned_away.values())
    kept = {f"m{number}" for number, answer in answers.items() if answer.status == 200}
    assert kept == keys_in(ledger)
    assert 4 <= len(kept) <= 8


@pytest.mark.parametrize(("connections", "seconds"), [(40, 0.5), pytest.param(640, 10, marks=pytest.mark.slow)])
def test_a_burst_loses_none_that_was_acknowledged(
    killable: subprocess.Popen[str], ledger: Ledger, connections: int, seconds: float
) -> None:
    """Ten times as many senders at once as the benchmark has (invariant 10)."""
    pid, served = started(killable)
    load = Load(served, "burst", connections)
    load.start()
    time.sleep(seconds)
    load.stop()
    os.kill(pid, signal.SIGTERM)
    ended(killable)
    assert load.unanswered == 0
    assert set(load.refused) <= {503}
    assert len(load.acknowledged) > 50
    assert set(load.acknowledged) == keys_in(ledger)


@pytest.fixture
def small_runtime(tmp_path: Path, runtime: Runtime) -> Iterator[Runtime]:
    """The workspace, with its ledger on a volume of its own, of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        workspace = Workspace.at(runtime.workspace.root, ledger=f"sqlite:///{folder / 'ledger.sqlite'}")
        small = Runtime(workspace)
        yield small
        small.ledger.close()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small volume; the quota test runs everywhere")
def test_a_full_disk_and_room_again(small_runtime: Runtime, tmp_path: Path) -> None:
    large = b'{"a": "%s"}' % (b"x" * 100_000)
    with serving(create_app(small_runtime)) as served:
        kept = _fill(served, large)
        assert served.send("GET", "/health").status == 503
        assert keys_in(small_runtime.ledger) == kept
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / "small"], check=True)
        assert _send_now(served, large, "again") == 200
        assert served.send("GET", "/health").status == 200
    assert keys_in(small_runtime.ledger) == kept | {"again"}
    small_runtime.ledger.verify()


def _send_now(served: Served, body: bytes, event_id: str) -> int:
    headers = [JSON, *sign_standard(body, STANDARD_SECRET, datetime.now(UTC), event_id)]
    answer = served.send("POST", "/webhooks/hooks", body, headers)
    assert answer.status == 200 or busy(answer)
    return answer.status


def _fill(served: Served, body: bytes) -> set[str]:
    """Post until three in a row can't be kept. The ids of those that were."""
    kept: set[str] = set()
    refused = 0
    for number in range(200):
        if _send_now(served, body, f"m{number}") == 200:
            kept.add(f"m{number}")
            refused = 0
        else:
            refused += 1
        if refused == 3:
            return kept
    raise AssertionError("the disk did not fill up")


def test_where_no_file_can_grow_any_more(runtime: Runtime) -> None:
    """A quota on the size of files, in a process of its own."""
    program = """
import resource, sys
from personalization.ledger.inbox_event import Arrival
from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.serve.server import serving
from tests.serve.test_faults import _fill, _send_now, keys_in

runtime = Runtime(Workspace.at(sys.argv[1]))
with serving(create_app(runtime)) as served:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    kept = _fill(served, b"x" * 100_000)
    assert keys_in(runtime.ledger) == kept, "no more and no less"
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _send_now(served, b"x", "again") == 200
    assert keys_in(runtime.ledger) == kept | {"again"}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(runtime.workspace.root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "events can't be written and senders are asked to come again" in done.stderr


def test_one_event_that_can_not_be_written_does_not_take_its_group_with_it(
    serve: Callable[..., Served], runtime: Runtime, lock: Callable[[], Callable[[], None]]
) -> None:
    """A trigger stands for whatever could be wrong with one event of a group."""
    with sqlite3.connect(runtime.workspace.state / "ledger.sqlite") as connection:
        connection.execute(
            "create trigger odd before insert on inbox when new.event_key = 'odd' begin select raise(abort, 'odd'); end"
        )
    served, release = serve(lock_seconds=10), lock()
    answers: dict[str, int] = {}

    def send(event_id: str) -> None:
        answers[event_id] = post(served, BODY, signed(BODY, event_id)).status

    threads = [threading.Thread(target=send, args=(name,)) for name in ("first", "a", "odd", "b", "c")]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while served.send("GET", "/health").json["waiting"] < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    release()
    for thread in threads:
        thread.join()
    assert answers == {"first": 200, "a": 200, "odd": 503, "b": 200, "c": 200}
    assert keys_in(runtime.ledger) == {"first", "a", "b", "c"}


def test_a_new_master_key_is_used_at_once(served: Served, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    ledger = runtime.ledger
    post(served, BODY, signed(BODY, "before"))
    keys, _ = rotate_vault(ledger, Keyring.load(runtime.workspace.keys), datetime.now(UTC))
    post(served, BODY, signed(BODY, "after"))
    assert [row.key_id for row in ledger.inbox.rows(0)] == ["v2", "v2"]
    keys = retire_vault_key(ledger, keys, "v1", datetime.now(UTC))
    runtime.workspace.keys.write_text("{")
    assert post(served, BODY, signed(BODY, "later")).status == 200, "the keys that were read are still good"
    assert "the key file was changed and can't be read" in caplog.text
    assert [row.body(keys) for row in ledger.inbox.rows(0)] == [BODY] * 3


CANARIES = ("canary-body", "canary-header", "canary-id", SECRET, STANDARD_SECRET, URL_SECRET, "canary@example.com")


def test_nothing_of_a_request_is_in_any_log(runtime: Runtime) -> None:
    """The command itself, at its most talkative, and everything it writes anywhere but into the sealed ledger."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PERSONALIZATION_HOME": str(runtime.workspace.root)}
    code = "import logging; logging.root.setLevel(0); from personalization.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, cwd=runtime.workspace.root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        first = server.stderr.readline()
        served = Served(int(re.search(r":(\d+)", first)[1]))  # type: ignore[index]
        body = b'{"type": "canary-body", "email": "canary@example.com"}'
        assert _send_now(served, body, "canary-id") == 200
        assert _send_now(served, body + b" {", "canary-id") == 200
        assert _send_now(served, b"canary-body", "canary-id2") == 200
        secret = [JSON, ("webhook-signature", "canary-header"), ("webhook-id", "canary-id"), ("x", "canary-header")]
        assert served.send("POST", "/webhooks/hooks?q=canary-header", body, secret).status == 401
        assert served.send("POST", "/webhooks/canary-body/canary-header", body, secret).status == 404
        served.raw(b"canary-header\r\n\r\n")
        opt_out = form({"type": "unsubscribe", "data[email]": "canary@example.com"})
        kind = [("content-type", "application/x-www-form-urlencoded")]
        assert served.send("POST", f"/webhooks/mailchimp/{URL_SECRET}", opt_out, kind).status == 200
        assert served.send("POST", "/webhooks/mailchimp/canary-header", opt_out, kind).status == 401
        server.send_signal(signal.SIGINT)
        told = first + server.stderr.read()  # not `communicate`, which forgets what `readline` read ahead
        assert server.stdout is not None
        told += server.stdout.read()
    assert "mailchimp (Mailchimp): https://mail.example.com/webhooks/mailchimp/<value of URL_SECRET>" in told
    assert "came again with other content" in told
    assert "Traceback" not in told
    assert [canary for canary in CANARIES if canary in told] == []
    files = [path for path in runtime.workspace.root.rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files if path.parent.name != "program"}
    found = {
        (path.name, canary) for path, content in contents.items() for canary in CANARIES if canary.encode() in content
    }
    assert {canary for _, canary in found} <= {"canary-id"}, "an event id is kept as it is, in the ledger"
