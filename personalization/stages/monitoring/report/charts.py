"""The plots, each a function of plain rows and a width in pixels. Every plot also stands as a table beside it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any

import altair as alt

from personalization.stages.monitoring.report import theme

Rows = list[dict[str, Any]]
BAR_HEIGHT = 18
LINE_HEIGHT = 15
LINE_BREAK = "|"
CHARACTER_WIDTH = 6.6  # of an average character of a row label, in pixels


def _data(rows: Rows) -> alt.Data:
    return alt.Data(values=rows)


@dataclass(frozen=True)
class _RowLabels:
    """An axis of row labels broken into lines that leave room for the plot."""

    axis: alt.Axis
    width: int
    step: alt.Step

    @classmethod
    def fit(cls, names: list[str], width: int, *, air: int = 14) -> _RowLabels:
        lines = {name: textwrap.wrap(name, max(18, width // 16)) or [""] for name in names}
        broken = json.dumps({name: LINE_BREAK.join(parts) for name, parts in lines.items()}, ensure_ascii=False)
        axis = alt.Axis(
            labelColor=theme.INK.stand_in,
            labelLimit=400,
            labelPadding=10,
            labelExpr=f"split({broken}[datum.label], '{LINE_BREAK}')",
        )
        longest = max((len(part) for parts in lines.values() for part in parts), default=1)
        tallest = max((len(parts) for parts in lines.values()), default=1)
        return cls(axis, width - int(longest * CHARACTER_WIDTH) - 20, alt.Step(LINE_HEIGHT * tallest + air))


def _bars(rows: Rows, width: int, *, label: str, value: str, text: str) -> alt.LayerChart:
    """Horizontal bars in the rows' order, each with its text at its end."""
    names = [row[label] for row in rows]
    labels = _RowLabels.fit(names, width)
    base = alt.Chart(_data(rows)).encode(y=alt.Y(f"{label}:N", sort=names, title=None, axis=labels.axis))
    highest = max((row[value] for row in rows), default=0) or 1
    scale = alt.Scale(domain=[0, highest * 1.28])  # room for the text behind the longest bar
    x = alt.X(f"{value}:Q", title=None, axis=None, scale=scale)
    bars = base.mark_bar(color=theme.ACCENT.stand_in, height=BAR_HEIGHT).encode(x=x)
    numbers = base.mark_text(align="left", dx=6).encode(x=x, text=f"{text}:N")
    return (bars + numbers).properties(width=labels.width, height=labels.step)


def flow(rows: Rows, width: int) -> alt.LayerChart:
    """People from landed record to acknowledged contact. Rows: step, people, text."""
    return _bars(rows, width, label="step", value="people", text="text")


def segment_sizes(rows: Rows, width: int) -> alt.LayerChart:
    """Members of each segment. Rows: title, size, text."""
    return _bars(rows, width, label="title", value="size", text="text")


def feature_importance(rows: Rows, width: int) -> alt.LayerChart:
    """Mean absolute contribution of each feature. Rows: feature, contribution, text."""
    return _bars(rows, width, label="feature", value="contribution", text="text")


def decisions_by_reason(rows: Rows, width: int) -> alt.VConcatChart:
    """One panel a campaign, one bar a reason. Rows: campaign, words, customers, outcome, text."""
    panels = []
    highest = max((row["customers"] for row in rows), default=1)
    labels = _RowLabels.fit([row["words"] for row in rows], width)
    x = alt.X("customers:Q", title=None, axis=None, scale=alt.Scale(domain=[0, highest * 1.28]))
    colour = alt.Color(
        "outcome:N",
        scale=alt.Scale(domain=["send", "withheld"], range=[theme.ACCENT.stand_in, theme.SOFT.stand_in]),
        legend=None,
    )
    for campaign in dict.fromkeys(row["campaign"] for row in rows):
        part = [row for row in rows if row["campaign"] == campaign]
        y = alt.Y("words:N", sort=[row["words"] for row in part], title=None, axis=labels.axis)
        base = alt.Chart(_data(part), title=campaign).encode(x=x, y=y)
        bars = base.mark_bar(height=BAR_HEIGHT).encode(color=colour)
        numbers = base.mark_text(align="left", dx=6).encode(text="text:N")
        panels.append((bars + numbers).properties(width=labels.width, height=labels.step))
    return alt.vconcat(*panels, spacing=18)


def weekly_activity(rows: Rows, width: int) -> alt.VConcatChart:
    """Active customers and orders by week. Rows: week (ISO day), customers, orders."""
    panels = []
    for column, title in (("customers", "Active customers"), ("orders", "Orders")):
        base = alt.Chart(_data(rows), title=title).encode(
            x=alt.X("week:T", title=None, axis=alt.Axis(format="%b", grid=False, tickCount="month", labelOverlap=True)),
            y=alt.Y(f"{column}:Q", title=None, axis=alt.Axis(tickCount=4, format=",d")),
        )
        area = base.mark_area(color=theme.SOFT.stand_in, opacity=0.25)
        panels.append((area + base.mark_line()).properties(width=width - 60, height=120))
    return alt.vconcat(*panels, spacing=16)


def calibration(rows: Rows, width: int) -> alt.LayerChart:
    """Predicted against observed share of buyers. Rows: predicted, observed, low, high (all shares)."""
    side = min(width - 60, 420)
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format=".0%", tickCount=5)
    x = alt.X("predicted:Q", title="predicted chance of a purchase", scale=share, axis=axis)
    diagonal = (
        alt.Chart(_data([{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}]))
        .mark_line(color=theme.MUTED.stand_in, strokeWidth=1, strokeDash=[4, 4])
        .encode(x=x, y=alt.Y("observed:Q", title="share that bought", scale=share, axis=axis))
    )
    base = alt.Chart(_data(rows)).encode(x=x)
    whiskers = base.mark_rule(color=theme.SOFT.stand_in, strokeWidth=2).encode(y="low:Q", y2="high:Q")
    return (diagonal + whiskers + base.mark_point(opacity=1).encode(y="observed:Q")).properties(width=side, height=side)


def score_distribution(rows: Rows, width: int) -> alt.Chart:
    """Customers by predicted chance. Rows: low, high (bin edges), customers."""
    return (
        alt.Chart(_data(rows))
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "low:Q", bin="binned", title="predicted chance of a purchase", axis=alt.Axis(format=".0%", grid=False)
            ),
            x2="high:Q",
            y=alt.Y("customers:Q", title="customers", axis=alt.Axis(tickCount=5, format=",d")),
        )
        .properties(width=width - 70, height=260)
    )


def mailing_conversion(rows: Rows, width: int) -> alt.LayerChart:
    """Conversion of earlier mailings with intervals. Rows: kind, rate, low, high, text."""
    highest = max((row["high"] for row in rows), default=0) or 0.01
    scale = alt.Scale(domain=[0, highest * 1.25], nice=False)
    names = [row["kind"] for row in rows]
    labels = _RowLabels.fit(names, width, air=24)
    base = alt.Chart(_data(rows)).encode(y=alt.Y("kind:N", sort=names, title=None, axis=labels.axis))
    x = alt.X("rate:Q", title="converted, of those mailed", scale=scale, axis=alt.Axis(format=".0%", tickCount=4))
    low, high = alt.X("low:Q", scale=scale), alt.X("high:Q", scale=scale)
    whiskers = base.mark_rule(color=theme.SOFT.stand_in, strokeWidth=3).encode(x=low, x2="high:Q")
    points = base.mark_point(opacity=1, size=90).encode(x=x)
    numbers = base.mark_text(align="left", dx=8).encode(x=high, text="text:N")
    return (whiskers + points + numbers).properties(width=labels.width, height=labels.step)


def experiment_effects(rows: Rows, width: int) -> alt.LayerChart:
    """Effect of each arm against its control with intervals. Rows: name, effect, effect_low, effect_high."""
    names = [row["name"] for row in rows]
    labels = _RowLabels.fit(names, width, air=24)
    base = alt.Chart(_data(rows)).encode(y=alt.Y("name:N", sort=names, title=None, axis=labels.axis))
    x = alt.X("effect:Q", title="difference to control, in points", axis=alt.Axis(format="+.1f", tickCount=5))
    zero = alt.Chart(_data([{"effect": 0}])).mark_rule(color=theme.MUTED.stand_in, strokeDash=[4, 4]).encode(x=x)
    whiskers = base.mark_rule(color=theme.SOFT.stand_in, strokeWidth=3).encode(x="effect_low:Q", x2="effect_high:Q")
    points = base.mark_point(opacity=1, size=90).encode(x=x)
    return (zero + whiskers + points).properties(width=labels.width, height=labels.step)
