"""Sources that are REST APIs: pages of JSON, with bounded retries, taken apart inside DuckDB."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import duckdb
import numpy as np
import pyarrow as pa
import requests

from personalization.errors import SourceError
from personalization.program import resolve_secret
from personalization.program.models import Pagination, RestSource
from personalization.stages.sync.batches import Batch, Rejected
from personalization.stages.sync.cursor import Cursor
from personalization.stages.sync.json_records import JsonRecords
from personalization.stages.sync.tables import SyncTable

TIMEOUT_SECONDS = (10, 60)
MAX_ATTEMPTS = 6
MAX_WAIT_SECONDS = 60.0
MAX_PAGES = 1_000_000

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass
class Client:
    """A session that tries again where it may help: 429 after the time the server asks for, 5xx and lost connections
    after a growing, jittered pause. Gives up after `attempts`, or when asked to wait longer than `max_wait` seconds.
    """

    session: requests.Session = field(default_factory=requests.Session)
    attempts: int = MAX_ATTEMPTS
    max_wait: float = MAX_WAIT_SECONDS
    sleep: Callable[[float], None] = time.sleep

    def get(self, url: str, params: dict[str, Any] | None) -> requests.Response:
        """A successful answer.

        Raises
        ------
        SourceError
            With the last status or the reason, never with the query or a header: they may hold secrets.
        """
        shown = url.split("?")[0]
        for attempt in range(1, self.attempts + 1):
            wait = min(self.max_wait, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            try:
                answer = self.session.get(url, params=params, timeout=TIMEOUT_SECONDS)
            except (requests.ConnectionError, requests.Timeout) as error:
                problem = f"gave no answer ({type(error).__name__})"
            else:
                if answer.ok:
                    return answer
                problem = f"answered {answer.status_code} {answer.reason}"
                if answer.status_code not in _RETRIED:
                    raise SourceError(f"{shown} {problem}", hint=_HINTS.get(answer.status_code))
                asked = retry_after(answer.headers.get("Retry-After"))
                wait = wait if asked is None else asked
            if wait > self.max_wait:
                raise SourceError(f"{shown} {problem} and asks to wait {wait:.0f} s", hint="run again later")
            if attempt < self.attempts:
                self.sleep(wait)
        raise SourceError(
            f"{shown} {problem} in each of {self.attempts} attempts",
            hint="nothing of this source was loaded; the next run starts again from the last complete load",
        )


_HINTS = {
    401: "check bearer_token",
    403: "check bearer_token and its rights",
    404: "check base_url and endpoint",
}


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or the time until an HTTP date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def read_rest(
    table: SyncTable, cursor: Cursor | None, columns: list[str], *, client: Client | None = None
) -> Iterator[Batch]:
    """The records of an endpoint, one batch a page; with a cursor and `since_param` only those since its last value.

    `rows` count through all pages. The names of all values seen are appended to `columns` at the end.

    Raises
    ------
    SourceError
        The API can't be reached, answers something else than pages of records, or lacks a mapped value.
    """
    settings = table.settings
    assert isinstance(settings, RestSource)
    at = table.position("endpoint")
    client = client or Client()
    if settings.bearer_token:
        token = resolve_secret(
            settings.bearer_token, at=table.program.position("sources", ("sources", table.source, "bearer_token"))
        )
        client.session.headers["Authorization"] = f"Bearer {token}"
    records = JsonRecords(table.wanted)
    endpoint = str(table.spec.endpoint)
    row = 1
    try:
        for page in _pages(client, table, settings, cursor):
            rows = np.arange(row, row + len(page))
            problems = records.problems_of(page)
            good = np.ones(len(page), dtype=bool)
            good[list(problems)] = False
            rejected = tuple(Rejected(int(rows[index]), problems[index]) for index in sorted(problems))
            data = records.columns_of(page.filter(pa.array(good)))
            yield Batch(data, pa.array(rows[good], pa.int64()), endpoint.lstrip("/"), rejected)
            row += len(page)
    except SourceError as error:
        raise SourceError(error.message, at=error.at or at, hint=error.hint) from error
    columns.extend(records.columns)
    for column in table.wanted:
        if row > 1 and column not in records.seen:
            table.raise_missing(column, records.columns, endpoint)


def _pages(client: Client, table: SyncTable, settings: RestSource, cursor: Cursor | None) -> Iterator[pa.Array]:
    """The records of each page as JSON texts."""
    url: str = urljoin(settings.base_url.rstrip("/") + "/", str(table.spec.endpoint).lstrip("/"))
    first: dict[str, Any] = dict(table.spec.params)
    paging = settings.pagination
    if cursor and cursor.raw and settings.since_param:
        first[settings.since_param] = cursor.raw
    if paging and paging.size_param:
        first[paging.size_param] = paging.size
    if paging and paging.kind == "page":
        first[paging.page_param] = 1
    params: dict[str, Any] | None = first
    for _ in range(MAX_PAGES):
        answer = client.get(url, params)
        records = _records_of(answer.content, table.spec.records, url)
        yield records
        following = _following(paging, answer, url, params, len(records)) if paging else None
        if following is None:
            return
        if following == (url, params):
            raise SourceError(f"{url.split('?')[0]} names the same page as its next one", hint="check pagination")
        url, params = following
    raise SourceError(f"{url.split('?')[0]} has more than {MAX_PAGES} pages", hint="check pagination")


def _following(
    paging: Pagination, answer: requests.Response, url: str, params: dict[str, Any] | None, size: int
) -> tuple[str, dict[str, Any] | None] | None:
    """Where the next page is; None after the last."""
    if paging.kind == "link":
        link = answer.links.get("next", {}).get("url")
        return (_same_host(url, urljoin(url, link)), None) if link else None
    if paging.kind == "cursor":
        token = _text_at(answer.content, paging.cursor_path)
        return (url, {**(params or {}), paging.cursor_param: token}) if token else None
    if not size:
        return None
    return url, {**(params or {}), paging.page_param: (params or {})[paging.page_param] + 1}


def _same_host(url: str, following: str) -> str:
    """The next page's address, if it is at the same place: the bearer token must not travel elsewhere."""
    here, there = urlsplit(url), urlsplit(following)
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise SourceError(f"{url.split('?')[0]} names a next page on another host, {there.scheme}://{there.netloc}")
    return following


def _records_of(content: bytes, path: str | None, url: str) -> pa.Array:
    shown = url.split("?")[0]
    document = pa.array([_decoded(content, shown)], pa.large_string())
    with duckdb.connect() as engine:
        engine.register("page", pa.table({"body": document}))
        inside = _json_path(path)
        valid, kind = engine.execute(
            "select json_valid(body), case when json_valid(body) then json_type(body, ?) end from page", [inside]
        ).fetchall()[0]
        if not valid:
            raise SourceError(f"{shown} answered something else than JSON")
        if kind != "ARRAY":
            where = f"at '{path}'" if path else "at its top"
            found = f"found {kind.lower()}" if kind else "found nothing"
            raise SourceError(f"{shown}: expected a list of records {where}, {found}", hint="set records: to its path")
        records = engine.sql("select unnest(json_extract(body, $path)) as r from page", params={"path": f"{inside}[*]"})
        return records.to_arrow_table()["r"].cast(pa.string()).combine_chunks()


def _text_at(content: bytes, path: str) -> str | None:
    with duckdb.connect() as engine:
        document = pa.table({"body": pa.array([content.decode("utf-8")])})
        engine.register("page", document)
        value = engine.execute("select json_extract_string(body, ?) from page", [_json_path(path)]).fetchall()[0][0]
    return value or None


def _decoded(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{shown} answered something else than UTF-8 text") from None


def _json_path(path: str | None) -> str:
    if not path:
        return "$"
    return path if path.startswith("$") else f"$.{path}"
