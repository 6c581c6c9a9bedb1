"""Every request of ours, and every answer of the stand-ins, is as the platforms' own documents describe it.

The descriptions in `published/` are written by hand after those documents, each with its source: neither the adapters
nor the sandboxes are asked what is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from personalization.rules.native import Native
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.adapters.base import Batch
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.adapters.results import Window
from tests.contract.published import activecampaign, hubspot, mailchimp, salesforce
from tests.contract.published.shapes import ANY, NOTHING, WHOLE, Call, Exchange, misfits
from tests.export import hubspot_side, salesforce_side
from tests.export.activecampaign import SETTINGS as ACTIVECAMPAIGN
from tests.export.activecampaign import lift_limits
from tests.export.shop import Shop, address

NOW = datetime(2017, 12, 20, tzinfo=UTC)
BOTH = {
    "match": "all",
    "conditions": [{"condition_type": "TextMerge", "field": "OFFER", "op": "is", "value": "BACK15"}],
}
OR = {
    "filterBranchType": "OR",
    "filterBranchOperator": "OR",
    "filters": [],
    "filterBranches": [
        {
            "filterBranchType": "AND",
            "filterBranchOperator": "AND",
            "filterBranches": [],
            "filters": [
                {
                    "filterType": "PROPERTY",
                    "property": "offer",
                    "operation": {
                        "operationType": "MULTISTRING",
                        "operator": "IS_EQUAL_TO",
                        "includeObjectsWithNoValueSet": False,
                        "values": ["BACK15"],
                    },
                }
            ],
        }
    ],
}
# customers: enough for a batch, an import, a request for later; and the platform's own segment, where it has any
PLATFORMS: dict[str, tuple[ModuleType, int, str | None, Any]] = {
    "mailchimp": (mailchimp, 51, None, BOTH),
    "hubspot": (hubspot, 4, hubspot_side.SETTINGS + "lists: {december: December buyers}\n", OR),
    "activecampaign": (activecampaign, 12, ACTIVECAMPAIGN, None),
    "salesforce": (salesforce, 51, salesforce_side.SETTINGS + "account_id: '510001'\n", "[SCORE] > 0.03"),
}
VARIABLES = {
    "mailchimp": {"MAILCHIMP_BASE_URL": "base_url", "MAILCHIMP_API_KEY": "api_key"},
    "hubspot": {"HUBSPOT_BASE_URL": "base_url", "HUBSPOT_TOKEN": "api_key"},
    "activecampaign": {"ACTIVECAMPAIGN_URL": "url", "ACTIVECAMPAIGN_TOKEN": "api_key"},
    "salesforce": {"SALESFORCE_URL": "url", "SALESFORCE_CLIENT_SECRET": "api_key"},
}


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """What goes over the line from here on, but for what a test tells a sandbox."""
    found: list[Exchange] = []
    send = HTTPAdapter.send

    def noted(self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        answer = send(self, request, *args, **options)
        if not str(request.path_url).startswith(("/_sandbox", "/_results")):
            method, url = str(request.method), str(request.url)
            found.append(Exchange(method, url, request.body, answer.status_code, answer.content))
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", noted)
    return found


@pytest.fixture(params=PLATFORMS)
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Sandbox]]:
    with run_sandbox(request.param, batch_seconds=0.0) as sandbox:
        monkeypatch.setenv("SALESFORCE_CLIENT_ID", "personalization")
        for variable, name in VARIABLES[request.param].items():
            monkeypatch.setenv(variable, getattr(sandbox, name))
        if request.param == "activecampaign":
            lift_limits(sandbox)
        yield request.param, sandbox


def test_every_exchange_is_as_the_platform_documents_it(
    running: tuple[str, Sandbox], tmp_path: Path, exchanges: list[Exchange]
) -> None:
    name, sandbox = running
    published, customers, settings, content = PLATFORMS[name]
    shop = Shop.open(tmp_path / "shop", customers)
    if settings:
        shop.add_destination(name, settings)
    if name == "mailchimp":
        shop.edit("destinations", "platform: mailchimp", "platform: mailchimp\n    tags: {december: December}")
    use(shop, sandbox, name, content)
    base = sandbox.url + ("/3.0" if name == "mailchimp" else "")
    found = [one for exchange in exchanges for one in exchange.misfits(published.CALLS, base, published.ERROR)]
    assert found == []
    made = {(exchange.method, urlsplit(exchange.url.removeprefix(base)).path) for exchange in exchanges}
    unused = [call.request for call in published.CALLS if not any(call.is_of(*one) for one in made)]
    assert unused == [], "described, and not used by this test"


def use(shop: Shop, sandbox: Sandbox, name: str, content: Any) -> None:
    """All that an adapter does: setup, new, changed, left out, opted out, results, segments, audit, copy, erasure."""
    shop.export(name)
    shop.rows[1]["offer"] = "POINTS2"
    shop.rows[2]["outcome"] = "withheld"
    shop.decide()
    shop.withdraw(3)
    shop.export(name)
    adapter = adapter_for(shop.runtime.program, name, shop.runtime.workspace)
    rates = {"opened": 1.0, "clicked": 1.0, "hard": 0.3, "unsubscribed": 0.3, "complained": 0.3}
    sandbox.send_campaign("december", sent_at="2017-12-04T10:00:00+00:00", rates=rates)
    results = adapter.results()
    for kind in results.kinds:
        list(results.read(kind, {}, Window(NOW, NOW - timedelta(days=20), timedelta(hours=1))))
    if content is not None:
        adapter.segments().bring([Native("keen", "Keen", name, content)])
    adapter.reconcile(Batch(1, 1, "", "", [], 0.0))
    list(adapter.holdings())
    external = shop.runtime.keys.tokens(f"export:{name}", [shop.customer(0)])
    adapter.shown([address(0), "nobody@example.com"], external)
    adapter.erase([address(0)], external)


@pytest.mark.parametrize(
    ("value", "shape", "words"),
    [
        ({"a": 1}, {"a": int}, []),
        ({"a": True}, {"a": int}, ["at.a: True is no int"]),
        ({"a": 1, "b": 2}, {"a": int}, ["at.b is not documented"]),
        ({}, {"a": int, "b?": int}, ["at.a is missing"]),
        ([{"a": "x"}], [{"a": ("y", 1)}], ["at[].a: 'x' is not 'y'"]),
        ({"b": None}, {"*": (str, None)}, []),
        (NOTHING, WHOLE, ["at: no object"]),
        ({}, NOTHING, ["at: there is something, where nothing is taken"]),
        ("x", ANY, []),
    ],
)
def test_what_does_not_fit_is_found(value: Any, shape: Any, words: list[str]) -> None:
    assert list(misfits(value, shape, "at")) == words


def test_exchanges_that_are_not_documented_are_found() -> None:
    calls = [Call("POST /a/{id}", "page", body={"x": int}, query={"n": r"\d+"}, answers={200: {"y": str}})]

    def found(url: str, sent: str, status: int, received: bytes) -> list[str]:
        return Exchange("POST", f"http://h{url}", sent, status, received).misfits(calls, "http://h", {"error": str})

    assert found("/a/1?n=2", '{"x": 1}', 200, b'{"y": "z"}') == []
    assert found("/b", "", 200, b"") == ["POST /b: no such call is documented"]
    assert found("/a/1?m=2", '{"x": 1}', 200, b'{"y": "z"}') == ["POST /a/{id}: query m=2 (page)"]
    assert found("/a/1", '{"x": "1"}', 202, b"") == [
        "POST /a/{id}: request.x: '1' is no int (page)",
        "POST /a/{id}: the status 202 is not documented (page)",
    ]
    assert found("/a/1", '{"x": 1}', 400, b'{"error": 1}') == ["POST /a/{id}: answer.error: 1 is no str (page)"]
