"""The pages of the report and what each shows, rendered from templates. Same figures in, same bytes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from personalization.stages.monitoring.attention import findings
from personalization.stages.monitoring.report import figures, sentences, tables, values
from personalization.stages.monitoring.report.theme import css_variables
from personalization.stages.monitoring.report.values import Stat
from personalization.stages.monitoring.summary import Missing, RunSummary, chosen_model, known

_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z])")


@dataclass(frozen=True)
class Page:
    """`nav`: how the other pages' navigation calls it."""

    name: str
    nav: str
    title: str

    @property
    def file(self) -> str:
        return f"{self.name}.html"


PAGES = (
    Page("index", "Summary", "What happened"),
    Page("data", "Data", "Data in"),
    Page("model", "Model", "Who is likely to buy"),
    Page("segments", "Segments", "Segments"),
    Page("decisions", "Decisions", "Who gets what, and why"),
    Page("export", "Export", "What left, and what came of it"),
    Page("experiments", "Experiments", "What works"),
)


@dataclass(frozen=True)
class Series:
    """The plots' data that the summary does not hold."""

    weekly: pa.Table | Missing
    scores: pa.Table | Missing
    importance: pa.Table | Missing
    calibration: pa.Table | Missing


def render_pages(
    summary: RunSummary, series: Series, *, notes: Sequence[str] = (), failed_checks: Sequence[str] = ()
) -> dict[str, str]:
    """The text of every file of the report by name.

    Parameters
    ----------
    notes : sequence of str
        What every reader must know about the data, from `notes` of program.yaml.
    failed_checks : sequence of str
        Names of asset checks that failed.
    """
    templates = environment()
    css = templates.get_template("report.css").render(light=css_variables("light"), dark=css_variables("dark"))
    content: dict[str, dict[str, Any]] = {
        "index": {
            "sentences": sentences.executive_summary(summary),
            "attention": findings(summary, failed_checks),
            "numbers": headline_numbers(summary),
            "flow": figures.flow(summary),
            "segments": tables.segments(summary),
            "outcomes": tables.outcomes(summary),
            "books": tables.books(summary),
        },
        "data": {
            "rows": tables.rows_by_entity(summary),
            "reasons": tables.quarantine_reasons(summary),
            "weekly": figures.weekly_activity(series.weekly),
            "completeness": tables.completeness(summary),
        },
        "model": {
            "sentences": sentences.model_summary(summary),
            "quality": tables.model_quality(summary),
            "scores": figures.score_distribution(series.scores),
            "importance": figures.feature_importance(series.importance),
            "calibration": figures.calibration(series.calibration),
        },
        "segments": {
            "sizes": figures.segment_sizes(summary),
            "segments": tables.segments(summary),
            "hygiene": tables.hygiene(summary),
        },
        "decisions": {
            "reasons": figures.decisions_by_reason(summary),
            "decisions": tables.decisions(summary),
            "governor": tables.governor(summary),
        },
        "export": {
            "books": tables.books(summary),
            "operations": tables.export_operations(summary),
            "ends": tables.export_reasons(summary),
        },
        "experiments": {
            "experiments": tables.experiments(summary),
            "remarks": remarks(summary),
            "effects": figures.experiment_effects(summary),
            "mailings": figures.mailing_conversion(summary),
        },
    }
    shared = {"summary": summary, "pages": PAGES, "notes": list(notes), "css": Markup(css)}
    return {
        page.file: templates.get_template(f"{page.name}.html.j2").render(page=page, **shared, **content[page.name])
        for page in PAGES
    }


def headline_numbers(summary: RunSummary) -> list[Stat]:
    """The large numbers of the first page."""
    customers, audience = summary.customers, summary.audience
    people = None if isinstance(customers, Missing) else customers.people
    scored = None if isinstance(customers, Missing) else customers.scored
    sends = None if isinstance(audience, Missing) else audience.sends
    chosen = chosen_model(known(summary.model))
    landed = None if isinstance(summary.data, Missing) else sum(entity.landed for entity in summary.data)
    present = None if isinstance(summary.export, Missing) else sum(run.books.present for run in summary.export)

    def number(value: int | None) -> str | None:
        return None if value is None else values.count(value)

    return [
        Stat(number(landed), "rows landed", "all entities, from the landing zone"),
        Stat(number(people), "customers", "people after unification, `marts.customers`"),
        Stat(number(scored), "scored", "`scores.propensity`"),
        Stat(
            None if chosen is None else values.score(chosen.roc_auc),
            "ROC-AUC",
            "of the model on the latest window, `scores.model_quality`",
        ),
        Stat(number(sends), "people to be mailed", "`decisions.decisions`"),
        Stat(number(present), "contacts at platforms", "all destinations, from the ledger"),
    ]


def remarks(summary: RunSummary) -> dict[str, list[str]]:
    """What the experiments stage says about each comparison, each sentence once."""
    found: dict[str, list[str]] = {}
    for row in known(summary.experiments):
        said = found.setdefault(f"{row.experiment.replace('_', ' ')}, {row.comparison}", [])
        before = " ".join(said)
        new = [sentence for sentence in _SENTENCE_END.split(row.note) if sentence not in before]
        said += [" ".join(new)] if new else []
    return {name: said for name, said in found.items() if said}


def environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("personalization.stages.monitoring.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"day": values.day, "ticks": _ticks, "strong": _strong}
    environment.globals["cell"] = values.cell
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    return environment


def _ticks(text: str) -> Markup:
    """Table names between backticks become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _strong(text: str) -> Markup:
    """Numbers between asterisks become bold."""
    return Markup(re.sub(r"\*([^*]+)\*", r"<strong>\1</strong>", str(escape(text))))
