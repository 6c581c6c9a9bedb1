"""What a run did, as short tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from personalization.stages.monitoring.attention import findings
from personalization.stages.monitoring.audit import KINDS
from personalization.stages.monitoring.summary import Missing, RunSummary, best_baseline, chosen_model, known
from personalization.stages.monitoring.words import reason_in_words

if TYPE_CHECKING:
    from personalization.ledger.export_books import Books
    from personalization.plan import RunPlan
    from personalization.stages.export.planner import Plan
    from personalization.stages.export.status import Status
    from personalization.stages.monitoring.repair import Repair
    from personalization.what_if.days_record import Record
    from personalization.what_if.decisions import Simulation

_PLANNED = {
    "retract": "opt out there",
    "remove": "clear our fields",
    "change": "update",
    "add": "create",
    "suppressed": "stop: no consent",
    "invalid": "leave: does not fit",
    "held": "hold for a later run",
}


def summary_renderables(summary: RunSummary) -> Iterator[RenderableType]:
    """The short table of a run: rows, customers, model, segments, decisions, export, and where the report is."""
    yield Text(f"\n{summary.program}, as of {summary.as_of.isoformat()}", style="bold")
    yield from _part("Data", summary.data, _data)
    yield from _people(summary)
    yield from _part("Segments", summary.segments, _segments)
    yield from _part("Decisions", summary.decisions, _decisions)
    yield from _part("Export", summary.export, _export)
    for finding in findings(summary):
        yield Text.assemble(("! ", "yellow bold"), finding.text)
    if Path(summary.report).exists():
        yield Text.assemble("\nReport: ", (summary.report, "bold"))
    else:
        yield Text("\nNo report has been written for this day yet.")


def plan_renderables(plan: RunPlan) -> Iterator[RenderableType]:
    """What a run would change, only what differs."""
    yield Text(f"\nA run as of {plan.as_of} would change", style="bold")
    segments = [change for change in plan.segments if change.enter or change.leave]
    if segments:
        table = new_table("Segments", ["segment"], ["now", "then", "enter", "leave"])
        for segment in segments:
            add_row(table, segment.segment, segment.before, segment.after, segment.enter, segment.leave)
        yield table
    else:
        yield Text("Segments: nothing")
    decisions = [change for change in plan.decisions if change.before != change.after]
    if decisions:
        table = new_table("Decisions", ["campaign", "outcome", "reason"], ["now", "then"])
        for change in decisions:
            add_row(table, change.campaign, change.outcome, reason_in_words(change.reason), change.before, change.after)
        yield table
    else:
        yield Text("Decisions: nothing")
    if plan.exports:
        names = list(dict.fromkeys(name for export in plan.exports for name in export.counts))
        table = new_table("Export", ["destination"], names)
        for export in plan.exports:
            add_row(table, export.destination, *(export.counts.get(name, 0) for name in names))
        yield table
        for export in plan.exports:
            if export.guard:
                yield Text.assemble(("! ", "yellow bold"), f"{export.destination}: {export.guard}")


def export_plan_renderables(plan: Plan) -> Iterator[RenderableType]:
    """One destination's plan: counts, samples by customer token, what the guard objects to, and the hash."""
    table = new_table(
        f"{plan.destination} ({plan.platform}), as of {plan.as_of.key}", ["would"], ["contacts"], ["such as"]
    )
    for name, count in plan.counts.items():
        add_row(table, _PLANNED[name], count, "\n".join(plan.samples[name][:3]))
    add_row(table, "leave unchanged", plan.unchanged, "")
    yield table
    if plan.guard:
        yield Text.assemble(("! ", "yellow bold"), f"the guard would stop it: {plan.guard}")
    yield Text.assemble(("Plan ", "dim"), plan.hash)


def books_renderables(runs: Sequence[Books]) -> Iterator[RenderableType]:
    """The books of export runs, one a line."""
    ends = ("planned", "acked", "rejected", "suppressed", "invalid", "uncertain", "held")
    shown = _filled(runs, ends, always=ends[:2])
    table = new_table("Export runs", ["run", "destination", "as of"], shown, ["state"])
    for books in runs:
        state = books.state if books.closes else "does not close"
        if books.problem:
            state += f": {books.problem}"
        add_row(table, str(books.run), books.destination, books.as_of, *(getattr(books, end) for end in shown), state)
    yield table
    if none := [end for end in ends if end not in shown]:
        yield Text(f"{', '.join(none)}: none", style="dim")


def status_renderables(destinations: Sequence[Status]) -> Iterator[RenderableType]:
    """How destinations stand, one a line."""
    names = {"present": "present", "removed": "removed", "retracted": "opted out", "uncertain": "uncertain"}
    names["refused"] = "refused"
    shown = _filled(destinations, tuple(names), always=("present", "retracted"))
    working = ["now"] if any(each.working for each in destinations) else []
    table = new_table("Destinations", ["destination", "platform", "last run"], [names[name] for name in shown], working)
    for each in destinations:
        last = f"{each.last.as_of}, {each.last.state}" if each.last else "never"
        now = [f"at work: {each.working}" if each.working else ""] if working else []
        add_row(table, each.destination, each.platform, last, *(getattr(each, name) for name in shown), *now)
    yield table
    if none := [names[name] for name in names if name not in shown]:
        yield Text(f"{', '.join(none)}: none", style="dim")
    for each in destinations:
        if each.circuit:
            yield Text(f"{each.destination}: {each.circuit}", style="yellow")
        if each.requests_this_year:
            today, year = each.requests_today, each.requests_this_year
            yield Text(f"{each.destination}: {today:,} requests today, {year:,} this year", style="dim")


def _filled(rows: Sequence[Any], names: Sequence[str], always: Sequence[str]) -> list[str]:
    """Columns of numbers worth the room of a terminal: those that are not 0 in every row."""
    return [name for name in names if name in always or any(getattr(row, name) for row in rows)]


def rejections_renderables(destination: str, rows: Sequence[dict[str, Any]]) -> Iterator[RenderableType]:
    """Contacts a destination refused, at most fifty of them."""
    if not rows:
        yield Text(f"{destination} has taken everything.")
        return
    table = new_table(f"Refused by {destination}", ["customer", "campaign"], ["tries"], ["again on", "reason"])
    for row in rows[:50]:
        add_row(table, row["customer_token"], row["campaign"] or "", row["tries"], row["due"], row["reason"])
    yield table
    if len(rows) > 50:
        yield Text(f"… and {len(rows) - 50:,} more: --csv FILE writes all of them", style="dim")


def simulation_renderables(found: Simulation) -> Iterator[RenderableType]:
    """What other settings would decide; rows that stay as they are are left out."""
    changed = [each for each in found.outcomes if each.now != each.then]
    if changed:
        table = new_table(f"Decisions as of {found.as_of}", ["campaign", "outcome", "reason"], ["now", "then"])
        for each in changed:
            add_row(table, each.campaign, each.outcome, reason_in_words(each.reason), each.now, each.then)
        yield table
    yield Text(
        f"\n{found.sends_now:,} mails now, {found.sends_then:,} then: {found.gained:,} people gained,"
        f" {found.lost:,} lost, {found.moved:,} with other content"
    )


def days_renderables(record: Record) -> Iterator[RenderableType]:
    """What many simulated days came to."""
    yield Text(f"\n{len(record.days)} simulated days from {record.start}", style="bold")
    table = new_table("Rules", ["rule"], ["times broken"])
    for rule, times in record.violations().items():
        add_row(table, rule, times)
    yield table
    lowest = min(record.days, key=lambda each: each.kept_share)
    yield Text(
        f"\n{len(record.sent):,} mails to {record.people:,} people; the governor kept at least {lowest.kept_share:.0%}"
        + (f" of the people ({lowest.day})" if lowest.kept_share < 1 else " all the time")
    )


def _part(title: str, part: Any, table_of: Any) -> Iterable[RenderableType]:
    if isinstance(part, Missing):
        return [Text.assemble((f"\n{title}: ", "bold"), (str(part), "dim"))]
    return [table_of(part)]


def _data(entities: Sequence[Any]) -> Table:
    table = new_table("Data", ["rows of"], ["landed", "valid", "quarantined", "superseded"], ["commonest reason"])
    for entity in entities:
        name = entity.entity.replace("_", " ")
        add_row(
            table,
            name,
            entity.landed,
            entity.valid,
            entity.quarantined,
            entity.superseded,
            entity.commonest_quarantine or "",
        )
    return table


def _people(summary: RunSummary) -> Iterator[RenderableType]:
    if isinstance(summary.customers, Missing):
        yield Text.assemble(("\nCustomers: ", "bold"), (str(summary.customers), "dim"))
        return
    scored = "none scored yet" if summary.customers.scored is None else f"{summary.customers.scored:,} scored"
    yield Text.assemble(("\nCustomers: ", "bold"), f"{summary.customers.people:,}, {scored}")
    chosen = chosen_model(known(summary.model))
    if chosen is None:
        yield Text.assemble(("Model: ", "bold"), (str(summary.model) if summary.model else "there is none yet", "dim"))
        return
    table = new_table("Model", ["model", "window"], ["ROC-AUC", "Brier"])
    for row in (chosen, best_baseline(known(summary.model), chosen)):
        if row is not None:
            name = row.model.replace("_", " ") + (" (naive)" if row.baseline else "")
            auc = "–" if row.roc_auc is None else f"{row.roc_auc:.3f}"
            table.add_row(name, f"{row.split}, from {row.cutoff.isoformat()}", auc, f"{row.brier:.3f}")
    yield table


def _segments(rows: Sequence[Any]) -> Table:
    table = new_table("Segments", ["segment"], ["size", "share", "held", "entered", "exited"], ["state"])
    for row in rows:
        state = Text(row.state, style="green" if row.state == "ok" else "yellow")
        add_row(table, row.title, row.size, f"{row.share:.1%}", row.held, row.entered, row.exited, state)
    return table


def _decisions(rows: Sequence[Any]) -> Table:
    titles = {row.campaign: row.title for row in rows}
    table = new_table("Decisions", ["campaign", "outcome", "reason"], ["customers"])
    previous = None
    for row in rows:
        name = row.title if row.campaign != previous else ""
        add_row(table, name, row.outcome, reason_in_words(row.reason, titles), row.customers)
        previous = row.campaign
    return table


def _export(runs: Sequence[Any]) -> Table:
    """A column a destination: eight outcomes side by side would not fit a terminal of 80 columns."""
    table = new_table("Export", [""], [run.destination for run in runs])
    for end in ("planned", "acked", "rejected", "suppressed", "invalid", "uncertain", "held", "unchanged"):
        add_row(table, end, *(getattr(run.books, end) for run in runs))
    closes = (Text("close", style="green") if run.books.closes else Text("open", style="red bold") for run in runs)
    add_row(table, "books", *closes)
    return table


_WHOLE = ("run", "destination", "platform", "as of", "last run")
"""Columns that stay readable only unbroken."""


def new_table(title: str, words: Sequence[str], numbers: Sequence[str], last: Sequence[str] = ()) -> Table:
    """An empty table with columns of words, of numbers, and of words again."""
    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False
    )
    for name in words:
        table.add_column(name, overflow="fold", no_wrap=name in _WHOLE)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in last:
        table.add_column(name, overflow="fold")
    return table


def add_row(table: Table, *cells: str | int | Text) -> None:
    """Add a row; numbers get their separators."""
    table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells))


def repair_renderables(found: Repair) -> Iterator[RenderableType]:
    """What an audit found at a destination, and what a repair would do."""
    audit = found.audit
    if audit.clean:
        yield Text(f"{audit.destination}: {audit.source:,} contacts, all as they should be", style="green")
        return
    title = f"{audit.destination}: {audit.source:,} acknowledged, {audit.found:,} found"
    table = new_table(title, ["audience"], [kind.replace("_", " ") for kind in KINDS])
    for audience, counts in audit.by_audience.items():
        add_row(table, audience or "none", *counts.values())
    yield table
    if audit.by_field:
        yield Text("other values: " + ", ".join(f"{name} {count:,}" for name, count in audit.by_field.items()))
    for kind, tokens in audit.samples.items():
        if tokens:
            yield Text(f"{KINDS[kind]}: {', '.join(tokens)}", style="dim")
    yield Text("a repair: " + ", ".join(f"{action} {count:,}" for action, count in found.counts.items()))
    yield Text(f"personalization export reconcile {audit.destination} --repair {found.hash} --by NAME --why REASON")
