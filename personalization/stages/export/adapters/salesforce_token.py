"""One access token for as long as it is valid, also for the next process: Salesforce allows one request for a token
per client machine in 20 minutes (help.salesforce.com, API Limits and Guidelines), and runs may be minutes apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from personalization.stages.export.adapters.base import Clock, DestinationError
from personalization.stages.export.adapters.http import Http
from personalization.stages.export.adapters.traffic import Traffic

MARGIN_SECONDS = 30.0
KEY_HINT = (
    "check client id and secret: Salesforce Marketing Cloud, Setup, Apps, Installed Packages, API integration "
    "(server-to-server); then the variables that hold them"
)


class _Nothing(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Token(AuthBase):
    """Puts a valid token into each request.

    Parameters
    ----------
    url : str
        Of the authentication service.
    account_id : str, optional
        Business unit; the package's own when it is not given.
    keep : Path, optional
        File for the token, readable by its owner only; None asks for one in each process.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        account_id: str | None,
        keep: Path | None,
        traffic: Traffic | None = None,
        clock: Clock | None = None,
    ) -> None:
        secrets = [client_id, client_secret]
        self._http = Http(
            "Salesforce",
            url,
            auth=_Nothing(),
            secrets=secrets,
            connections=1,
            key_hint=KEY_HINT,
            traffic=traffic,
            clock=clock,
        )
        self._credentials: dict[str, str | int] = {"client_id": client_id, "client_secret": client_secret}
        if account_id:  # a number in Salesforce's documents (Access Token for Server-to-Server Integrations)
            self._credentials["account_id"] = int(account_id) if account_id.isdecimal() else account_id
        self._owner = hashlib.sha256(json.dumps([url, self._credentials]).encode()).hexdigest()
        self._keep = keep
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._redactors = [self._http.redact]

    def hidden_by(self, http: Http) -> None:
        """Tokens are taken out of this API's messages too."""
        self._redactors.append(http.redact)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.current()}"
        return request

    def current(self) -> str:
        """A token that is valid, as far as is known."""
        with self._lock:
            if not _valid(self._known):
                self._known = self._read()
            if not _valid(self._known):
                self._known = self._ask()
            return self._hidden()

    def renew(self) -> bool:
        """A token was refused before its time. True when there is another one now."""
        with self._lock:
            refused = self._known.get("token")
            self._known = self._read()
            if not _valid(self._known) or self._known["token"] == refused:
                self._known = self._ask()
            self._hidden()
            return bool(self._known["token"] != refused)

    def _hidden(self) -> str:
        token = str(self._known["token"])
        for redact in self._redactors:
            redact.also(token)
        return token

    def _ask(self) -> dict[str, Any]:
        body = {"grant_type": "client_credentials", **self._credentials}
        answer = self._http.call("POST", "/v2/token", body=body)
        if not answer.ok or not isinstance(answer.body, dict) or "access_token" not in answer.body:
            said = answer.body.get("error_description") or answer.body.get("error") if answer.body else None
            said = f": {self._http.redact(str(said))}" if said else ""
            raise DestinationError(f"Salesforce gave no access token (status {answer.status}{said})", hint=KEY_HINT)
        until = time.time() + float(answer.body.get("expires_in", 0))
        known = {"token": str(answer.body["access_token"]), "until": until, "owner": self._owner}
        if self._keep:
            self._keep.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._keep.with_name(f".{self._keep.name}.{os.getpid()}")
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(known, file)
            unfinished.replace(self._keep)
        return known

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._keep.read_text()) if self._keep else {}
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and known.get("owner") == self._owner else {}


def _valid(known: dict[str, Any]) -> bool:
    return bool(known) and float(known.get("until", 0)) - MARGIN_SECONDS > time.time()
