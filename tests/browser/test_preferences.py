"""The pages in a real browser without scripts: accessible, by keyboard alone, narrow and wide, in two languages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.serve.pages.conftest import built as built
from tests.serve.pages.conftest import house as house
from tests.serve.pages.house import JUNE, House

NARROW, WIDE = 320, 1280
LETTER = "email.newsletter"


@pytest.fixture
def ann(house: House) -> str:
    return house.keys.token("customer", "ann")


def opened(chromium: Browser, width: int, scheme: str = "light", *, scripts: bool = False) -> Page:
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts, bypass_csp=scripts
    )
    return context.new_page()


@pytest.fixture(params=[(NARROW, "de"), (WIDE, "en")], ids=["narrow-de", "wide-en"])
def sheet(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[tuple[Page, str]]:
    """A page without scripts, and the language to ask for. It may ask for nothing but pages."""
    width, language = request.param
    page = opened(chromium, width)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    yield page, language
    page.context.close()
    assert set(asked) <= {"document"}


def addresses(house: House, ann: str) -> dict[str, str]:
    """Every page, and every state of it that a person can see."""
    house.say(ann, "grant", LETTER, at=JUNE, link="form-1")
    return {
        "preferences": house.link("preferences", ann),
        "unsubscribe": house.link("unsubscribe", ann),
        "confirm": house.link("confirm", ann, "form-1"),
        "gone": house.link("confirm", ann, "form-1", expires_at=JUNE - timedelta(days=1)),
        "unknown": house.link("preferences", ann) + "x",
    }


@pytest.mark.parametrize(("width", "scheme", "language"), [(NARROW, "light", "de"), (WIDE, "dark", "en")])
def test_axe_finds_nothing(chromium: Browser, house: House, ann: str, width: int, scheme: str, language: str) -> None:
    """WCAG 2.2 A and AA and axe's best practices, before and after something was done. Only axe itself uses scripts."""
    page = opened(chromium, width, scheme, scripts=True)
    axe = Axe()

    def check(what: str) -> None:
        found = axe.run(page)
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    for name, address in addresses(house, ann).items():
        page.goto(f"{address}?lang={language}")
        for details in page.locator("details").all():
            details.locator("summary").click()
        check(name)
    page.goto(f"{addresses(house, ann)['preferences']}?lang={language}")
    page.locator("input[value='personalization.ml_scoring']").check()
    page.locator("input[value=wine]").check()
    page.locator("button[value=save]").click()
    check("saved")
    page.locator("button[value=copy]").click()
    check("copy asked for")
    page.goto(f"{house.link('unsubscribe', ann)}?lang={language}")
    page.locator("form button").click()
    check("unsubscribed")
    page.context.close()


def test_no_page_is_wider_than_the_screen(sheet: tuple[Page, str], house: House, ann: str) -> None:
    page, language = sheet
    size = page.viewport_size
    assert size is not None
    for name, address in addresses(house, ann).items():
        page.goto(f"{address}?lang={language}")
        for details in page.locator("details").all():
            details.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"], name
        assert page.locator("html").get_attribute("lang") == language
        for target in page.locator("button, summary, header li a").all():
            box = target.bounding_box()
            assert box is not None
            assert box["height"] >= 24, "WCAG 2.2, 2.5.8"
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size["width"]


def test_on_paper_as_narrow_as_a_telephone_nothing_is_cut_off(chromium: Browser, house: House, ann: str) -> None:
    page = opened(chromium, NARROW)
    page.emulate_media(media="print")
    page.goto(addresses(house, ann)["preferences"])
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW
    assert not page.locator("button[value=save]").is_visible()
    page.context.close()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.value || document.activeElement.textContent.trim()"))


def tab_to(page: Page, wanted: str, key: str = "Tab") -> None:
    for _ in range(60):
        page.keyboard.press(key)
        if focused(page) == wanted:
            outline = page.evaluate(
                "(e => { const l = e.closest('.choices label');"
                " return getComputedStyle(l || e).outlineStyle })(document.activeElement)"
            )
            assert outline == "solid", f"{wanted}: nobody sees where the focus is"
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


def test_with_the_keyboard_alone(chromium: Browser, house: House, ann: str) -> None:
    page = opened(chromium, WIDE)
    page.goto(house.link("preferences", ann))
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "email.marketing")
    page.keyboard.press("Space")
    tab_to(page, "wine")
    page.keyboard.press("Space")
    tab_to(page, "all")
    page.keyboard.press("ArrowDown")
    assert focused(page) == "weekly"
    tab_to(page, "save")
    page.keyboard.press("Enter")
    result = page.get_by_role("status")
    expect(result).to_contain_text("Your choices are saved.")
    expect(result).to_contain_text("You said no: Offers and news by e-mail")
    assert house.states(ann)["email.marketing"] == "withdrawn"
    chosen = house.ledger.preferences.person([ann])
    assert (chosen.topics, chosen.frequency) == ({"wine": True}, "weekly")
    tab_to(page, "Have my data deleted")
    page.keyboard.press("Enter")
    tab_to(page, "erase")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("We have your request to delete your data")
    page.context.close()


def test_everything_has_a_name_for_those_who_do_not_see_it(chromium: Browser, house: House, ann: str) -> None:
    page = opened(chromium, WIDE)
    page.goto(house.link("preferences", ann))
    offers = page.get_by_role("checkbox", name="Offers and news by e-mail", exact=True)
    expect(offers).to_be_checked()
    expect(offers).to_have_accessible_description(
        "Chosen from what we have this week. We may send you offers and news. You can stop it at any time with one"
        " click. Agreed on 2 May 2026"
    )
    expect(page.get_by_role("checkbox", name="Messages about your orders")).to_be_disabled()
    expect(page.get_by_role("group", name="How often").get_by_role("radio", name="Every e-mail")).to_be_checked()
    expect(page.get_by_role("navigation", name="Language").get_by_role("link")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_have_text("Your choices")
    page.context.close()


def test_the_language_is_a_visible_choice(sheet: tuple[Page, str], house: House, ann: str) -> None:
    page, _ = sheet
    page.goto(house.link("preferences", ann))
    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ihre Auswahl")
    page.get_by_label("Angebote und Neuigkeiten per E-Mail").uncheck()
    page.get_by_role("button", name="Auswahl speichern").click()
    expect(page.get_by_role("status")).to_contain_text("Ihre Auswahl ist gespeichert.")
    page.goto(house.link("unsubscribe", ann))
    expect(page.get_by_role("heading", level=1)).to_have_text("Abbestellen")
    page.get_by_role("button", name="Abbestellen").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sie sind abgemeldet")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")


def test_two_steps_of_a_double_opt_in(sheet: tuple[Page, str], house: House, ann: str) -> None:
    page, _ = sheet
    page.goto(f"{house.link('preferences', ann)}?lang=en")
    page.get_by_label("Monthly recipe letter").check()
    page.get_by_role("button", name="Save my choices").click()
    assert LETTER not in house.states(ann)
    page.get_by_role("link", name="confirm it").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Please confirm")
    house.now += timedelta(hours=1)
    page.get_by_role("button", name="Yes, I agree").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirmed")
    assert house.states(ann)[LETTER] == "granted"
    page.get_by_role("link", name="Go to your choices").click()
    expect(page.get_by_label("Monthly recipe letter")).to_be_checked()
