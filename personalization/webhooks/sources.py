"""The webhook sources of a program: what is wrong with them, and each with its secrets, ready to receive."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from personalization.errors import Position, ProgramError, did_you_mean
from personalization.ledger.consent_event import ACTIONS
from personalization.program import Program
from personalization.program.models import WebhookSource
from personalization.webhooks.request import NotAuthentic, WebhookRequest
from personalization.webhooks.senders import SENDERS, Sender
from personalization.webhooks.senders.base import MIN_SECRET

_REFERENCE = re.compile(r"\$\{env:([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True)
class Endpoint:
    """A webhook source with its secrets. They are in no repr."""

    name: str
    sender: Sender
    settings: WebhookSource
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    url_secret: str | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """Its path, without the secret that may follow."""
        return f"/webhooks/{self.name}"

    def verify(self, request: WebhookRequest, url_secret: str | None, now: datetime) -> None:
        """Check that a request comes from the sender.

        Raises
        ------
        NotAuthentic
            For whatever reason it does not prove that.
        """
        self.verify_address(url_secret)
        if self.sender.signs and not self.keys:
            raise NotAuthentic("there is no secret to check it with")
        self.sender.verify(request, self.keys, now)

    def verify_address(self, url_secret: str | None) -> None:
        """Check the secret in the address alone."""
        wanted, given = (self.url_secret or "").encode(), (url_secret or "").encode("utf-8", "replace")
        if not hmac.compare_digest(wanted, given):
            raise NotAuthentic("the secret in the address is not the one of this source")


def webhook_sources(program: Program) -> dict[str, WebhookSource]:
    """The sources of kind webhook, in the order they are written."""
    return {name: source for name, source in program.sources.items() if isinstance(source, WebhookSource)}


def load_endpoints(program: Program) -> dict[str, Endpoint]:
    """All webhook sources with their secrets from the environment.

    Raises
    ------
    ProgramError
        With every secret that is missing, empty or too short, by variable and place in sources.yaml.
    """
    problems = check_webhooks(program)
    endpoints: dict[str, Endpoint] = {}
    for name, settings in webhook_sources(program).items():
        sender = SENDERS[settings.sender]
        keys: list[bytes] = []
        for index, reference in enumerate(settings.secrets):
            position = program.position("sources", ("sources", name, "secrets", index))
            try:
                keys.append(_key(sender, name, reference, position))
            except ProgramError as problem:
                problems.append(problem)
        url_secret = None
        if settings.url_secret is not None:
            position = program.position("sources", ("sources", name, "url_secret"))
            try:
                url_secret = _url_secret(name, settings.url_secret, position)
            except ProgramError as problem:
                problems.append(problem)
        endpoints[name] = Endpoint(name, sender, settings, tuple(keys), url_secret)
    if problems:
        unique = {str(problem): problem for problem in problems}
        raise ProgramError("the webhook sources can't be served", problems=unique.values())
    return endpoints


def check_webhooks(program: Program) -> list[ProgramError]:
    """Mistakes in webhook sources that can be seen without their secrets, each with its position."""
    return [problem for name, source in webhook_sources(program).items() for problem in _check(program, name, source)]


def unset_secrets(program: Program) -> list[tuple[str, str]]:
    """Variables that webhook sources name and that are not set here, each with the place that names it."""
    found = []
    for name, source in webhook_sources(program).items():
        places: list[tuple[tuple[str | int, ...], str]] = [
            (("sources", name, "secrets", index), text) for index, text in enumerate(source.secrets)
        ]
        if source.url_secret is not None:
            places.append((("sources", name, "url_secret"), source.url_secret))
        for path, text in places:
            reference = _REFERENCE.fullmatch(text)
            if reference and not os.environ.get(reference[1]):
                found.append((reference[1], str(program.position("sources", path))))
    return found


def purposes_withdrawn(program: Program, source: WebhookSource) -> list[str]:
    """What an opt-out at a source withdraws: the purposes it names, else all of e-mail but those of a contract."""
    return list(source.purposes) or marketing_purposes(program)


def marketing_purposes(program: Program) -> list[str]:
    """Every purpose of e-mail that is not needed for a contract."""
    return [
        name
        for name, purpose in program.purposes.items()
        if purpose.channel == "email" and purpose.lawful_basis != "contract"
    ]


def _check(program: Program, name: str, source: WebhookSource) -> Iterator[ProgramError]:
    sender = SENDERS[source.sender]

    def at(*path: str | int) -> Position:
        return program.position("sources", ("sources", name, *path))

    if sender.signs and not source.secrets:
        yield ProgramError(
            f"{name}: {sender.title} signs its webhooks, and no secret to check that with is given",
            at=at(),
            hint="write secrets: [${env:NAME}]",
        )
    if sender.needs_url_secret and source.url_secret is None:
        yield ProgramError(
            f"{name}: {sender.title} needs a secret in the address",
            at=at(),
            hint="write url_secret: ${env:NAME}, and let NAME be 32 random letters",
        )
    for index, text in enumerate(source.secrets):
        if not _REFERENCE.fullmatch(text):
            yield _not_a_reference(name, at("secrets", index))
    if source.url_secret is not None and not _REFERENCE.fullmatch(source.url_secret):
        yield _not_a_reference(name, at("url_secret"))
    if source.sender == "hubspot" and not program.settings.serve.public_url:
        yield ProgramError(
            f"{name}: HubSpot signs the address it calls, so it must be known",
            at=at(),
            hint="set serve: {public_url: https://…} in program.yaml",
        )
    for index, purpose in enumerate(source.purposes):
        if purpose not in program.purposes:
            yield ProgramError(
                f"{name}: unknown purpose '{purpose}' ({did_you_mean(purpose, program.purposes)})",
                at=at("purposes", index),
            )
    for key, table in source.tables.items():
        for column, path in table.columns.items():
            if path.startswith(".") and table.records is None:
                yield ProgramError(
                    f"{name}.{key}: '{path}' is a path in an element of a list, and `records` names no list",
                    at=at("tables", key, "columns", column),
                    hint="set records, or write the path without the dot at its beginning",
                )
        if table.entity == "consent_events":
            for constant, known in (("purpose", program.purposes), ("action", ACTIONS)):
                value = table.constants.get(constant)
                if value is not None and value not in known:
                    yield ProgramError(
                        f"{name}.{key}: unknown {constant} '{value}' ({did_you_mean(str(value), known)})",
                        at=at("tables", key, "constants", constant),
                    )


def _not_a_reference(name: str, at: Position) -> ProgramError:
    return ProgramError(
        f"{name}: a secret must not stand in the file", at=at, hint="write ${env:NAME} and set the variable NAME"
    )


def _read(reference: str, source: str, at: Position) -> tuple[str, str]:
    """The variable's name and value."""
    matched = _REFERENCE.fullmatch(reference)
    if matched is None:
        raise _not_a_reference(source, at)
    value = os.environ.get(matched[1], "").strip()
    if not value:
        state = "empty" if matched[1] in os.environ else "not set"
        raise ProgramError(
            f"{source}: the environment variable {matched[1]} is {state}", at=at, hint="set it before the start"
        )
    return matched[1], value


def _key(sender: Sender, source: str, reference: str, at: Position) -> bytes:
    variable, value = _read(reference, source, at)
    try:
        return sender.key(value)
    except ValueError as problem:
        raise ProgramError(f"{source}: the secret in the environment variable {variable} {problem}", at=at) from None


def _url_secret(source: str, reference: str, at: Position) -> str:
    variable, value = _read(reference, source, at)
    if len(value) < MIN_SECRET:
        raise ProgramError(
            f"{source}: the secret in the environment variable {variable} is {len(value)} characters long; "
            f"at least {MIN_SECRET} are needed",
            at=at,
        )
    if not re.fullmatch(r"[A-Za-z0-9_~.-]+", value):
        raise ProgramError(
            f"{source}: the secret in the environment variable {variable} has characters that an address can't have "
            "as they are",
            at=at,
            hint="use letters, digits, '-' and '_'",
        )
    return value
