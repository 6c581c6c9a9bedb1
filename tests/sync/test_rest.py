"""REST APIs, against a real server: paging, incremental loads, retries, and failures halfway."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from personalization.errors import ProgramError, SourceError
from personalization.stages.sync.rest import Client, retry_after
from tests.sync.api import TOKEN, Api, run_api
from tests.sync.shop import ORDERS, Shop

TABLE = "order_lines__api_orders"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    with run_api() as server:
        server.records = [order(number, day) for number, day in enumerate(("01", "02", "03", "04", "05"), 1)]
        yield server


def order(number: int, day: str) -> dict[str, Any]:
    return {
        "order": number,
        "product": 10,
        "customer": f"c{number}",
        "quantity": 1,
        "amount": 2.5,
        "ordered": f"2017-01-{day}T00:00:00Z",
    }


def use(shop: Shop, api: Api, kind: str, **settings: Any) -> None:
    paging = {
        "page": {"kind": "page", "size_param": "size", "size": 2},
        "cursor": {"kind": "cursor", "size_param": "size", "size": 2, "cursor_path": "result.next"},
        "link": {"kind": "link"},
    }[kind]
    records = {"page": "data", "cursor": "result.items"}.get(kind)
    table = {"entity": "order_lines", "endpoint": kind, "columns": ORDERS, "cursor": "ordered"}
    source = {
        "kind": "rest",
        "base_url": api.url,
        "bearer_token": "${env:API_TOKEN}",
        "since_param": "since",
        "pagination": paging,
        "tables": {"orders": table | ({"records": records} if records else {}) | settings},
    }
    shop.write_program({"api": source})


def loaded(shop: Shop) -> list[Any]:
    return [row[0] for row in shop.landing(TABLE, "order_id")]


@pytest.mark.parametrize(("kind", "requests"), [("page", 4), ("cursor", 3), ("link", 3)])
def test_all_pages_land(shop: Shop, api: Api, kind: str, requests: int) -> None:
    use(shop, api, kind)
    assert shop.sync().rows == 5
    assert shop.landing(TABLE, "order_id, amount, _source, _row") == [
        (str(n), "2.5", f"api/{kind}", n) for n in range(1, 6)
    ]
    assert len(api.requests) == requests


def test_the_next_load_asks_only_for_what_came_since_and_loses_no_tie(shop: Shop, api: Api) -> None:
    use(shop, api, "cursor")
    shop.sync()
    api.requests.clear()
    assert shop.sync().tables[0].unchanged
    assert api.requests[0]["since"] == "2017-01-05T00:00:00Z"
    api.records += [order(6, "05"), order(7, "06")]  # 6 has the time of the last row that was loaded
    assert shop.sync().rows == 2
    assert loaded(shop) == ["1", "2", "3", "4", "5", "6", "7"]


def test_429_is_tried_again_after_the_time_asked_for_and_500_after_a_pause(shop: Shop, api: Api) -> None:
    api.failures.extend([None, (429, {"Retry-After": "0"}), None, (500, {})])
    use(shop, api, "page")
    assert shop.sync().rows == 5
    assert len(api.requests) == 6


def test_a_source_that_fails_halfway_lands_nothing_and_the_next_run_heals_it(shop: Shop, api: Api) -> None:
    api.failures.extend([None, *[(500, {"Retry-After": "0"})] * 6])
    use(shop, api, "page")
    with pytest.raises(SourceError) as caught:
        shop.sync()
    text = str(caught.value)
    assert f"{api.url}/page answered 500 Internal Server Error in each of 6 attempts" in text
    assert text.startswith(str(shop.workspace.program / "sources.yaml"))
    assert "hint: nothing of this source was loaded; the next run starts again from the last complete load" in text
    assert loaded(shop) == []
    assert shop.sync().rows == 5


def test_pauses_grow_are_jittered_and_bounded(api: Api) -> None:
    slept: list[float] = []
    client = Client(sleep=slept.append, attempts=5, max_wait=6.0)
    client.session.headers["Authorization"] = f"Bearer {TOKEN}"
    api.failures.extend([(503, {})] * 5)
    with pytest.raises(SourceError, match=r"answered 503 Service Unavailable in each of 5 attempts"):
        client.get(f"{api.url}/link", None)
    assert len(slept) == 4
    for pause, most in zip(slept, (1, 2, 4, 6), strict=True):
        assert most / 2 <= pause <= most


def test_retry_after_is_kept_to_and_a_long_one_ends_the_run(api: Api) -> None:
    slept: list[float] = []
    client = Client(sleep=slept.append)
    client.session.headers["Authorization"] = f"Bearer {TOKEN}"
    api.failures.extend([(429, {"Retry-After": "7"}), (429, {"Retry-After": "3600"})])
    with pytest.raises(SourceError, match=r"answered 429 Too Many Requests and asks to wait 3600 s"):
        client.get(f"{api.url}/link", None)
    assert slept == [7.0]


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < (retry_after(format_datetime(soon, usegmt=True)) or 0) <= 30
    assert retry_after("Wed, 01 Jan 2020 00:00:00 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_a_refused_token_is_not_tried_again_and_not_shown(
    shop: Shop, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "secret-token")
    use(shop, api, "page")
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert "/page answered 401 Unauthorized\n  hint: check bearer_token" in str(caught.value)
    assert "secret-token" not in str(caught.value)
    assert len(api.requests) == 1


def test_a_token_that_is_not_set_is_named(shop: Shop, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_TOKEN")
    use(shop, api, "page")
    with pytest.raises(ProgramError, match="environment variable API_TOKEN is not set"):
        shop.sync()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<html>", "answered something else than JSON"),
        ('{"data": {}}', "expected a list of records at 'data', found object"),
        ('{"error": "x"}', "expected a list of records at 'data', found nothing\n  hint: set records: to its path"),
        ('{"data": [{"ordered": "2017-01-01"}]}', "has no column 'order'; it has: ordered"),
    ],
)
def test_answers_that_are_no_records(shop: Shop, api: Api, body: str, problem: str) -> None:
    api.body = body
    use(shop, api, "cursor", records="data")
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert problem in str(caught.value)


def test_a_record_that_is_no_object_is_set_aside(shop: Shop, api: Api) -> None:
    api.records.insert(2, 17)  # type: ignore[arg-type]
    use(shop, api, "link")
    result = shop.sync()
    assert (result.rows, result.rejected) == (6, 1)
    assert shop.landing(TABLE, "_row, _rejected")[2] == (3, "valid JSON, but not an object with named values")


def test_an_api_that_cannot_be_reached() -> None:
    slept: list[float] = []
    with pytest.raises(
        SourceError, match=r"http://127\.0\.0\.1:9/page gave no answer \(ConnectionError\) in each of 6"
    ):
        Client(sleep=slept.append).get("http://127.0.0.1:9/page", {"key": "secret"})
    assert len(slept) == 5
