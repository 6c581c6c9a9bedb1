"""What a run did, as Markdown for Dagster's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from personalization.stages.monitoring.attention import findings
from personalization.stages.monitoring.summary import Missing, RunSummary, known
from personalization.stages.monitoring.words import reason_in_words


def short_table(summary: RunSummary) -> str:
    """Findings, then one line a figure; parts that are missing say so."""
    lines = [f"- {finding.text}" for finding in findings(summary)]
    titles = {row.campaign: row.title for row in known(summary.decisions)}
    figures: list[tuple[str, str]] = []
    figures += [
        (f"rows of {e.entity}", f"{e.landed:,} landed, {e.valid:,} valid, {e.quarantined:,} quarantined")
        for e in known(summary.data)
    ]
    if not isinstance(summary.customers, Missing):
        figures.append(("customers", f"{summary.customers.people:,}"))
    figures += [
        (f"{'model' if row.chosen else 'baseline'} {row.model}, {row.split}", f"Brier {row.brier:.3f}")
        for row in known(summary.model)
        if row.chosen or row.baseline
    ]
    figures += [(f"segment “{row.title}”", f"{row.size:,}, {row.state}") for row in known(summary.segments)]
    figures += [
        (f"{row.title}: {reason_in_words(row.reason, titles)}", f"{row.customers:,}")
        for row in known(summary.decisions)
    ]
    figures += [(f"export to {run.destination}", run.books.equation) for run in known(summary.export)]
    figures += [("not known yet", table) for table in _missing(summary)]
    return "\n".join([*lines, "", *table(["", ""], figures)]).strip()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    body = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return [f"| {line} |" for line in (" | ".join(headings), " | ".join("---" for _ in headings), *body)]


def _missing(summary: RunSummary) -> Iterator[str]:
    seen = set()
    for part in vars(summary).values():
        if isinstance(part, Missing) and part.table not in seen:
            seen.add(part.table)
            yield f"{part.table} (stage {part.stage})"
