"""No adapter has a way to subscribe somebody who is known to the platform already (invariant: out never becomes in).

A status that looks like a subscription is allowed where it can only count for people the platform never saw: what
makes it so is checked here too.
"""

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


ALLOWED = {"'unsubscribed'", "'UNSUBSCRIBED'"}
HARMLESS = {
    # POST answers 409 for whoever is there; an empty status writes none; an import overwrites no subscription
    "listmonk_shapes.py": {"'enabled'", "''", "destination.new_contacts"},
    # 2 is unsubscribed; the others are filters of GETs
    "activecampaign_calls.py": {"2", "-1", "status"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_only_status_written_is_opted_out(path: Path) -> None:
    written = set(statuses_written(path.read_text(encoding="utf-8")))
    assert written <= ALLOWED | HARMLESS.get(path.name, set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_imports_never_overwrite_a_subscription(path: Path) -> None:
    """listmonk: `overwrite` stands for both of the other two."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            values = {key: ast.unparse(value) for key, value in zip(keys, node.values, strict=False)}
            assert "overwrite" not in values
            if "subscription_status" in values:
                assert values["overwrite_subscription_status"] == "False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_list_statuses_are_only_ever_unsubscribed(path: Path) -> None:
    """ActiveCampaign: a status 1 at `/contactLists` subscribes again who unsubscribed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "contactList":
                    assert statuses_written(ast.unparse(value)) == ["2"]


def test_the_search_finds_what_it_looks_for() -> None:
    assert statuses_written("body = {'status': 'subscribed'}") == ["'subscribed'"]
