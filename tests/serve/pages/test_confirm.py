"""The second step of a double opt-in: shown by GET, taken by POST, once, and only in time (invariant 45)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.serve.pages.house import JUNE, House

LETTER = "email.newsletter"


@pytest.fixture
def link(house: House, ann: str) -> str:
    """Ann asked for the letter an hour ago; the link that was sent to her."""
    house.say(ann, "grant", LETTER, at=JUNE - timedelta(hours=1), link="form-77")
    return house.link("confirm", ann, "form-77", expires_at=JUNE + timedelta(days=7))


def test_nothing_is_granted_before(house: House, ann: str, link: str) -> None:
    before = house.count()
    for method in ("GET", "HEAD"):
        assert house.session.request(method, link).status_code == 200
    assert house.count() == before
    assert LETTER not in house.states(ann)
    text = house.session.get(link).text
    assert "Monthly recipe letter" in text
    assert "We may send you our letter." in text
    assert "a•••@example.com" in text


def test_the_button_confirms_once(house: House, ann: str, link: str) -> None:
    answer = house.session.post(link)
    assert answer.status_code == 200
    assert "Confirmed" in answer.text
    assert house.states(ann)[LETTER] == "granted"
    [event] = house.events(ann)
    assert (event.action, event.method, event.notice_version, event.locale) == (
        "confirm",
        "confirmation page",
        "1",
        "en",
    )
    assert event.notice_sha256
    assert (event.evidence or {})["double_opt_in_id"] == "form-77"
    for method in ("POST", "GET"):
        assert "Confirmed" in house.session.request(method, link).text
    assert len(house.events(ann)) == 1


def test_it_does_not_bring_back_who_left_since(house: House, ann: str, link: str) -> None:
    house.session.post(link)
    house.now += timedelta(hours=1)
    house.session.post(house.link("unsubscribe", ann), data={"List-Unsubscribe": "One-Click"})
    house.now += timedelta(hours=1)
    for method in ("GET", "POST"):
        assert house.session.request(method, link).status_code == 410
    assert house.states(ann)[LETTER] == "withdrawn"


def test_an_opt_out_between_the_two_steps_stands(house: House, ann: str, link: str) -> None:
    house.session.post(house.link("unsubscribe", ann), data={"List-Unsubscribe": "One-Click"})
    house.now += timedelta(hours=1)
    assert house.session.post(link).status_code == 410
    assert house.states(ann)[LETTER] == "withdrawn"


@pytest.mark.parametrize("own_expiry", [True, False])
def test_too_late(house: House, ann: str, own_expiry: bool) -> None:
    """By the link's own time, and by the purpose's, should the link have none."""
    house.say(ann, "grant", LETTER, at=JUNE, link="form-78")
    link = house.link("confirm", ann, "form-78", expires_at=JUNE + timedelta(days=7) if own_expiry else None)
    house.now = JUNE + timedelta(days=7, seconds=1)
    assert house.session.post(link).status_code == 410
    assert LETTER not in house.states(ann)
    house.now = JUNE + timedelta(days=7)
    assert house.session.post(link).status_code == 200
    assert house.states(ann)[LETTER] == "granted"


def test_a_link_to_nothing_that_was_asked_for(house: House, ann: str) -> None:
    for token, scope in ((ann, "form-99"), (house.keys.token("customer", "bob"), "form-77")):
        assert house.session.post(house.link("confirm", token, scope)).status_code == 404
    assert house.events(ann) == []


def test_the_newest_request_is_the_one_to_confirm(house: House, ann: str, link: str) -> None:
    house.say(ann, "grant", LETTER, at=JUNE - timedelta(minutes=1), link="form-79")
    assert house.session.post(link).status_code == 410
    assert house.session.post(house.link("confirm", ann, "form-79")).status_code == 200
    assert house.states(ann)[LETTER] == "granted"
