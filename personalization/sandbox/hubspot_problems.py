"""Errors in HubSpot's form, and how a batch reports them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.answers import Answer


class Refused(Exception):
    """A request, or one input of a batch, that HubSpot does not take."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.category, self.message, self.more = status, category, message, more

    @property
    def answer(self) -> Answer:
        body = {
            "status": "error",
            "message": self.message,
            "correlationId": str(uuid.uuid4()),
            "category": self.category,
            **self.more,
        }
        return Answer(self.status, body)

    def entry(self, **context: list[str]) -> dict[str, Any]:
        """As one of the errors of a 207, or of a 200: all of `StandardError` that is required."""
        told = {"status": "error", "category": self.category, "message": self.message, "context": context}
        return {**told, "errors": [], "links": {}}


def invalid_values(problems: Sequence[tuple[str, str, str]]) -> Refused:
    """Property values that are refused: name, HubSpot's code, words."""
    listed = [
        {"isValid": False, "message": words, "error": code, "name": name, "localizedErrorMessage": words}
        for name, code, words in problems
    ]
    return Refused(400, "VALIDATION_ERROR", f"Property values were not valid: {json.dumps(listed)}")


def not_found(what: str) -> Refused:
    return Refused(404, "OBJECT_NOT_FOUND", f"{what} does not exist")


def bad_input(message: str) -> Refused:
    return Refused(400, "VALIDATION_ERROR", f"Invalid input JSON: {message}")


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def batch(results: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]] = (), status: int = 207) -> Answer:
    """The answer to a batch: 200, or `status` and errors when there are any."""
    now = moment()
    body: dict[str, Any] = {"status": "COMPLETE", "results": list(results), "startedAt": now, "completedAt": now}
    if errors:
        body |= {"numErrors": len(errors), "errors": list(errors)}
    return Answer(status if errors else 200, body)


def inputs_of(body: Any, most: int = 100) -> list[Any]:
    """The inputs of a batch request, at most 100."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list):
        raise bad_input("inputs must be a list")
    if not 0 < len(inputs) <= most:
        raise Refused(400, "VALIDATION_ERROR", f"The maximum number of inputs is {most}; there are {len(inputs)}")
    return inputs
