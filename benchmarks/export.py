"""Exports of new contacts to each platform: to its sandbox, which runs in a process of its own on the same machine.

Three figures: contacts a second by the clock, where sandbox and exporter share the cores, with planning and without it
(from the opened run to its closed books); and contacts for each second of the exporter's own processor time, planning
included, which is the most that one core could send to a platform that takes no time at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter, process_time
from zoneinfo import ZoneInfo

import pyarrow as pa
import requests
from sqlalchemy import select

from benchmarks.workspaces import DAY, FIELDS, fill_consent, fill_warehouse, make_workspace
from personalization.ledger import VaultItem
from personalization.ledger.export_schema import export_runs
from personalization.runtime import Runtime
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.exporter import export_destination

SETTINGS = {
    "csv": "",
    "mailchimp": "base_url: ${env:BENCH_URL}\napi_key: ${env:BENCH_KEY}\nlist_id: demo000001",
    "hubspot": (
        "base_url: ${env:BENCH_URL}\naccess_token: ${env:BENCH_KEY}\nsubscription_ids: [1001]\n"
        "requests_per_10_seconds: 190"
    ),
    "salesforce": (
        "base_url: ${env:BENCH_URL}\nsubdomain: bench\nclient_id: bench\nclient_secret: ${env:BENCH_KEY}\n"
        "data_extension: personalization\ncategory_id: 1"
    ),
    "listmonk": "base_url: ${env:BENCH_URL}\napi_user: sandbox\napi_token: ${env:BENCH_KEY}\nlist: demo000001",
    "activecampaign": (
        "base_url: ${env:BENCH_URL}\napi_token: ${env:BENCH_KEY}\nlist_id: 1\nrequests_per_second: 100000"
    ),
}


@dataclass(frozen=True)
class Exported:
    """Of one platform: contacts a second, in all and of the run alone, and for each CPU second of ours; requests."""

    per_second: float
    per_second_of_run: float
    per_cpu_second: float
    requests_per_second: float
    limit: str


def bench_export(contacts: int, platforms: tuple[str, ...] = tuple(SETTINGS)) -> list[tuple[str, Exported]]:
    """New contacts to each platform. Every contact must be acknowledged."""
    return [(platform, _export(platform, contacts)) for platform in platforms]


def _export(platform: str, contacts: int) -> Exported:
    with tempfile.TemporaryDirectory() as folder, _platform(platform) as limit:
        settings = f"platform: {platform}\nmails: true\n{SETTINGS[platform]}"
        runtime = make_workspace(Path(folder) / "work", settings, FIELDS.lower() if platform == "hubspot" else FIELDS)
        _people(runtime, contacts)
        day = runtime.as_of(DAY)
        begun, cpu = perf_counter(), process_time()
        books = export_destination(runtime, "there", day).books
        wall, cpu = perf_counter() - begun, process_time() - cpu
        made = runtime.ledger.traffic.requests("there", datetime.now(ZoneInfo("America/New_York")).date())[0]
        with runtime.ledger.read() as connection:
            begins = select(export_runs.c.started_at, export_runs.c.finished_at).where(export_runs.c.run == books.run)
            started, finished = tuple[datetime, datetime](connection.execute(begins).one())
        runtime.ledger.close()
        if books.acked != contacts:
            raise RuntimeError(f"{platform}: {books.equation}")
    run = (finished - started).total_seconds()
    return Exported(contacts / wall, contacts / run, contacts / cpu, made / wall, limit)


@dataclass(frozen=True)
class Kept:
    """A limit that was on: requests a second that are allowed and that arrived, and how many were too many."""

    allowed: float
    reached: float
    refused: int


def bench_limit(changes: int, per_second: int = 5) -> Kept:
    """Changes at ActiveCampaign that take two requests each, while it allows its five a second. Mostly waiting."""
    settings = SETTINGS["activecampaign"].replace("requests_per_second: 100000", f"requests_per_second: {per_second}")
    with tempfile.TemporaryDirectory() as folder, _platform("activecampaign") as _:
        runtime = make_workspace(Path(folder) / "work", f"platform: activecampaign\nmails: false\n{settings}")
        _people(runtime, changes)
        day = runtime.as_of(DAY)
        export_destination(runtime, "there", day)
        with runtime.warehouse.connect() as session:
            session.execute("update decisions.decisions set purchase_score = null")
        server = os.environ["BENCH_URL"]
        limits = {"per_second": per_second, "imports_per_minute": 100}
        requests.put(f"{server}/_sandbox/limits", json=limits, timeout=10).raise_for_status()
        requests.delete(f"{server}/_sandbox/requests", timeout=10)
        books = export_destination(runtime, "there", day).books
        log = requests.get(f"{server}/_sandbox/requests", timeout=60).json()["requests"]
        runtime.ledger.close()
    if books.acked != changes:
        raise RuntimeError(books.equation)
    taken = [entry for entry in log if entry["status"] != 429]
    reached = (len(taken) - 1) / (taken[-1]["at"] - taken[0]["at"])
    return Kept(per_second, reached, len(log) - len(taken))


def _people(runtime: Runtime, contacts: int) -> None:
    keys = runtime.keys
    addresses = [f"u{number}@example.com" for number in range(contacts)]
    customers = keys.tokens("customer", [str(number) for number in range(contacts)])
    emails = keys.tokens("email", addresses)
    runtime.ledger.vault(keys).put(
        VaultItem(customer, "email", email, address)
        for customer, email, address in zip(customers, emails, addresses, strict=True)
    )
    fill_consent(runtime, customers, [])
    people = pa.table({"customer_token": customers, "address_token": emails, "number": list(range(contacts))})
    with runtime.warehouse.connect() as session:
        fill_warehouse(session, people)


@contextmanager
def _platform(platform: str) -> Iterator[str]:
    """The sandbox, where the settings of the benchmark find it; says which limit it keeps."""
    if platform == "csv":
        yield "none"
        return
    with run_sandbox(platform, batch_seconds=0.01) as sandbox:
        os.environ["BENCH_URL"] = sandbox.base_url if platform in ("mailchimp", "hubspot") else sandbox.url
        os.environ["BENCH_KEY"] = sandbox.api_key
        yield _LIFT.get(platform, lambda _: "none")(sandbox)


def _lift_activecampaign(sandbox: Sandbox) -> str:
    limits = {"per_second": 1_000_000, "imports_per_minute": 1_000_000}
    requests.put(f"{sandbox.url}/_sandbox/limits", json=limits, timeout=10).raise_for_status()
    return "none"


_LIFT: dict[str, Callable[[Sandbox], str]] = {
    "activecampaign": _lift_activecampaign,
    "hubspot": lambda _: "19 requests a second, three for 100 contacts",
    "mailchimp": lambda _: "10 requests at once",
}
