"""No adapter has a way to subscribe somebody who is known to the platform already (invariant: out never becomes in)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from personalization.stages.export import adapters

SOURCES = sorted(Path(adapters.__file__).parent.glob("*.py"))


def statuses_written(source: str) -> list[str]:
    """What stands behind a key `status` in any dict literal, as source text."""
    return [
        ast.unparse(value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value in ("status", "statusState", "subscription_status")
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_only_status_written_is_opted_out(path: Path) -> None:
    assert set(statuses_written(path.read_text(encoding="utf-8"))) <= {"'unsubscribed'", "'UNSUBSCRIBED'"}


def test_the_search_finds_what_it_looks_for() -> None:
    assert statuses_written("body = {'status': 'subscribed'}") == ["'subscribed'"]
