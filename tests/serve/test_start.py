"""A server that could not keep its promises does not start, and says why. Invariant 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from personalization.errors import KeyFileError, ProgramError
from personalization.ledger import Keyring
from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.webhooks.program import write_program


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"SECRET": None}, ["sources.yaml:35:15: hubspot: the environment variable SECRET is not set"]),
        ({"SECRET": ""}, ["hubspot: the environment variable SECRET is empty\n  hint: set it before the start"]),
        (
            {"SECRET": "fifteen-letters"},
            ["the secret in the environment variable SECRET is 15 characters long; at least 16"],
        ),
        (
            {"HOOKS_SECRET": "whsec_AAAA"},
            ["sources.yaml:6:15: hooks: .* HOOKS_SECRET holds 3 bytes; Standard Webhooks needs 24"],
        ),
        (
            {"HOOKS_NEXT_SECRET": "canary!"},
            ["sources.yaml:6:38: hooks: the secret in .* HOOKS_NEXT_SECRET is not base64"],
        ),
        (
            {"URL_SECRET": "short"},
            ["mailchimp: .* URL_SECRET is 5 characters long", "salesforce: .*", "activecampaign: .*"],
        ),
        ({"URL_SECRET": "canary/with?letters#that"}, ["URL_SECRET has characters that an address can't have"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_start_without_good_secrets_is_refused(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], problems: list[str]
) -> None:
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(ProgramError) as caught:
        create_app(runtime)
    for problem in problems:
        assert re.search(problem, str(caught.value)), str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{sender: stripe}", "x: Stripe signs its webhooks, and no secret to check that with is given"),
        ("{sender: stripe, secrets: [plain-text-secret]}", "x: a secret must not stand in the file"),
        ("{sender: stripe, secrets: ['a${env:SECRET}']}", "x: a secret must not stand in the file"),
        ("{sender: mailchimp}", "x: Mailchimp needs a secret in the address\n  hint: write url_secret: "),
        ("{sender: mailchimp, url_secret: plain-text-secret}", "x: a secret must not stand in the file"),
        (
            "{sender: stripe, secrets: ['${env:SECRET}'], purposes: [email.marketin]}",
            r"x: unknown purpose 'email.marketin' \(did you mean 'email.marketing'\?\)",
        ),
        (
            "{sender: stripe, secrets: ['${env:SECRET}'], tables: {t: {entity: consent_events, columns: {email: .a},"
            " constants: {purpose: email.marketin, action: grants}}}}",
            r"x.t: '.a' is a path in an element of a list, and `records` names no list(.|\n)*"
            r"x.t: unknown purpose 'email.marketin'(.|\n)*x.t: unknown action 'grants' \(did you mean 'grant'\?\)",
        ),
    ],
)
def test_a_source_with_a_mistake_is_refused(runtime: Runtime, tmp_path: Path, source: str, problem: str) -> None:
    settings = source.replace("{sender", "{kind: webhook, sender", 1)
    home = write_program(tmp_path / "wrong", f"sources:\n  x: {settings}\n")
    with pytest.raises(ProgramError, match=problem) as caught:
        create_app(Runtime(Workspace.at(home)))
    assert "sources.yaml:2:" in str(caught.value)


def test_hubspot_needs_to_know_how_it_is_called(tmp_path: Path, secrets: dict[str, str]) -> None:
    home = write_program(tmp_path, "sources:\n  x: {kind: webhook, sender: hubspot, secrets: ['${env:SECRET}']}\n")
    settings = home / "program" / "program.yaml"
    settings.write_text(settings.read_text().partition("serve:")[0])
    message = r"HubSpot signs the address it calls, so it must be known\n  hint: set serve"
    with pytest.raises(ProgramError, match=message):
        create_app(Runtime(Workspace.at(home)))


def test_keys_of_another_ledger_are_refused(runtime: Runtime) -> None:
    runtime.ledger.vault(runtime.keys)
    runtime.workspace.keys.unlink()
    Keyring.create(runtime.workspace.keys)
    with pytest.raises(KeyFileError, match="does not hold the"):
        create_app(Runtime(runtime.workspace))
