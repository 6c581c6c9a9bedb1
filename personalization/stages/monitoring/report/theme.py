"""The report's colours, once: as CSS variables for the pages, and as stand-ins that plots are drawn with.

A plot is drawn in stand-in colours which are replaced by the CSS variables, so that one drawing is right in light
and in dark.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """`stand_in` is what Vega draws with; no other colour of a plot may be equal to it."""

    name: str
    light: str
    dark: str
    stand_in: str


# Text colours reach a contrast of 4.5 on `paper` and `surface`, bars and lines 3; tests compute it.
PAPER = Colour("paper", "#fbfaf7", "#14181b", "#010100")
SURFACE = Colour("surface", "#ffffff", "#1b2125", "#010101")
INK = Colour("ink", "#1c2227", "#e9e7e2", "#010102")
MUTED = Colour("muted", "#59626c", "#a5adb5", "#010103")
RULE = Colour("rule", "#dfdcd3", "#353d44", "#010104")
ACCENT = Colour("accent", "#0a6a72", "#58c3c6", "#010105")
SOFT = Colour("soft", "#679799", "#3c7679", "#010106")
WARN = Colour("warn", "#8f4500", "#f0b470", "#010108")
WARN_SURFACE = Colour("warn-surface", "#fdf4e6", "#2a2218", "#010109")
GOOD = Colour("good", "#23693b", "#7fcf97", "#01010a")

COLOURS = (PAPER, SURFACE, INK, MUTED, RULE, ACCENT, SOFT, WARN, WARN_SURFACE, GOOD)

# Bundled with the renderer, so text is measured alike on every machine; Arial and Liberation Sans have equal widths.
PLOT_FONT = "Liberation Sans"


def css_variables(mode: str) -> str:
    """`--ink: #…; …` for mode `light` or `dark`."""
    return " ".join(f"--{colour.name}: {getattr(colour, mode)};" for colour in COLOURS)


def with_variables(svg: str) -> str:
    """A drawing whose colours follow the page's CSS variables."""
    for colour in COLOURS:
        svg = svg.replace(f'"{colour.stand_in}"', f'"var(--{colour.name})"')
    return svg


def with_light_colours(svg: str) -> str:
    """A drawing with fixed light colours, for places without our CSS."""
    for colour in COLOURS:
        svg = svg.replace(f'"{colour.stand_in}"', f'"{colour.light}"')
    return svg


VEGA_CONFIG = {
    "background": None,
    "font": PLOT_FONT,
    "aria": False,  # one title and description for the whole plot instead of hundreds of labelled marks
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED.stand_in,
        "titleColor": MUTED.stand_in,
        "labelFontSize": 13,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 6,
        "gridColor": RULE.stand_in,
        "domain": False,
        "ticks": False,
    },
    "axisY": {"labelLimit": 200},
    "header": {
        "labelColor": INK.stand_in,
        "labelFontSize": 13,
        "labelFontWeight": "bold",
        "labelAnchor": "start",
        "labelPadding": 4,
        "title": None,
    },
    "legend": {
        "labelColor": MUTED.stand_in,
        "titleColor": MUTED.stand_in,
        "labelFontSize": 13,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "top",
        "symbolType": "square",
        "offset": 8,
    },
    "text": {"color": INK.stand_in, "fontSize": 13},
    "bar": {"color": ACCENT.stand_in},
    "rule": {"color": MUTED.stand_in},
    "line": {"color": ACCENT.stand_in, "strokeWidth": 2},
    "point": {"color": ACCENT.stand_in, "filled": True, "size": 60},
    "title": {"color": INK.stand_in, "fontSize": 13, "anchor": "start"},
}
