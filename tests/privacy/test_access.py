"""The copy a person gets: complete, and with nothing of anybody else (invariant 49)."""

from __future__ import annotations

import json
import stat

import pytest

from personalization.errors import DataError
from personalization.privacy.answer import make_copy, work_off
from tests.privacy.town import ANNA, ANNA_TWO, AT, BEN, BEN_VALUES, CANARY, NEW, OLD, OTHERS, SECOND, Town

PLANTED = [
    *CANARY.values(),
    *SECOND.values(),
    *("ORDER-CANARY", f"CONSENT-{ANNA}", f"CONSENT-{ANNA_TWO}", "SEGMENT-CANARY", "FUTURE-CANARY"),
    *("HOOK-CANARY", "BATCH-CANARY", "We may write to you about our canaries.", "recency_days"),
]
OF_OTHERS = [*BEN_VALUES.values(), "BEN-HOOK", "BEN-BATCH", f"CONSENT-{BEN}", *(f"{id_}@example.com" for id_ in OTHERS)]


@pytest.mark.parametrize("asked", [OLD, CANARY["phone"], ANNA_TWO])
def test_everything_planted_is_in_the_copy_and_nothing_of_others(town: Town, asked: str) -> None:
    copy = make_copy(town.runtime, asked, at=AT)
    text = (copy.folder / "data.json").read_text(encoding="utf-8")
    assert [value for value in PLANTED if json.dumps(value, ensure_ascii=False)[1:-1] not in text] == []
    assert [value for value in OF_OTHERS if value in text] == []
    assert [id_ for id_ in (BEN, *OTHERS) if town.token(id_) in text] == []


def test_the_page_shows_what_the_data_say(town: Town) -> None:
    page = (make_copy(town.runtime, NEW, at=AT).folder / "index.html").read_text(encoding="utf-8")
    for value in PLANTED:
        assert value.replace("'", "&#39;") in page, value
    assert [value for value in OF_OTHERS if value in page] == []
    assert "<script" not in page
    assert "http" not in page, "nothing is loaded from elsewhere"


def test_what_every_platform_holds_is_in_it(town: Town) -> None:
    copy = json.loads((make_copy(town.runtime, NEW, at=AT).folder / "data.json").read_text())
    assert {row["destination"] for row in copy["ledger"]["acknowledged"]} == {"file"}
    assert "acked" in {row["state"] for row in copy["ledger"]["outbox"]}
    assert [row["state"] for row in copy["agreed"]] == ["granted"]
    assert {row["title"] for row in copy["purposes"]} >= {"Names, addresses and numbers", "Orders and what was in them"}


def test_platforms_are_asked_what_they_hold(town: Town) -> None:
    town.export("mailchimp")
    copy = make_copy(town.runtime, NEW, at=AT)
    held = json.loads((copy.folder / "data.json").read_text())["held_by_platforms"]
    (member,) = held["mailchimp"]
    own = {NEW.lower(), OLD, SECOND["email"]}  # which of them a person is mailed under depends on the keys
    assert member["email_address"].lower() in own
    assert member["status"] == "subscribed"
    assert {row["email"].lower() for row in held["file"]} <= own
    assert "What e-mail platforms hold about you" in (copy.folder / "index.html").read_text()
    assert copy.request.status == "answered"


def test_a_platform_that_can_not_be_asked_leaves_the_request_open(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.delenv("MAILCHIMP_API_KEY")
        copy = make_copy(town.runtime, NEW, at=AT)
        assert copy.request.is_open
        assert list(copy.not_read) == ["mailchimp"]
        assert "it is not complete" in (copy.folder / "index.html").read_text()
        (worked,) = work_off(town.runtime, AT)
        assert worked.waits == "could not be read: mailchimp"
    (worked,) = work_off(town.runtime, AT)
    assert worked.request.status == "answered"


def test_only_the_owner_can_read_it(town: Town) -> None:
    folder = make_copy(town.runtime, NEW, at=AT).folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_somebody_unknown_gets_an_answer_too(town: Town) -> None:
    copy = make_copy(town.runtime, "nobody@example.com", at=AT)
    assert copy.request.outcome == "nothing was held"
    assert "We hold no name, address or telephone number of yours." in (copy.folder / "index.html").read_text()


def test_a_request_from_the_preference_page_is_answered_by_itself(town: Town) -> None:
    runtime = town.runtime
    token = runtime.keys.token("email", "vogel@example.net")
    asked = runtime.ledger.requests.open("access", token, "preference page", AT)
    erasure = runtime.ledger.requests.open("erasure", town.token(BEN), "preference page", AT)
    done = {worked.request.request_id: worked for worked in work_off(runtime, AT)}
    assert done[asked].request.status == "answered"
    assert NEW in (runtime.workspace.privacy / asked / "data.json").read_text()
    assert done[erasure].waits == "waits for approval: personalization privacy approve"
    assert runtime.ledger.requests.get(erasure).is_open


def test_wrong_input(town: Town) -> None:
    with pytest.raises(DataError, match="this is not a valid e-mail address"):
        make_copy(town.runtime, "anna@", at=AT)
    with pytest.raises(DataError, match="nobody was asked about"):
        make_copy(town.runtime, "  ", at=AT)
