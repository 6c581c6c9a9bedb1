"""Subscriptions of the HubSpot sandbox. They belong to addresses: a contact with another address has another status."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from personalization.sandbox.answers import Answer
from personalization.sandbox.hubspot_problems import Refused, bad_input, batch, inputs_of, moment, not_found
from personalization.sandbox.store import Store

SUBSCRIPTIONS = {1001: "Marketing information", 1002: "Newsletter"}
STATES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")


class Consent:
    """Statuses of one account.

    Parameters
    ----------
    lag : float
        Seconds after which the properties of contacts show a new status.
    """

    def __init__(self, store: Store, lag: float) -> None:
        self._store, self._lag = store, lag

    def handle(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        if parts == ["definitions"] and method == "GET":
            return Answer(200, {"results": [_definition(i, name) for i, name in SUBSCRIPTIONS.items()], **_times()})
        if parts[:1] != ["statuses"] or len(parts) < 2:
            raise not_found("resource")
        if parts[1] != "batch":
            return self._one(method, parts[1].lower(), parts[2:], query, body)
        if method != "POST":
            raise Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        what = parts[2:]
        if what == ["write"]:
            return self._write([one if isinstance(one, dict) else {} for one in inputs_of(body)])
        _check_channel(query)
        addresses = [str(one).lower() for one in inputs_of(body)]
        if what == ["read"]:
            return batch([{"subscriberIdString": one, "statuses": self._statuses(one)} for one in addresses])
        if what == ["unsubscribe-all", "read"]:
            return batch([{"subscriberIdString": one, "wideStatuses": self._wide(one)} for one in addresses])
        if what == ["unsubscribe-all"]:
            for one in addresses:
                self._opt_out_of_all(one)
            return batch([{"subscriberIdString": one, "statuses": self._statuses(one)} for one in addresses])
        raise not_found("resource")

    def shown_on_contacts(self, address: str) -> dict[str, str]:
        """What the opt-out properties of contacts show, some time after the fact."""
        before = time.time() - self._lag
        shown = {}
        if self._store.get("opted_out_of_all", address) and self._store.get("opted_out_of_all", address) <= before:
            shown["hs_email_optout"] = "true"
        for one in SUBSCRIPTIONS:
            status = self._store.get("statuses", f"{address} {one}")
            if status and status["status"] == "UNSUBSCRIBED" and status["at"] <= before:
                shown[f"hs_email_optout_{one}"] = "true"
        return shown

    def left(self, address: str) -> bool:
        """Whether an address opted out of everything."""
        return bool(self._store.get("opted_out_of_all", address))

    def leave(self, address: str) -> None:
        """A recipient opts out of everything."""
        self._opt_out_of_all(address)

    def _one(self, method: str, address: str, parts: list[str], query: Mapping[str, str], body: Any) -> Answer:
        if parts == ["unsubscribe-all"]:
            _check_channel(query)
            if method == "GET":
                return Answer(200, {"results": self._wide(address), **_times()})
            self._opt_out_of_all(address)
            verbose = query.get("verbose") == "true"
            return Answer(200, {"results": self._statuses(address) if verbose else [], **_times()})
        if method == "GET":
            _check_channel(query)
            return Answer(200, {"results": self._statuses(address), **_times()})
        return self._write([{**(body if isinstance(body, dict) else {}), "subscriberIdString": address}])

    def _write(self, inputs: list[dict[str, Any]]) -> Answer:
        """Errors come inside of a 200."""
        results, errors = [], []
        for one in inputs:
            address, number = str(one.get("subscriberIdString", "")).lower(), one.get("subscriptionId")
            if one.get("statusState") not in STATES or one.get("channel") != "EMAIL" or not isinstance(number, int):
                raise bad_input("channel, statusState and subscriptionId are required")
            problem = None
            if number not in SUBSCRIPTIONS:
                problem = Refused(400, "VALIDATION_ERROR", f"Subscription with ID {number} does not exist")
            elif not _ADDRESS.fullmatch(address):
                problem = Refused(400, "VALIDATION_ERROR", f"{address} is not a valid email address")
            if problem:
                errors.append(problem.entry(subscriberIdString=[address]))
                continue
            results.append(self._set(address, number, one))
        return batch(results, errors, status=200)

    def _set(self, address: str, number: int, one: Mapping[str, Any]) -> dict[str, Any]:
        before, now = self._status(address, number)["status"], one["statusState"]
        reason = "NO_STATUS_CHANGE" if before == now else "REQUESTED_CHANGE_OCCURRED"
        if before == "UNSUBSCRIBED" and now == "SUBSCRIBED":
            reason = "RESUBSCRIBE_OCCURRED"
            self._store.delete("opted_out_of_all", address)
        document = {"status": now, "at": time.time(), "timestamp": moment(), "legalBasis": one.get("legalBasis")}
        self._store.put("statuses", f"{address} {number}", document)
        return {**self._status(address, number), "setStatusSuccessReason": reason}

    def _opt_out_of_all(self, address: str) -> None:
        self._store.put("opted_out_of_all", address, time.time())
        for number in SUBSCRIPTIONS:
            self._set(address, number, {"statusState": "UNSUBSCRIBED"})

    def _statuses(self, address: str) -> list[dict[str, Any]]:
        return [self._status(address, number) for number in SUBSCRIPTIONS]

    def _status(self, address: str, number: int) -> dict[str, Any]:
        kept = self._store.get("statuses", f"{address} {number}") or {"status": "NOT_SPECIFIED", "timestamp": moment()}
        shown = {
            "channel": "EMAIL",
            "source": "Public status API" if "at" in kept else "Not specified",
            "status": kept["status"],
            "subscriberIdString": address,
            "subscriptionId": number,
            "subscriptionName": SUBSCRIPTIONS[number],
            "timestamp": kept["timestamp"],
        }
        return {**shown, "legalBasis": kept["legalBasis"]} if kept.get("legalBasis") else shown  # never null

    def _wide(self, address: str) -> list[dict[str, Any]]:
        if not self._store.get("opted_out_of_all", address):
            return []
        wide = {"channel": "EMAIL", "status": "UNSUBSCRIBED", "subscriberIdString": address, "timestamp": moment()}
        return [{**wide, "wideStatusType": "PORTAL_WIDE", "businessUnitId": 0}]


def _definition(number: int, name: str) -> dict[str, Any]:
    made = {"id": str(number), "name": name, "description": name, "isActive": True, "isDefault": number == 1001}
    return {**made, "isInternal": False, "createdAt": moment(), "updatedAt": moment()}


def _times() -> dict[str, Any]:
    return {"status": "COMPLETE", "startedAt": moment(), "completedAt": moment()}


def _check_channel(query: Mapping[str, str]) -> None:
    if query.get("channel") != "EMAIL":
        raise Refused(400, "VALIDATION_ERROR", "query parameter channel must be EMAIL")
