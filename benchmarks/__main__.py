"""Runs all benchmarks and prints seconds and ratios. RESULTS.md keeps the numbers of past runs.

`python -m benchmarks segments --customers 2000000 --folder DIR` measures the segments alone, at any size, and
`python -m benchmarks single-events` rules about hours, sequences and latest values.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.cut import bench_cut
from benchmarks.export import Exported, Kept, bench_export, bench_limit
from benchmarks.inbox import bench_inbox
from benchmarks.plan import Planned, bench_plan
from benchmarks.segments import Cost, bench_segments
from benchmarks.single_events import bench_single_events
from benchmarks.webhooks import Rate, bench_webhooks

CUSTOMERS = 100_000
RECIPIENTS = 1_000_000
EVENTS = 100_000
PLANNED = 2_000_000
EXPORTED = 20_000
LIMITED = 300


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures us beside hand-written SQL.")
    parts = parser.add_subparsers(dest="part")
    for name, what in (("segments", "the segments"), ("single-events", "rules about single events")):
        part = parts.add_parser(name, help=f"only {what}, at any size")
        part.add_argument("--customers", type=int, default=CUSTOMERS, help="each has 40 events")
        part.add_argument("--folder", type=Path, help="keep the generated data here; default: a temporary folder")
        part.add_argument("--runs", type=int, default=3, help="of which the median is shown")
    given = parser.parse_args()
    out = Console()
    if given.part == "segments":
        _show_costs(out, given.customers, bench_segments(given.customers, given.folder, given.runs))
        return
    if given.part == "single-events":
        _show_single_events(out, given.customers, bench_single_events(given.customers, given.folder, given.runs))
        return
    _show_costs(out, CUSTOMERS, bench_segments(CUSTOMERS))
    _show_single_events(out, CUSTOMERS, bench_single_events(CUSTOMERS))
    _show(out, f"The cut for {RECIPIENTS:,} recipients", bench_cut(RECIPIENTS))
    _show_rates(out, "Signed webhooks, kept durably before the answer; 64 connections, a core each", bench_webhooks())
    _show(out, f"Applying {EVENTS:,} webhook events, two order lines each", bench_inbox(EVENTS))
    _show_plans(out, f"Planning an export of {PLANNED:,} contacts, 1 % changed", bench_plan(PLANNED))
    _show_exports(out, f"Exporting {EXPORTED:,} new contacts to sandboxes on this machine", bench_export(EXPORTED))
    _show_limit(out, f"Changing {LIMITED} contacts at ActiveCampaign, its limit on", bench_limit(LIMITED))
    _show(out, "Loading the code location (whole process)", _location())


def _location() -> list[tuple[str, float]]:
    def seconds(code: str) -> float:
        start = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - start

    seconds("import personalization.definitions")  # compile byte code
    return [
        ("import dagster, dagster_dbt", seconds("import dagster, dagster_dbt")),
        ("our definitions", seconds("import personalization.definitions as d; d.defs()")),
    ]


def _show(out: Console, title: str, rows: list[tuple[str, float]]) -> None:
    table = Table("", "seconds", "ratio to the first", title=title, title_justify="left")
    for name, seconds in rows:
        table.add_row(name, f"{seconds:.2f}", f"{seconds / rows[0][1]:.2f}")
    out.print(table)


def _show_costs(out: Console, customers: int, rows: list[Cost]) -> None:
    title = f"100 segments, 60 behaviours, {customers:,} customers, {customers * 40:,} events"
    table = Table("", "seconds", "CPU seconds", "ratio of these", "peak MB", title=title, title_justify="left")
    for row in rows:
        numbers = (f"{row.seconds:.2f}", f"{row.cpu:.2f}", f"{row.cpu / rows[0].cpu:.2f}", f"{row.peak_mb:,.0f}")
        table.add_row(row.way, *numbers)
    out.print(table)


def _show_single_events(out: Console, customers: int, rows: list[tuple[str, float, float]]) -> None:
    title = f"Rules about single events, {customers:,} customers, {customers * 40:,} events; CPU seconds"
    table = Table("", "by hand", "ours", "ratio", title=title, title_justify="left")
    for name, hand, our in rows:
        table.add_row(name, f"{hand:.2f}", f"{our:.2f}", f"{our / hand:.2f}")
    out.print(table)


def _show_rates(out: Console, title: str, rows: list[tuple[str, Rate]]) -> None:
    table = Table(
        "", "posts a second", "p50", "p99", "a CPU second", "ratio to the first", title=title, title_justify="left"
    )
    for name, rate in rows:
        ratio = rate.per_cpu_second / rows[0][1].per_cpu_second
        p50, p99 = (f"{wait * 1000:.0f} ms" for wait in (rate.p50, rate.p99))
        table.add_row(name, f"{rate.per_second:,.0f}", p50, p99, f"{rate.per_cpu_second:,.0f}", f"{ratio:.2f}")
    out.print(table)


def _show_plans(out: Console, title: str, rows: list[tuple[str, Planned]]) -> None:
    table = Table("", "seconds", "CPU seconds", "peak MB", "rows", "ratio (CPU)", title=title, title_justify="left")
    for name, took in rows:
        ratio = took.cpu / rows[0][1].cpu
        table.add_row(
            name, f"{took.wall:.1f}", f"{took.cpu:.1f}", f"{took.megabytes:,.0f}", f"{took.rows:,}", f"{ratio:.2f}"
        )
    out.print(table)


def _show_exports(out: Console, title: str, rows: list[tuple[str, Exported]]) -> None:
    columns = ("", "contacts a second", "without planning", "a CPU second", "requests a second", "limit")
    table = Table(*columns, title=title, title_justify="left")
    for name, rate in rows:
        rates = (rate.per_second, rate.per_second_of_run, rate.per_cpu_second)
        requests = f"{rate.requests_per_second:,.1f}"
        table.add_row(name, *(f"{each:,.0f}" for each in rates), requests, rate.limit)
    out.print(table)


def _show_limit(out: Console, title: str, kept: Kept) -> None:
    table = Table("requests a second allowed", "reached", "share", "refused", title=title, title_justify="left")
    table.add_row(f"{kept.allowed:.2f}", f"{kept.reached:.2f}", f"{kept.reached / kept.allowed:.1%}", str(kept.refused))
    out.print(table)


if __name__ == "__main__":
    main()
