"""Answers and errors of a sandbox, apart from the server that sends them, so that a batch can use the same rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

ERRORS_PAGE = "https://mailchimp.com/developer/marketing/docs/errors/"


@dataclass(frozen=True)
class Answer:
    """What a request gets: a status, and a JSON body unless it is None."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Problem(Exception):
    """An error in Mailchimp's form, `application/problem+json`."""

    def __init__(self, status: int, title: str, detail: str, errors: Iterable[tuple[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.errors = None if errors is None else [{"field": name, "message": text} for name, text in errors]

    @property
    def answer(self) -> Answer:
        body = {
            "type": ERRORS_PAGE,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": str(uuid.uuid4()),
        }
        if self.errors:
            body["errors"] = self.errors
        return Answer(self.status, body)


def invalid(detail: str, errors: Iterable[tuple[str, str]]) -> Problem:
    """400 Invalid Resource, with the fields that don't fit."""
    return Problem(400, "Invalid Resource", detail, errors)


def not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")
