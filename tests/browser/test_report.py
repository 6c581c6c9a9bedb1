"""The report in a browser without JavaScript: on a phone, on a desk, in light and dark, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from personalization.stages.monitoring.report.pages import PAGES
from personalization.stages.monitoring.report.theme import PAPER

PHONE, DESK = 390, 1280


@pytest.fixture(params=[(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")], ids=str)
def sheet(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A page without JavaScript. Whatever it asks for besides the report's own files is a failure."""
    width, scheme = request.param
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=False
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


def test_no_page_is_wider_than_the_screen(sheet: Page, report: Path) -> None:
    size = sheet.viewport_size
    assert size is not None
    for page in PAGES:
        sheet.goto((report / page.file).as_uri())
        assert sheet.evaluate("document.documentElement.scrollWidth") == size["width"], page.file
        assert sheet.locator("h1").is_visible()
        for plot in sheet.locator("svg.plot:visible").all():
            box = plot.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size["width"], page.file


def test_each_screen_gets_the_plot_drawn_for_it(sheet: Page, report: Path) -> None:
    sheet.goto((report / "index.html").as_uri())
    size = sheet.viewport_size
    assert size is not None
    assert sheet.locator("#flow .narrow svg").is_visible() == (size["width"] == PHONE)
    assert sheet.locator("#flow .wide svg").is_visible() == (size["width"] == DESK)


def test_colours_follow_the_reader(sheet: Page, report: Path) -> None:
    sheet.goto((report / "index.html").as_uri())
    dark = sheet.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    colour = PAPER.dark if dark else PAPER.light
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    ground = sheet.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert ground == f"rgb({red}, {green}, {blue})"
    bar = sheet.locator("#flow svg:visible path[fill^='var(--accent)']").first
    assert bar.evaluate("path => getComputedStyle(path).fill") != "rgb(0, 0, 0)"


def test_links_lead_from_page_to_page(sheet: Page, report: Path) -> None:
    sheet.goto((report / "index.html").as_uri())
    for page in PAGES[1:]:
        sheet.get_by_role("navigation").get_by_role("link", name=page.nav, exact=True).click()
        assert sheet.get_by_role("heading", level=1).text_content() == page.title


def test_plots_and_tables_have_names_for_those_who_do_not_see_them(sheet: Page, report: Path) -> None:
    sheet.goto((report / "segments.html").as_uri())
    assert sheet.get_by_role("img", name="Members, with who entered (+) and exited (−)").count() == 1
    sizes = sheet.get_by_role("table", name="Size, completeness, and who came and went")
    assert sizes.count() == 1
    assert sizes.get_by_role("rowheader", name="Comes every week").count() == 1


def test_paper_is_white_and_without_navigation(chromium: Browser, report: Path) -> None:
    page = chromium.new_page(color_scheme="dark", java_script_enabled=False)
    page.emulate_media(media="print")
    page.goto((report / "index.html").as_uri())
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_role("navigation").is_visible()
    assert page.pdf()[:5] == b"%PDF-"
    page.close()
