"""Text has the contrast that WCAG asks for (AA: 4.5), bars and lines 3, in light and in dark."""

from __future__ import annotations

import pytest

from personalization.stages.monitoring.report import theme
from personalization.stages.monitoring.report.theme import Colour

TEXT_ON = [
    *((text, ground) for text in (theme.INK, theme.MUTED, theme.ACCENT) for ground in (theme.PAPER, theme.SURFACE)),
    (theme.WARN, theme.PAPER),
    (theme.GOOD, theme.PAPER),
    *((text, theme.WARN_SURFACE) for text in (theme.INK, theme.WARN, theme.ACCENT)),
]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON, ids=lambda colour: colour.name)
def test_text_can_be_read(text: Colour, ground: Colour, mode: str) -> None:
    assert contrast(getattr(text, mode), getattr(ground, mode)) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("mark", [theme.ACCENT, theme.SOFT], ids=lambda colour: colour.name)
def test_marks_can_be_seen(mark: Colour, mode: str) -> None:
    assert contrast(getattr(mark, mode), getattr(theme.PAPER, mode)) >= 3


def test_stand_ins_differ() -> None:
    assert len({colour.stand_in for colour in theme.COLOURS}) == len(theme.COLOURS)
