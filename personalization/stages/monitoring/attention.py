"""What a person should look at after a run: one line a finding, each with the page of the report that shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from personalization.stages.monitoring.summary import (
    EntityRows,
    Missing,
    ModelQuality,
    RunSummary,
    best_baseline,
    known,
)
from personalization.stages.monitoring.words import counted, listing

QUARANTINE_LIMIT = 0.01


@dataclass(frozen=True)
class Finding:
    """`page` is a file of the report, `link` the words that lead there."""

    text: str
    page: str
    link: str


def findings(summary: RunSummary, failed_checks: Sequence[str] = ()) -> list[Finding]:
    """Everything that is not as it should be; an empty list means that nothing needs attention.

    Parameters
    ----------
    failed_checks : sequence of str
        Names of asset checks that failed in the run.
    """
    return [
        *_checks(failed_checks),
        *_books(summary),
        *_data(known(summary.data)),
        *_model(known(summary.model)),
        *_segments(summary),
        *_governor(summary),
        *_experiments(summary),
        *_missing(summary),
    ]


def _checks(failed: Sequence[str]) -> Iterator[Finding]:
    if failed:
        yield Finding(
            f"{counted(len(failed), 'check')} failed: {listing(sorted(failed))}.", "data.html", "Look at the data"
        )


def _books(summary: RunSummary) -> Iterator[Finding]:
    for run in known(summary.export):
        books = run.books
        if not books.closes:
            yield Finding(
                f"The books of {run.destination} are open: {books.planned:,} planned, {books.ended:,} ended.",
                "export.html",
                "See the books",
            )
        elif books.state != "closed":
            problem = f": {books.problem}" if books.problem else "."
            yield Finding(f"The export to {run.destination} did not finish{problem}", "export.html", "See the books")
        for number, what in (
            (books.rejected, "rejected by the platform"),
            (books.uncertain, "uncertain: nobody knows yet whether they arrived"),
            (books.held, "held for a later run"),
            (books.invalid, "invalid: they do not fit the destination"),
        ):
            if number:
                yield Finding(f"{counted(number, 'contact')} of {run.destination}: {what}.", "export.html", "See why")


def _data(entities: list[EntityRows]) -> Iterator[Finding]:
    for entity in entities:
        name = entity.entity.replace("_", " ")
        if entity.quarantined_share > QUARANTINE_LIMIT:
            reason = f", most often “{entity.commonest_quarantine}”" if entity.commonest_quarantine else ""
            yield Finding(
                f"{100 * entity.quarantined_share:.1f}\u00a0% of the rows of {name} are in quarantine{reason}.",
                "data.html",
                "See all reasons",
            )
        if not entity.adds_up:
            yield Finding(
                f"Rows of {name} do not add up: {entity.landed:,} landed, but {entity.valid:,} valid, "
                f"{entity.quarantined:,} quarantined and {entity.superseded:,} superseded.",
                "data.html",
                "See the counts",
            )


def _model(rows: list[ModelQuality]) -> Iterator[Finding]:
    for chosen in (row for row in rows if row.chosen):
        rival = best_baseline(rows, chosen)
        if rival is not None and rival.brier <= chosen.brier:
            yield Finding(
                f"The model is not better than the naive “{rival.model.replace('_', ' ')}” on the "
                f"{chosen.split} window (Brier {chosen.brier:.3f} against {rival.brier:.3f}).",
                "model.html",
                "Compare them",
            )


def _segments(summary: RunSummary) -> Iterator[Finding]:
    for state, words in (("incomplete", "too little is known to trust"), ("empty", "nobody is in")):
        names = [f"“{row.title}”" for row in known(summary.segments) if row.state == state]
        if names:
            yield Finding(f"{words.capitalize()} {listing(names)}.", "segments.html", "See the segments")

    for kind in _UNTIDY:  # empty ones are named above, unused ones are no matter of today
        names = [f"“{row.title}”" for row in summary.hygiene if row.kind == kind]
        if names:
            what = f"{counted(len(names), 'segment')} {_UNTIDY[kind].format(be='is' if len(names) == 1 else 'are')}"
            yield Finding(f"{what}: {listing(names)}.", "segments.html", "See suggestions")


_UNTIDY = {
    "exploding": "suddenly far larger than usual",
    "collapsing": "suddenly far smaller than usual",
    "duplicate": "that {be} another one’s double",
    "stale": "that {be} stale",
}


def _governor(summary: RunSummary) -> Iterator[Finding]:
    for row in summary.governor:
        if row.state != "free":
            does = "nobody is mailed" if row.kept_share == 0 else f"{row.kept_share:.0%} of the people are kept"
            yield Finding(
                f"The governor holds “{row.title}” down since {row.since}: {does}. Of the last {row.sends:,} sends "
                f"{row.complaint_rate:.2%} brought a complaint, {row.unsubscribe_rate:.2%} an unsubscribe.",
                "decisions.html",
                "See the rates",
            )


def _experiments(summary: RunSummary) -> Iterator[Finding]:
    for name in sorted({row.experiment for row in known(summary.experiments) if row.verdict == "withheld_srm"}):
        yield Finding(
            f"The arms of “{name}” are not as large as declared, so its result can’t be trusted.",
            "experiments.html",
            "See the arms",
        )


def _missing(summary: RunSummary) -> Iterator[Finding]:
    parts = {
        part.stage
        for part in (getattr(summary, field.name) for field in dataclasses.fields(summary))
        if isinstance(part, Missing)
    } - {"experiments"}  # a result needs weeks to come: its page says so
    if isinstance(summary.outcome, Missing) and not isinstance(summary.model, Missing):
        parts -= {"features"}  # the weeks after the day are not over yet
    if parts:
        yield Finding(
            f"Nothing for this day yet from {counted(len(parts), 'stage')}: {listing(sorted(parts))}.",
            "data.html",
            "See what is there",
        )
