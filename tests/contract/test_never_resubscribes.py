"""No adapter has a way to subscribe somebody who is known to the platform already (invariant: out never becomes in).

A status that looks like a subscription is allowed where it can only count for people the platform never saw: what
makes it so is checked here too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from personalization.stages.export import adapters

READERS = sorted(Path(adapters.__file__).parent.glob("*_results.py"))
"""What reads results. Statuses in them are filters, because nothing in them writes: see below."""
SOURCES = sorted(set(Path(adapters.__file__).parent.glob("*.py")) - set(READERS))


STATUSES = ("status", "statusState", "subscription_status", "email_subscription_status", "subscribed")


def statuses_written(source: str) -> list[str]:
    """What is written under a key like `status`, as source text: in a literal, by assignment, or as a keyword."""
    written = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            written += [value for key, value in zip(node.keys, node.values, strict=True) if _names(key, STATUSES)]
        elif isinstance(node, ast.Assign):
            targets = [target for target in node.targets if isinstance(target, ast.Subscript)]
            written += [node.value for target in targets if _names(target.slice, STATUSES)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("dict", "update", "setdefault"):
            written += [word.value for word in node.keywords if word.arg in STATUSES]
            if node.args and _names(node.args[0], STATUSES):
                written += node.args[1:]
    return [ast.unparse(value) for value in written]


def _names(node: ast.expr | None, words: tuple[str, ...]) -> bool:
    return isinstance(node, ast.Constant) and node.value in words


ALLOWED = {"'unsubscribed'", "'UNSUBSCRIBED'", "'cleaned'"}
HARMLESS = {
    # POST answers 409 for whoever is there; an empty status writes none; an import overwrites no subscription
    "listmonk_shapes.py": {"'enabled'", "''"},
    "listmonk_files.py": {"destination.new_contacts"},
    # 2 is unsubscribed; the others are filters of GETs
    "activecampaign_calls.py": {"'2'", "-1", "status"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_only_status_written_is_opted_out(path: Path) -> None:
    written = set(statuses_written(path.read_text(encoding="utf-8")))
    assert written <= ALLOWED | HARMLESS.get(path.name, set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_imports_never_overwrite_a_subscription(path: Path) -> None:
    """listmonk: `overwrite` sets the status of subscriptions too, of those lists that an import names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            values = {key: ast.unparse(value) for key, value in zip(keys, node.values, strict=False)}
            if "subscription_status" in values:
                assert values["overwrite_subscription_status"] == "False"
                assert values["overwrite"] == "False" or values["lists"] == "[]"
            else:
                assert "overwrite" not in values


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_list_statuses_are_only_ever_unsubscribed(path: Path) -> None:
    """ActiveCampaign: a status 1 at `/contactLists` subscribes again who unsubscribed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "contactList":
                    assert statuses_written(ast.unparse(value)) == ["'2'"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_call_to_an_endpoint_that_subscribes(path: Path) -> None:
    """Paths of requests, as far as they are written out: none that platforms use to take people back."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/"):
            words = node.value.lower().replace("unsubscribe", "").replace("subscribers", "")
            assert not any(word in words for word in ("subscribe", "unsuppress", "reactivate", "optin", "opt-in"))


@pytest.mark.parametrize(
    "source",
    [
        "body = {'status': 'subscribed'}",
        "body['status'] = 'subscribed'",
        "body = dict(status='subscribed')",
        "body.update(status='subscribed')",
        "body.setdefault('status', 'subscribed')",
        "body = {**other, 'statusState': 'subscribed'}",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert statuses_written(source) == ["'subscribed'"]


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_readers_of_results_write_nothing(path: Path) -> None:
    """Every request of theirs is a GET, or a retrieval by SOAP."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    requests = [node for node in calls if ast.unparse(node.func).endswith(".call")]
    assert {ast.unparse(node.args[0]) for node in requests} <= {"'GET'"}
    helpers = {ast.unparse(node.func) for node in calls if ast.unparse(node.func).startswith("self._s")}
    assert helpers <= READS | {name for name in helpers if name.count(".") == 1}


READS = {"self._server.expect", "self._server.http.call", "self._soap.rows", "self._soap.addresses"}
