"""Opt-outs at HubSpot. They belong to an address, not to a contact (knowledge base: "opt-out status is tied to a
contact's email address, not the record").

The subscription preferences API can subscribe people again. Nothing here can: `UNSUBSCRIBED` is all it ever writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.hubspot_shapes import MOST, Paths, words

CHANNEL: Mapping[str, str | int] = {"channel": "EMAIL"}
ALL = 0
"""Stands for an opt-out of everything; no subscription has this id."""


class Consent:
    """Opt-outs of one account.

    Parameters
    ----------
    legal_basis, explanation : str, optional
        Sent along, as accounts with data privacy settings demand.
    """

    def __init__(self, http: Http, paths: Paths, legal_basis: str | None, explanation: str) -> None:
        self._http, self._path = http, paths.consent
        self._basis = {"legalBasis": legal_basis, "legalBasisExplanation": explanation} if legal_basis else {}
        self._in_batches = True

    def known_subscriptions(self) -> dict[int, str]:
        """Names of the account's active subscription types by id."""
        answer = self._http.call("GET", f"{self._path}/definitions")
        if not answer.ok:
            raise DestinationError(f"HubSpot would not list subscriptions: {self._http.redact(words(answer.body))}")
        return {int(one["id"]): one["name"] for one in answer.body["results"] if one.get("isActive", True)}

    def opt_out(self, addresses: Sequence[str], subscriptions: Sequence[int]) -> dict[str, str | None]:
        """Opt addresses out of subscriptions. Returns by address why it was not confirmed, None when it was.

        Batches need Marketing Hub Enterprise; where HubSpot does not allow them, it is one request each.
        """
        left = [(address, one) for address in addresses for one in subscriptions]
        answers: list[Answer] = []
        if self._in_batches:
            try:
                answers = [self._batch(left[first : first + MOST]) for first in range(0, len(left), MOST)]
            except DestinationError:
                self._in_batches = False
            left = [pair for pair in left if (pair[0].lower(), pair[1]) not in _confirmed(answers)]
        answers += [self._single(address, one) for address, one in left]  # one bad address spoils no other's opt-out
        confirmed = _confirmed(answers)
        said = self._http.redact("; ".join(dict.fromkeys(_objections(answers))))
        reason = f"HubSpot did not confirm the opt-out{': ' + said if said else ''}"
        return {
            address: None if all((address.lower(), one) in confirmed for one in subscriptions) else reason
            for address in addresses
        }

    def opt_outs(self, address: str) -> set[int]:
        """The subscriptions an address has opted out of, and ALL for everything."""
        path = f"{self._path}/statuses/{_in_path(address)}"
        statuses = self._http.call("GET", path, query=CHANNEL)
        everything = self._http.call("GET", f"{path}/unsubscribe-all", query=CHANNEL)
        for answer in (statuses, everything):
            if not answer.ok:
                raise DestinationError(f"HubSpot would not show opt-outs: {self._http.redact(words(answer.body))}")
        known, of_all = statuses.body["results"], everything.body["results"]  # without any, nothing is known
        found = {int(one["subscriptionId"]) for one in known if one.get("status") == "UNSUBSCRIBED"}
        if any(one.get("status") not in ("SUBSCRIBED", "NOT_SPECIFIED") for one in of_all):
            found.add(ALL)
        return found

    def carry(self, opt_outs: set[int], address: str) -> str | None:
        """Opt an address out of the same. Returns why it was not confirmed, None when it was."""
        if ALL in opt_outs:
            path = f"{self._path}/statuses/{_in_path(address)}/unsubscribe-all"
            answer = self._http.call("POST", path, query={**CHANNEL, "verbose": "true"})
            problems = _objections([answer])
            if problems:
                return self._http.redact("; ".join(problems))
        single = sorted(opt_outs - {ALL})
        return self.opt_out([address], single)[address] if single else None

    def _batch(self, wanted: Sequence[tuple[str, int]]) -> Answer:
        inputs = [{"subscriberIdString": address, **self._opted_out_of(one)} for address, one in wanted]
        return self._http.call("POST", f"{self._path}/statuses/batch/write", body={"inputs": inputs})

    def _single(self, address: str, subscription: int) -> Answer:
        path = f"{self._path}/statuses/{_in_path(address)}"
        return self._http.call("POST", path, body=self._opted_out_of(subscription))

    def _opted_out_of(self, subscription: int) -> dict[str, Any]:
        return {"channel": "EMAIL", "statusState": "UNSUBSCRIBED", "subscriptionId": subscription, **self._basis}


def _confirmed(answers: Sequence[Answer]) -> set[tuple[str, int]]:
    """Addresses and subscriptions that HubSpot shows as opted out."""
    return {
        (str(result.get("subscriberIdString", "")).lower(), int(result.get("subscriptionId", -1)))
        for answer in answers
        for result in _results(answer)
        if result.get("status") == "UNSUBSCRIBED"
    }


def _in_path(address: str) -> str:
    """With its @ as it is, so that what hides addresses in messages knows it."""
    return quote(address, safe="@")


def _results(answer: Answer) -> list[dict[str, Any]]:
    return list(answer.body.get("results") or []) if answer.ok and isinstance(answer.body, dict) else []


def _objections(answers: Sequence[Answer]) -> list[str]:
    """What HubSpot objects to; its errors come inside of a 200 too."""
    found = [words(answer.body) for answer in answers if not answer.ok]
    for answer in answers:
        errors = answer.body.get("errors") if answer.ok and isinstance(answer.body, dict) else None
        found += [words(error) for error in errors or []]
    return found
