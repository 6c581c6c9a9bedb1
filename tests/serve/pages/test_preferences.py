"""The preference page: what it shows, what it takes down, and that only what a person changed on it counts."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import requests

from personalization.ledger.preferences import Choices
from personalization.serve.pages.visitor import mask
from tests.serve.pages.form import Form
from tests.serve.pages.house import JUNE, MARKETING, SHOWN, House

GPC = {"Sec-GPC": "1"}


@pytest.fixture
def link(house: House, ann: str) -> str:
    return house.link("preferences", ann)


def form(house: House, link: str, button: str = "save", **headers: str) -> Form:
    return Form(house.session.get(link, headers=headers).text, button)


def save(house: House, link: str, filled: Form, **headers: str) -> str:
    house.now += timedelta(minutes=1)
    answer = house.session.post(link, data=filled.data(), headers=headers)
    assert answer.status_code == 200
    return answer.text


def words(text: str) -> str:
    """A page as it is read."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))


def test_it_shows_where_the_person_stands(house: House, link: str) -> None:
    filled = form(house, link)
    assert filled.chosen("purpose") == ["email.marketing", "email.service", "share.third_party", "sale"]
    assert filled.chosen("topic") == []
    assert filled.chosen("frequency") == ["all"]
    text = words(house.session.get(link).text)
    for expected in (
        "Corner shop",
        "a•••@example.com",
        "Agreed on 2 May 2026",
        "Not agreed",
        "On, unless you object",
        "•••67",
    ):
        assert expected in text
    assert "It is not advertising" in text


def test_what_is_held_is_masked(house: House, link: str) -> None:
    text = house.session.get(link).text
    for secret in ("ann@example.com", "Ann", "+49301234567", "t1_k1_", "l1_v1_"):
        assert secret not in text
    assert [mask(*each) for each in (("email", "j@x.org"), ("phone", "123"), ("street", "Main St 5"))] == [
        "•••@x.org",
        "•••",
        "M•••",
    ]


def test_a_choice_is_taken_down_with_its_proof_and_told(house: House, ann: str, link: str) -> None:
    filled = form(house, link).tick("purpose", "email.marketing", on=False)
    told = words(save(house, link, filled.tick("purpose", "personalization.ml_scoring")))
    assert "Your choices are saved." in told
    assert "You said no: Offers and news by e-mail" in told
    assert "You agreed: Offers chosen by prediction" in told
    assert house.states(ann)["email.marketing"] == "withdrawn"
    assert house.states(ann)["personalization.ml_scoring"] == "granted"
    [event] = [event for event in house.events(ann) if event.purpose == "email.marketing"]
    assert (event.action, event.method, event.notice_version, event.notice_sha256, event.locale) == (
        "withdraw",
        "preference page",
        "2",
        SHOWN,
        "en",
    )
    assert event.effective_at == house.now
    assert set(event.evidence or {}) == {"ip_token", "ua_hash"}


def test_saving_what_was_shown_changes_nothing(house: House, link: str) -> None:
    before = house.count()
    for _ in range(2):
        assert "Nothing was changed." in save(house, link, form(house, link))
    assert house.count() == before


def test_an_old_form_does_not_bring_back_who_left_since(house: House, ann: str, link: str) -> None:
    """Out never becomes in: the tick was on the page, but was not put there by the person now."""
    old = form(house, link)
    house.session.post(house.link("unsubscribe", ann), data={"List-Unsubscribe": "One-Click"})
    told = save(house, link, old.tick("topic", "wine"))
    assert "You agreed" not in told
    assert house.states(ann)["email.marketing"] == "withdrawn"
    assert house.ledger.preferences.person([ann]).topics == {"wine": True}


def test_a_legitimate_interest_is_objected_to_and_taken_up_again(house: House, ann: str, link: str) -> None:
    save(house, link, form(house, link).tick("purpose", "email.service", on=False))
    assert [event.action for event in house.events(ann)] == ["object"]
    save(house, link, form(house, link).tick("purpose", "email.service"))
    assert house.states(ann)["email.service"] == "granted"


def test_what_a_contract_requires_can_not_be_switched_off(house: House, ann: str, link: str) -> None:
    """Invariant 39."""
    data = [*form(house, link).data(), ("was", "email.transactional=on")]
    assert "Nothing was changed." in house.session.post(link, data=data).text
    house.session.post(link, data={"do": "stop"})
    assert "email.transactional" not in house.states(ann)


def test_stop_everything(house: House, ann: str, link: str) -> None:
    told = words(save(house, link, form(house, link, "stop")))
    assert "You said no: Monthly recipe letter" in told
    assert {house.states(ann)[purpose] for purpose in MARKETING} == {"withdrawn"}
    assert {event.action for event in house.events(ann)} == {"object"}
    assert house.states(ann)["sale"] == "granted"
    assert "Nothing was changed." in save(house, link, form(house, link, "stop"))


def test_two_steps_for_a_purpose_with_double_opt_in(house: House, ann: str, link: str) -> None:
    text = save(house, link, form(house, link).tick("purpose", "email.newsletter"))
    assert "One step is left for “Monthly recipe letter”" in words(text)
    assert "email.newsletter" not in house.states(ann)
    assert form(house, link).chosen("purpose") == ["email.marketing", "email.service", "share.third_party", "sale"]
    [step] = set(re.findall(r'href="\.\./(confirm/[^"?]+)', text))
    assert "Waiting to be confirmed until 8 June 2026" in words(text)
    house.now += timedelta(days=2)
    assert house.session.post(f"{house.base}/{step}").status_code == 200
    assert house.states(ann)["email.newsletter"] == "granted"
    assert "email.newsletter" in form(house, link).chosen("purpose")


def test_topics_and_frequency(house: House, ann: str, link: str) -> None:
    filled = form(house, link).tick("topic", "recipes").tick("topic", "wine").tick("frequency", "weekly")
    told = words(save(house, link, filled))
    assert "Topics: Recipes, Wine" in told
    assert "How often: At most once a week" in told
    told = words(save(house, link, form(house, link).tick("topic", "recipes", on=False)))
    assert "Topics: Wine" in told
    assert house.ledger.preferences.person([ann]) == Choices("weekly", {"recipes": False, "wine": True}, "en")
    assert form(house, link).chosen("frequency") == ["weekly"]
    assert house.states(ann)["email.marketing"] == "granted"


@pytest.mark.parametrize(
    ("query", "accepted", "own", "expected"),
    [
        ("", None, None, "en"),
        ("", "de-AT,de;q=0.9", None, "de"),
        ("", "fr", None, "en"),
        ("?lang=de", "en", None, "de"),
        ("", "en", "de", "de"),
        ("?lang=en", "de", "de", "en"),
        ("?lang=xx", "de", None, "de"),
    ],
)
def test_the_language_is_chosen_then_the_persons_own_then_the_browsers(
    house: House, link: str, query: str, accepted: str | None, own: str | None, expected: str
) -> None:
    if own:
        house.session.post(f"{link}?lang={own}", data={"do": "stop"})
    answer = requests.get(link + query, headers={"Accept-Language": accepted} if accepted else {}, timeout=10)
    assert f'<html lang="{expected}"' in answer.text
    assert answer.headers["Content-Language"] == expected
    assert ("Was wir dürfen" in answer.text) == (expected == "de")
    assert ("Angebote und Neuigkeiten per E-Mail" in answer.text) == (expected == "de")


def test_the_language_of_the_page_is_the_language_of_the_proof(house: House, ann: str, link: str) -> None:
    german = f"{link}?lang=de"
    save(house, german, form(house, german).tick("purpose", "email.marketing", on=False))
    [event] = house.events(ann)
    assert event.locale == "de"
    assert event.notice_sha256 != SHOWN


def test_a_privacy_signal_is_kept(house: House, ann: str, link: str) -> None:
    """Invariant 48: within the same request, and afterwards without the header."""
    text = words(house.session.get(link, headers=GPC).text)
    assert house.states(ann)["sale"] == house.states(ann)["share.third_party"] == "withdrawn"
    assert house.states(ann)["email.marketing"] == "granted"
    assert "your browser sends Global Privacy Control" in text
    events = house.events(ann)
    assert {(event.action, event.method) for event in events} == {("withdraw", "global privacy control")}
    assert all((event.evidence or {})["gpc"] is True for event in events)
    before = house.count()
    assert form(house, link).chosen("purpose") == ["email.marketing", "email.service"]
    house.session.get(link, headers=GPC)
    assert house.count() == before, "once is enough"


@pytest.mark.parametrize("kind", ["unsubscribe", "confirm"])
def test_a_privacy_signal_counts_on_every_page(house: House, ann: str, kind: str) -> None:
    """Invariant 48."""
    house.say(ann, "grant", "email.newsletter", at=JUNE, link="form-1")
    house.session.get(house.link(kind, ann, "form-1"), headers=GPC)
    assert house.states(ann)["sale"] == "withdrawn"


@pytest.mark.parametrize("headers", [{}, {"Sec-GPC": "0"}, {"Sec-GPC": "true"}, {"DNT": "1"}], ids=str)
def test_no_signal(house: House, ann: str, link: str, headers: dict[str, str]) -> None:
    house.session.get(link, headers=headers)
    assert house.states(ann)["sale"] == "granted"


def test_the_signal_stands_against_a_form(house: House, ann: str, link: str) -> None:
    save(house, link, form(house, link).tick("purpose", "sale", on=False))
    ticked = form(house, link).tick("purpose", "sale")
    save(house, link, ticked, **GPC)
    assert house.states(ann)["sale"] == "withdrawn"
    save(house, link, ticked)
    assert house.states(ann)["sale"] == "granted", "without the signal it is the person's own choice"


@pytest.mark.parametrize(("button", "kind"), [("copy", "access"), ("erase", "erasure")])
def test_a_copy_or_erasure_is_asked_for_once(house: House, ann: str, link: str, button: str, kind: str) -> None:
    told = words(save(house, link, form(house, link, button)))
    assert "We have your request" in told
    assert save(house, link, form(house, link, button))
    [request] = house.ledger.requests.all()
    assert (request.kind, request.subject_token, request.manner) == (kind, ann, "preference page")
    assert request.request_id in told


def test_history_tells_what_was_said_newest_first(house: House, link: str) -> None:
    save(house, link, form(house, link).tick("purpose", "email.marketing", on=False))
    text = words(house.session.get(link).text)
    stopped = text.index("Offers and news by e-mail: stopped")
    assert stopped < text.index("Offers and news by e-mail: agreed")
    assert text.count("Offers and news by e-mail: stopped") == 1, "said once, noted under every identifier"
    assert "sign-up form" in text


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        ({"do": "explode"}, {}, 400),
        ({}, {}, 400),
        ("do=save", {"Content-Type": "text/plain"}, 400),
        ("do=%ff\xff".encode("latin-1"), {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        ({f"field{n}": "x" for n in range(600)}, {}, 400),
        ("x" * 70_000, {"Content-Type": "application/x-www-form-urlencoded"}, 413),
    ],
)
def test_what_no_form_of_ours_sends(
    house: House, link: str, data: object, headers: dict[str, str], status: int
) -> None:
    before = house.count()
    answer = house.session.post(link, data=data, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert "That did not work" in answer.text
    assert house.count() == before


def test_unknown_names_in_a_form_are_no_choices(house: House, link: str) -> None:
    before = house.count()
    data = [("was", "nope=off"), ("purpose", "nope"), ("topic", "<b>"), ("frequency", "hourly"), ("do", "save")]
    assert "Nothing was changed." in house.session.post(link, data=data).text
    assert house.count() == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(house: House, link: str, method: str) -> None:
    assert house.session.request(method, link).status_code == 405


@pytest.mark.parametrize("kind", ["preferences", "unsubscribe"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_browser_may_do_nothing_else_with_it(house: House, ann: str, kind: str, broken: bool) -> None:
    answer = house.session.get(house.link(kind, ann) + ("x" if broken else ""))
    headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in headers
    assert "<script" not in answer.text
    assert not re.search(r"""(src|href|action)=["'](https?:)?//""", answer.text)


def test_texts_of_the_program_are_never_markup(house: House, ann: str) -> None:
    path = house.root / "program" / "program.yaml"
    path.write_text(path.read_text().replace("name: Corner shop", "name: <script>alert(1)</script> & Sons"))
    house.runtime.__dict__.pop("program", None)
    text = house.session.get(house.link("preferences", ann)).text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Sons" in text
