"""Books of an export as tables for people: Dagster metadata and the command line. Contacts are counted, never named."""

from __future__ import annotations

from personalization.ledger.export_books import Books, ExportBooks
from personalization.stages.export.planner import Plan

_ENDS = ("acked", "rejected", "suppressed", "invalid", "uncertain", "held")
_SAMPLES = 20


def books_table(books: Books) -> str:
    """The books of a run as a Markdown table, with the line that must add up."""
    cells = [books.planned, *(getattr(books, end) for end in _ENDS), books.unchanged, books.present]
    return "\n".join(
        [
            "| planned | " + " | ".join(_ENDS) + " | unchanged | at the destination |",
            "|---:" * len(cells) + "|",
            "| " + " | ".join(f"{cell:,}" for cell in cells) + " |",
            "",
            ("The books close: " if books.closes else "**The books do not close**: ") + books.equation,
        ]
    )


def reasons_table(ledger_books: ExportBooks, run: int) -> str:
    """Why rows of a run were not acked, in the platform's own words, with how many each."""
    reasons = ledger_books.reasons(run)
    if not reasons:
        return "Every planned contact was acknowledged."
    lines = ["| contacts | state | reason |", "|---:|---|---|"]
    lines += [f"| {rows:,} | {state} | {_cell(reason)} |" for state, reason, rows in reasons[:_SAMPLES]]
    if len(reasons) > _SAMPLES:
        lines.append(f"| … | | {len(reasons) - _SAMPLES} more reasons |")
    return "\n".join(lines)


def samples_table(plan: Plan) -> str:
    """A few customers of each operation of a plan, by token."""
    lines = ["| operation | contacts | some of them |", "|---|---:|---|"]
    for operation, samples in plan.samples.items():
        shown = "<br>".join(f"`{_cell(sample)}`" for sample in samples)
        lines.append(f"| {operation} | {plan.counts[operation]:,} | {shown} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
