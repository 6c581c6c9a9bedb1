"""Runs all benchmarks and prints seconds and ratios. RESULTS.md keeps the numbers of past runs."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.cut import bench_cut
from benchmarks.inbox import bench_inbox
from benchmarks.segments import bench_segments
from benchmarks.webhooks import Rate, bench_webhooks

CUSTOMERS = 200_000
RECIPIENTS = 1_000_000
EVENTS = 100_000


def main() -> None:
    out = Console()
    _show(out, f"100 segments, {CUSTOMERS:,} customers, {CUSTOMERS * 20:,} customer-days", bench_segments(CUSTOMERS))
    _show(out, f"The cut for {RECIPIENTS:,} recipients", bench_cut(RECIPIENTS))
    _show_rates(out, "Signed webhooks, kept durably before the answer; 64 connections, a core each", bench_webhooks())
    _show(out, f"Applying {EVENTS:,} webhook events, two order lines each", bench_inbox(EVENTS))
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


def _show_rates(out: Console, title: str, rows: list[tuple[str, Rate]]) -> None:
    table = Table(
        "", "posts a second", "p50", "p99", "a CPU second", "ratio to the first", title=title, title_justify="left"
    )
    for name, rate in rows:
        ratio = rate.per_cpu_second / rows[0][1].per_cpu_second
        p50, p99 = (f"{wait * 1000:.0f} ms" for wait in (rate.p50, rate.p99))
        table.add_row(name, f"{rate.per_second:,.0f}", p50, p99, f"{rate.per_cpu_second:,.0f}", f"{ratio:.2f}")
    out.print(table)


if __name__ == "__main__":
    main()
