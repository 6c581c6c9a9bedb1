"""Draws Altair charts as inline SVG: no script, no outside fonts, colours that follow the page, a title for readers."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING

from personalization.stages.monitoring.report.theme import VEGA_CONFIG, with_light_colours, with_variables

if TYPE_CHECKING:
    import altair as alt

_ROOT = re.compile(r'<svg [^>]*?width="(?P<width>[\d.]+)" height="(?P<height>[\d.]+)"[^>]*>')
_IDENTIFIER = re.compile(r'(\bid="|url\(#|href="#)([\w-]+)')


def draw(chart: alt.TopLevelMixin, *, name: str, title: str, description: str) -> str:
    """The chart as an `<svg role="img">` to be put into a page.

    Parameters
    ----------
    name : str
        Unique in the page: inner ids are prefixed by it, because ids of several plots would clash.
    title, description : str
        What a screen reader says instead of the picture.
    """
    svg = with_variables(_vega(chart))
    svg = _IDENTIFIER.sub(lambda match: f"{match[1]}{name}-{match[2]}", svg)
    root = _ROOT.match(svg)
    if root is None:
        raise ValueError(f"the drawing '{name}' does not begin with an <svg> of a known size")
    width, height = root["width"], root["height"]
    opening = (
        f'<svg class="plot" role="img" aria-labelledby="{name}-title {name}-description" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return opening + svg[root.end() :]


def png_data_url(chart: alt.TopLevelMixin) -> str:
    """The chart in light colours as a `data:` URL, for Dagster's metadata, which shows no inline SVG."""
    import vl_convert

    svg = with_light_colours(_vega(chart, background="#ffffff"))
    return "data:image/png;base64," + base64.b64encode(vl_convert.svg_to_png(svg, scale=1.5)).decode()


def _vega(chart: alt.TopLevelMixin, background: str | None = None) -> str:
    import altair as alt
    import vl_convert

    spec = chart.to_dict()
    spec["config"] = VEGA_CONFIG | {"background": background}
    return vl_convert.vegalite_to_svg(spec, vl_version=alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0])
