"""Runs a sandbox: in this process until it is stopped, or in a child process for as long as a block of code lasts."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from personalization.errors import PersonalizationError

READY = "sandbox ready at "
_START_SECONDS = 20.0
PLATFORMS = {
    "mailchimp": ("MailchimpSandbox", "/3.0"),
    "hubspot": ("HubspotSandbox", ""),
    "salesforce": ("SalesforceSandbox", ""),
    "listmonk": ("ListmonkSandbox", "/api"),
    "activecampaign": ("ActiveCampaignSandbox", "/api/3"),
}
"""By platform, also the module's name: its class, and the path that its API begins with."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox as seen by a test or a demo. `list_id` is the only list, where the platform has lists."""

    url: str
    api_key: str
    list_id: str
    pid: int
    api: str = "/3.0"

    @property
    def base_url(self) -> str:
        """What a destination's `base_url` is set to."""
        return f"{self.url}{self.api}"

    def fault(self, kind: str, **settings: Any) -> None:
        """Script a fault; see `personalization.sandbox.faults.Fault`."""
        answer = requests.post(f"{self.url}/_sandbox/faults", json={"kind": kind, **settings}, timeout=10)
        if not answer.ok:
            raise ValueError(answer.text)

    def clear_faults(self) -> None:
        requests.delete(f"{self.url}/_sandbox/faults", timeout=10)

    def reset(self) -> None:
        """Empty the account: contacts, fields, jobs, faults, and the log of requests."""
        requests.delete(f"{self.url}/_sandbox/state", timeout=10)

    def send_campaign(self, name: str, addresses: Sequence[str] | None = None, **settings: Any) -> dict[str, Any]:
        """Let the platform send a campaign; see `personalization.sandbox.mailings`. Returns its id and counts.

        Parameters
        ----------
        addresses : sequence of str, optional
            Default: everybody whom the platform would mail.
        settings
            `sent_at` (ISO 8601), `seed`, `rates`.
        """
        asked = {"name": name, "addresses": None if addresses is None else list(addresses), **settings}
        answer = requests.post(f"{self.url}/_sandbox/campaigns", json=asked, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def let_happen(self, campaign_id: str, *events: dict[str, Any]) -> None:
        """Let something happen to mails of a campaign: `address`, `kind`, `at`, and what belongs to the kind."""
        address = f"{self.url}/_sandbox/campaigns/{campaign_id}/events"
        answer = requests.post(address, json={"events": list(events)}, timeout=60)
        if not answer.ok:
            raise ValueError(answer.text)

    def mail_events(self) -> list[dict[str, Any]]:
        """Everything that happened to mails, whether the platform's API tells of it or not."""
        return list(requests.get(f"{self.url}/_sandbox/campaigns/events", timeout=60).json()["events"])

    def request_log(self) -> list[dict[str, Any]]:
        """Every request to the API since the start or the last `forget_requests`: method, path, status, time."""
        log = requests.get(f"{self.url}/_sandbox/requests", timeout=10).json()["requests"]
        return list(log)

    def forget_requests(self) -> None:
        requests.delete(f"{self.url}/_sandbox/requests", timeout=10)

    def call(self, method: str, path: str, **settings: Any) -> requests.Response:
        """One call to the API itself, with the key as HTTP Basic password; `path` is the part below `base_url`."""
        return requests.request(method, self.base_url + path, auth=("sandbox", self.api_key), timeout=10, **settings)

    def members(self) -> dict[str, dict[str, Any]]:
        """All members of a Mailchimp list by address, read page by page as any client must."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            query = {"count": 1000, "offset": len(found)}
            page = self.call("GET", f"/lists/{self.list_id}/members", params=query).json()
            found |= {member["email_address"]: member for member in page["members"]}
            if not page["members"]:
                return found


def serve(
    platform: str,
    *,
    api_key: str,
    list_id: str,
    port: int = 0,
    state: Path | None = None,
    batch_seconds: float = 0.2,
    latency: float = 0.0,
    until_input_ends: bool = False,
) -> None:
    """Serve a platform's sandbox on 127.0.0.1 until the process is stopped.

    Parameters
    ----------
    platform : str
        A key of PLATFORMS.
    batch_seconds : float
        How long the platform works on what it does not answer at once.
    port : int
        0 takes a free one. The address is written to standard output once requests are accepted.
    until_input_ends : bool
        Also stop when standard input is closed, so that a child never outlives its parent.
    """
    _check_platform(platform)
    import uvicorn

    from personalization.sandbox.connections import TrackedProtocol

    make: Any = getattr(importlib.import_module(f"personalization.sandbox.{platform}"), PLATFORMS[platform][0])
    sandbox = make(api_key, list_id, state=state, batch_seconds=batch_seconds, latency=latency)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise PersonalizationError(
            f"port {port} can't be used: {error.strerror}", hint="choose another port, or 0 for a free one"
        ) from None
    config = uvicorn.Config(sandbox.app(), http=TrackedProtocol, log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    listener.listen(128)  # from here on a request waits instead of being refused
    sys.stdout.write(f"{READY}http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    if until_input_ends:
        threading.Thread(target=_stop_when_input_ends, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _check_platform(platform: str) -> None:
    if platform not in PLATFORMS:
        raise PersonalizationError(
            f"there is no sandbox for '{platform}'", hint=f"there is one for: {', '.join(PLATFORMS)}"
        )


def _stop_when_input_ends(server: Any) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True


@contextmanager
def run_sandbox(
    platform: str = "mailchimp",
    *,
    api_key: str = "sandbox-key-us1",
    list_id: str = "demo000001",
    port: int = 0,
    state: Path | None = None,
    batch_seconds: float = 0.2,
    latency: float = 0.0,
) -> Iterator[Sandbox]:
    """A platform's sandbox in a child process on 127.0.0.1, stopped at the end of the block.

    Raises
    ------
    PersonalizationError
        It did not start; with what it wrote.
    """
    _check_platform(platform)
    command = [sys.executable, "-m", "personalization.sandbox", platform, "--until-input-ends"]
    command += ["--api-key", api_key, "--list-id", list_id, "--port", str(port)]
    command += ["--batch-seconds", str(batch_seconds), "--latency", str(latency)]
    if state is not None:
        command += ["--state", str(state)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Sandbox(_url(process), api_key, list_id, process.pid, PLATFORMS[platform][1])
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _url(process: subprocess.Popen[str]) -> str:
    """The address the child wrote, once it accepts requests."""
    assert process.stdout is not None
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line.startswith(READY):
        process.kill()
        _, problem = process.communicate()
        said = [line for line in problem.splitlines() if line.strip() and not line.lstrip().startswith("hint:")]
        reason = said[-1] if said else f"no answer within {_START_SECONDS:.0f} s"
        raise PersonalizationError(f"the sandbox did not start: {reason}")
    return line.removeprefix(READY).strip()
