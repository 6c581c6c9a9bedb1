"""Schemathesis in three tiers: unsigned, freshly timed with fuzzed signatures, correctly signed. Invariants 2, 5."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from personalization.ledger import Ledger
from tests.serve.server import Served
from tests.serve.test_receiver import JSON, headers_of, path_of, signed
from tests.webhooks.signing import NOW, SIGNERS, Headers

SECONDS = str(int(NOW.timestamp()))
HEADERS = {name.lower() for signer in SIGNERS.values() for name, _ in signer.sign(b"", signer.secret, NOW)}
FRESH = {
    "webhook-timestamp": SECONDS,
    "x-hubspot-request-timestamp": SECONDS + "000",
    "klaviyo-timestamp": "Mon, 01 Jun 2026 12:00:00 GMT",
    "x-cio-timestamp": SECONDS,
    "stripe-signature": f"t={SECONDS},v1=" + "0" * 64,
    "x-mailchimp-signature": f"t={SECONDS},v1=" + "0" * 64,
}
SOURCES = ["hooks", "hubspot", "klaviyo", "customerio", "shopify", "stripe", "segment"]
EVENT_KEYS = (
    *("id", "type", "event", "timestamp", "data", "meta", "info", "metric", "object_type", "email", "payload"),
    *("topic", "external_id", "properties", "context", "userId", "messageId", "created", "occurredAt", "eventId"),
    *("propertyName", "propertyValue", "email_marketing_consent", "eventCategoryType", "lines", "customer", "purpose"),
)


def operation(headers: set[str], source: str | None = None) -> Any:
    """`POST /webhooks/{source}` as an API description: any JSON, and headers of any text."""
    event = {"type": "object", "properties": {name: {} for name in EVENT_KEYS}, "additionalProperties": True}
    body = {"anyOf": [event, {"type": "array", "items": event}, {}]}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "header", "schema": {"type": "string"}} for name in sorted(headers)
    ]
    names = [source] if source else [*SOURCES, "nobody"]
    parameters.append({"name": "source", "in": "path", "required": True, "schema": {"enum": names}})
    post = {
        "parameters": parameters,
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "kept"}},
    }
    described = {"openapi": "3.1.0", "info": {"title": "webhooks", "version": "1"}}
    schema = schemathesis.openapi.from_dict({**described, "paths": {"/webhooks/{source}": {"post": post}}})
    return schema["/webhooks/{source}"]["POST"]


def cases(headers: set[str], source: str | None = None) -> st.SearchStrategy[Any]:
    """Cases that fit the description and cases that break it."""
    described = operation(headers, source)
    return described.as_strategy() | described.as_strategy(GenerationMode.NEGATIVE)


def fuzz(examples: int) -> Any:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)


EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(1_500, marks=pytest.mark.slow)])


@EXAMPLES
def test_unsigned(served: Served, ledger: Ledger, examples: int) -> None:
    statuses: Counter[int] = Counter()

    @fuzz(examples)
    @given(case=cases(HEADERS))
    def run(case: Any) -> None:
        statuses[case.call(base_url=f"http://127.0.0.1:{served.port}", timeout=20).status_code] += 1

    run()
    assert set(statuses) <= {400, 401, 404, 405, 415}, statuses
    assert statuses[401] > examples / 5, "the fuzzer got as far as the signature"
    assert ledger.inbox.last_seq() == 0


@EXAMPLES
def test_freshly_timed_with_fuzzed_signatures(served: Served, ledger: Ledger, examples: int) -> None:
    statuses: Counter[int] = Counter()

    @fuzz(examples)
    @given(case=cases(HEADERS - set(FRESH)), keep=st.sets(st.sampled_from(sorted(FRESH)), min_size=4))
    def run(case: Any, keep: set[str]) -> None:
        fresh = {name: value for name, value in FRESH.items() if name in keep}
        answer = case.call(base_url=f"http://127.0.0.1:{served.port}", headers=fresh, timeout=20)
        statuses[answer.status_code] += 1

    run()
    assert set(statuses) <= {400, 401, 404, 405, 415}, statuses
    assert statuses[401] > examples / 5
    assert ledger.inbox.last_seq() == 0


@EXAMPLES
@pytest.mark.parametrize("sender", ["standard", "hubspot", "klaviyo", "customerio", "shopify", "stripe", "segment"])
def test_correctly_signed(served: Served, ledger: Ledger, sender: str, examples: int) -> None:
    """Whatever a sender signs is kept, understood or not; the answer is always 200."""
    signer, count = SIGNERS[sender], iter(range(10**9))
    source = "hooks" if sender == "standard" else sender

    @fuzz(examples if examples > 100 else 10)
    @given(case=cases(set(), source), raw=st.none() | st.binary(max_size=200))
    def run(case: Any, raw: bytes | None) -> None:
        body = raw if raw is not None else _body(case)
        headers: Headers = headers_of(signer, body)
        if sender == "standard":
            headers = [JSON, *signed(body, f"m{next(count)}")[1:]]
        answer = served.send("POST", path_of(signer), body, headers)
        assert answer.status == 200, answer
        assert answer.json["received"] >= 0

    run()
    assert ledger.inbox.last_seq() > 5
    ledger.verify()


def _body(case: Any) -> bytes:
    """The case's body as it would be sent."""
    prepared = case.as_transport_kwargs(base_url="http://127.0.0.1")
    request = requests.Request("POST", "http://127.0.0.1", data=prepared.get("data"), json=prepared.get("json"))
    body = request.prepare().body
    return body.encode() if isinstance(body, str) else body or b""
