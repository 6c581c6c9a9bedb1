"""Pictures for Dagster: inline PNG images in Markdown, drawn without a browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from personalization.stages.scoring.quality import CalibrationGroup


def calibration_plot(groups: Sequence[CalibrationGroup], title: str) -> str:
    """Predicted against observed share of buyers as an inline Markdown image; on the diagonal the scores are right."""
    import altair as alt

    points = alt.Data(
        values=[
            {"predicted": group.predicted, "observed": group.observed, "customers": group.customers} for group in groups
        ]
    )
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format=".0%")
    diagonal = (
        alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
        .mark_line(color="#999999", strokeDash=[4, 4])
        .encode(x="x:Q", y="y:Q")
    )
    line = (
        alt.Chart(points)
        .mark_line(point=alt.OverlayMarkDef(size=60), color="#1f6f78")
        .encode(
            x=alt.X("predicted:Q", title="mean score", scale=share, axis=axis),
            y=alt.Y("observed:Q", title="share who bought", scale=share, axis=axis),
        )
    )
    picture = io.BytesIO()
    (diagonal + line).properties(title=title, width=320, height=320).save(picture, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"
