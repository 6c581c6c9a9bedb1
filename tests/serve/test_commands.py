"""`personalization inbox …`: what came, what was not understood, and nothing personal unless it is asked for."""

from __future__ import annotations

import json

import pytest

from personalization.cli import app
from personalization.errors import PersonalizationError
from personalization.runtime import Runtime
from tests.serve.server import Served
from tests.serve.test_receiver import BODY, post, signed


def test_inbox_commands(
    runtime: Runtime, served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PERSONALIZATION_HOME", raising=False)
    email = b'{"type": "order", "email": "ann@example.com", "n": 1}'
    post(served, email)
    post(served, BODY, signed(BODY))
    post(served, b"broken", signed(b"broken", "msg_2"))

    def run(*arguments: str) -> str:
        try:
            app(["--home", str(runtime.workspace.root), "inbox", *arguments], standalone_mode=False)
        except PersonalizationError as error:
            return str(error)
        return capsys.readouterr().out

    status = json.loads(run("status", "--json"))
    assert status["last"] == 2
    assert [(row["source"], row["events"], row["conflicts"], row["dead"]) for row in status["sources"]] == [
        ("hooks", 2, 1, 1)
    ]
    (letter,) = json.loads(run("dead", "--json"))
    assert (letter["row"], letter["why"]) == (2, "not JSON: expecting value at character 0")
    shown = json.loads(run("show", "1", "--json"))
    assert shown["body"] == {"type": "order", "email": "(a text of 15)", "n": "(a number)"}
    assert json.loads(run("show", "1", "--reveal", "--json"))["body"]["email"] == "ann@example.com"
    assert "broken" not in run("show", "2")
    assert "body: broken" in run("show", "2", "--reveal")
    assert "2 hooks: still not understood: not JSON" in run("replay")
    assert "inbox row 1 is not a dead letter" in run("replay", "1")
    assert "the inbox has no row 9" in run("show", "9")
