"""The page and the pictures of many simulated days."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from personalization.stages.monitoring.report.figures import NARROW, WIDE
from personalization.stages.monitoring.report.pages import environment
from personalization.stages.monitoring.report.svg import draw, png_data_url
from personalization.stages.monitoring.report.theme import css_variables
from personalization.stages.monitoring.report.values import Column, Figure, Table
from personalization.stages.monitoring.words import reason_in_words
from personalization.what_if import days_charts as charts
from personalization.what_if.days import Plan
from personalization.what_if.days_record import Record

Rows = list[dict[str, Any]]


def write_days(record: Record, plan: Plan, folder: Path) -> Path:
    """Write `index.html`, a PNG of each plot, and `simulation.json` into a folder. Returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (chart, rows) in _plots(record, plan).items():
        picture = png_data_url(chart(rows, WIDE))
        (folder / f"{name}.png").write_bytes(base64.b64decode(picture.partition(",")[2]))
    (folder / "simulation.json").write_text(json.dumps(record.to_dict(), indent=2) + "\n", encoding="utf-8")
    page = folder / "index.html"
    page.write_text(render(record, plan), encoding="utf-8")
    return page


def render(record: Record, plan: Plan) -> str:
    """The page as HTML, without any script."""
    pages = environment()
    css = pages.get_template("report.css").render(light=css_variables("light"), dark=css_variables("dark"))
    return pages.get_template("simulation.html.j2").render(
        css=Markup(css),
        record=record,
        plan=plan,
        first=record.start,
        last=record.days[-1].day if record.days else record.start,
        violations=violations(record),
        figures=figures(record, plan),
        reasons=reasons(record),
    )


def violations(record: Record) -> Table:
    """How often each rule was broken."""
    return Table(
        "violations",
        "Rules broken",
        "Counted from the mails themselves, not from the decisions. Every number must be 0.",
        [Column("Rule"), Column("Times broken", "count")],
        list(record.violations().items()),
    )


def reasons(record: Record) -> Table:
    """Decisions of all days by their first reason."""
    totals: dict[str, int] = {}
    for day in record.days:
        for reason, number in day.decided.items():
            totals[reason] = totals.get(reason, 0) + number
    return Table(
        "reasons",
        "Decisions of all days",
        "By the first reason. Who is mailed stays in the audience until the platform has mailed.",
        [Column("Reason in words"), Column("Decisions", "count"), Column("Reason", "code")],
        [
            (_words(reason), number, reason)
            for reason, number in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
        ],
        note="Nothing was decided.",
    )


def _words(reason: str) -> str:
    return "another campaign reaches the person" if reason == "lost_to" else reason_in_words(reason)


def figures(record: Record, plan: Plan) -> list[Figure]:
    """The plots with the numbers beside them."""
    least = record.program.settings.fatigue.min_gap_days
    words = {
        "tiers": (
            "Mails a person and week, by tier",
            "Mails of the week divided by the people of the tier on its first day.",
            {
                "week": Column("Week", "count"),
                "tier": Column("Tier"),
                "people": Column("People", "count"),
                "text": Column("Mails a person"),
            },
        ),
        "volume": (
            "Mails a day, and what the governor keeps",
            "The band marks the days on which the model lets more people complain.",
            {
                "day": Column("Day"),
                "sent": Column("Mails", "count"),
                "complaints": Column("Complaints", "count"),
                "unsubscribes": Column("Unsubscribes", "count"),
                "kept_share": Column("Kept", "share"),
            },
        ),
        "gaps": (
            "Days between two mails to one person",
            f"A mail is allowed when the last one is more than {least} days ago. Longer gaps than "
            f"{charts.LONGEST_GAP} days are in the table.",
            {"days": Column("Days", "count"), "pairs": Column("Pairs of mails", "count")},
        ),
    }
    found = []
    for name, (chart, rows) in _plots(record, plan).items():
        title, how, columns = words[name]
        numbers = Table(
            f"{name}-numbers", title, how, list(columns.values()), [[row[key] for key in columns] for row in rows]
        )
        texts = {"title": title, "description": how}
        wide, narrow = (draw(chart(rows, width), name=f"{name}-{width}", **texts) for width in (WIDE, NARROW))
        found.append(Figure(name, title, how, wide, narrow, numbers))
    return found


def _plots(record: Record, plan: Plan) -> dict[str, tuple[Callable[[Rows, int], Any], Rows]]:
    least = record.program.settings.fatigue.min_gap_days
    return {
        "volume": (charts.volume, _volume_rows(record, plan)),
        "tiers": (charts.mails_by_tier, _tier_rows(record)),
        "gaps": (
            lambda rows, width: charts.gaps(rows, width, least),
            [{"days": days, "pairs": pairs} for days, pairs in sorted(record.gaps().items())],
        ),
    }


def _volume_rows(record: Record, plan: Plan) -> Rows:
    spell = plan.model.spell or (0, 0)
    return [
        {
            "date": each.day,
            "day": each.day.isoformat(),
            "sent": each.sent,
            "complaints": each.answers.get("complained", 0),
            "unsubscribes": each.answers.get("unsubscribed", 0),
            "kept_share": each.kept_share,
            "spell": spell[0] <= number < spell[1],
        }
        for number, each in enumerate(record.days)
    ]


def _tier_rows(record: Record) -> Rows:
    """Full weeks only, else the last days would look like a drop. A week without mails is a week with none."""
    order = [*(cap.tier for cap in record.program.settings.fatigue.caps), "no tier"]
    sizes = sorted(record.tier_sizes.items(), key=lambda item: (order.index(item[0][1]), item[0][0]))
    mails = {(row["week"], row["tier"]): row["mails"] for row in record.per_week()}
    rows = []
    for (week, tier), people in sizes:
        if people and week <= max(len(record.days) // 7, 1):
            rate = mails.get((week, tier), 0) / people
            rows.append({"week": week, "tier": tier, "people": people, "per_person": rate, "text": f"{rate:.2f}"})
    return rows
