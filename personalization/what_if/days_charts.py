"""The plots of many simulated days, each a function of plain rows and a width in pixels, as those of the report."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import altair as alt

from personalization.stages.monitoring.report import theme

Rows = list[dict[str, Any]]
LONGEST_GAP = 40
_TIER_COLOURS = (theme.ACCENT, theme.WARN, theme.GOOD, theme.MUTED, theme.SOFT)


def mails_by_tier(rows: Rows, width: int) -> alt.LayerChart:
    """Mails for each person of a tier, week by week. Rows: week, tier, per_person, text."""
    tiers = list(dict.fromkeys(row["tier"] for row in rows))
    last = max((row["week"] for row in rows), default=1)
    colours = [colour.stand_in for colour in _TIER_COLOURS[: len(tiers)]]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("week:Q", title="week", axis=alt.Axis(tickMinStep=1, grid=False), scale=alt.Scale(domain=[1, last])),
        y=alt.Y("per_person:Q", title="mails a person and week", axis=alt.Axis(tickCount=5, format=".1f")),
        color=alt.Color("tier:N", scale=alt.Scale(domain=tiers, range=colours), legend=alt.Legend(title="tier")),
    )
    return (base.mark_line() + base.mark_point()).properties(width=width - 70, height=260)


def volume(rows: Rows, width: int) -> alt.VConcatChart:
    """Mails a day above the share that the governor keeps. Rows: date, sent, kept_share, spell (true or false)."""
    axis = alt.Axis(format="%d %b", grid=False, labelOverlap=True, tickCount=8)
    bar = max(2, (width - 70) // (len(rows) * 2 or 1))
    scale = alt.Scale(type="utc", padding=bar / 2 + 6)
    x = alt.X("day:T", title=None, axis=axis, scale=scale)
    spell = [row for row in rows if row["spell"]]
    half = timedelta(hours=12)
    bands = [{"from": iso(spell[0]["date"], -half), "to": iso(spell[-1]["date"], half)}] if spell else []
    band = (
        alt.Chart(alt.Data(values=bands))
        .mark_rect(color=theme.WARN.stand_in, opacity=0.15)
        .encode(x=alt.X("from:T", title=None, axis=axis, scale=scale), x2="to:T")
    )
    drawn = [{"day": iso(row["date"]), "sent": row["sent"], "kept_share": row["kept_share"]} for row in rows]
    base = alt.Chart(alt.Data(values=drawn)).encode(x=x)
    sent = base.mark_bar(width=bar).encode(y=alt.Y("sent:Q", title=None, axis=alt.Axis(tickCount=4, format=",d")))
    kept = base.mark_line(interpolate="step-after", color=theme.WARN.stand_in).encode(
        y=alt.Y("kept_share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=4, format=".0%"))
    )
    above = (band + sent).properties(width=width - 70, height=180, title="Mails a day")
    below = (band + kept).properties(width=width - 70, height=110, title="Share of the people that the governor keeps")
    return alt.vconcat(above, below, spacing=16)


def gaps(rows: Rows, width: int, least: int) -> alt.LayerChart:
    """How many days lay between two mails to one person. Rows: days, pairs; `least`: a gap must be larger."""
    shown = [row for row in rows if row["days"] <= LONGEST_GAP]
    scale = alt.Scale(domain=[0, LONGEST_GAP + 1])
    bars = (
        alt.Chart(alt.Data(values=shown))
        .mark_bar(width=max(3, (width - 70) // 90))
        .encode(
            x=alt.X("days:Q", title="days between two mails", scale=scale, axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("pairs:Q", title="pairs of mails", axis=alt.Axis(tickCount=5, format=",d")),
        )
    )
    limit = alt.Chart(alt.Data(values=[{"days": least + 0.5}]))
    rule = limit.mark_rule(color=theme.WARN.stand_in, strokeDash=[4, 4], strokeWidth=2).encode(
        x=alt.X("days:Q", scale=scale)
    )
    title = f"To the right of the dashed line: more than {least} days"
    return (bars + rule).properties(width=width - 70, height=220, title=title)


def iso(day: date, shift: timedelta = timedelta(0)) -> str:
    """The first instant of a day, shifted, in UTC: the same picture in every time zone."""
    return f"{(datetime.combine(day, time()) + shift).isoformat()}Z"
