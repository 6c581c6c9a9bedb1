"""Audiences as Mailchimp tags: each campaign's contacts carry its tag, and nobody else of ours does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.errors import ExportError, ProgramError
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.registry import check_fields
from personalization.stages.export.exporter import setup_destination
from tests.export.killable import Killable, killable
from tests.export.shop import DAY, Shop, address, when_requested

TAGS = "platform: mailchimp\n    tags: {december: In December, favourites: Favourites}"


@pytest.fixture
def tagged(shop: Shop, sandbox: Sandbox) -> Shop:
    shop.edit("destinations", "platform: mailchimp", TAGS)
    return shop


@pytest.fixture(scope="module")
def killer() -> Iterator[Killable]:
    with killable() as process:
        yield process


def carriers(sandbox: Sandbox) -> dict[str, set[str]]:
    """By tag who carries it, whatever their status."""
    found: dict[str, set[str]] = {}
    segments = f"/lists/{sandbox.list_id}/segments"
    for segment in sandbox.call("GET", segments).json()["segments"]:
        found[segment["name"]], offset = set(), 0
        while True:
            query = {"count": 1000, "offset": offset, "include_unsubscribed": "true", "include_cleaned": "true"}
            page = sandbox.call("GET", f"{segments}/{segment['id']}/members", params=query).json()["members"]
            found[segment["name"]] |= {member["email_address"] for member in page}
            offset += 1000
            if len(page) < 1000:
                break
    return found


def wanted(shop: Shop) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"In December": set(), "Favourites": set()}
    names = {"december": "In December", "favourites": "Favourites"}
    for email, values in shop.wanted().items():
        found[names[values["CAMPAIGN"]]].add(email)
    return found


def test_each_campaign_s_contacts_carry_its_tag(tagged: Shop, sandbox: Sandbox) -> None:
    exported = tagged.export()
    assert carriers(sandbox) == wanted(tagged)
    assert any("In December" in words for words in exported.made)


def test_nothing_changed_makes_no_request(tagged: Shop, sandbox: Sandbox) -> None:
    tagged.export()
    sandbox.forget_requests()
    assert tagged.export().books.unchanged == 8
    assert sandbox.request_log() == []


def test_who_changes_the_campaign_changes_the_tag(tagged: Shop, sandbox: Sandbox) -> None:
    tagged.export()
    moved = next(row for row in tagged.rows.values() if row["campaign"] == "december")
    moved["campaign"] = "favourites"
    tagged.decide()
    tagged.export()
    assert carriers(sandbox) == wanted(tagged)


def test_who_leaves_or_opts_out_loses_it(tagged: Shop, sandbox: Sandbox) -> None:
    tagged.export()
    tagged.rows[2]["outcome"] = "withheld"
    tagged.decide()
    tagged.withdraw(3)
    tagged.export()
    assert not {address(2), address(3)} & set.union(*carriers(sandbox).values())
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"


def test_who_opts_out_after_the_delivery_gets_no_tag(tagged: Shop, sandbox: Sandbox) -> None:
    """A tag can start an automation, so consent is looked at once more."""
    segments = f"/lists/{sandbox.list_id}/segments"
    sandbox.fault("slow", path=segments, method="POST", seconds=1.0)  # time enough for it
    with when_requested(sandbox, segments, lambda: tagged.withdraw(3)):
        exported = tagged.export()
    assert exported.books.acked == 8, "delivered before"
    tags = carriers(sandbox)
    assert address(3) not in set.union(*tags.values())
    assert set.union(*tags.values()) == {address(number) for number in range(8)} - {address(3)}


def test_contacts_that_others_tagged_are_left_alone(tagged: Shop, sandbox: Sandbox) -> None:
    path = f"/lists/{sandbox.list_id}/members"
    friend = {"email_address": "friend@example.com", "status": "subscribed", "tags": ["In December"]}
    assert sandbox.call("POST", path, json=friend).ok
    tagged.export()
    assert carriers(sandbox)["In December"] == wanted(tagged)["In December"] | {"friend@example.com"}


def test_a_tag_subscribes_nobody(tagged: Shop, sandbox: Sandbox) -> None:
    tagged.export()
    member = f"/lists/{sandbox.list_id}/members/{address(4)}"
    assert sandbox.call("PATCH", member, json={"status": "unsubscribed"}).ok
    tagged.rows[4]["offer"] = "POINTS2"
    tagged.decide()
    tagged.export()
    assert sandbox.members()[address(4)]["status"] == "unsubscribed"


@pytest.mark.parametrize("crash_at", ["export.before_tags", "export.after_close"])
def test_killed_before_its_tags_and_run_again(tagged: Shop, sandbox: Sandbox, killer: Killable, crash_at: str) -> None:
    assert killer.export(tagged.root, "mailchimp", DAY, crash_at) == -signal.SIGKILL
    assert carriers(sandbox) == {}
    assert tagged.export().books.planned == 0
    assert carriers(sandbox) == wanted(tagged)


def test_setup_lets_the_next_run_look_again(tagged: Shop, sandbox: Sandbox) -> None:
    tagged.export()
    lost = sorted(wanted(tagged)["In December"])[0]
    body = {"tags": [{"name": "In December", "status": "inactive"}]}
    assert sandbox.call("POST", f"/lists/{sandbox.list_id}/members/{lost}/tags", json=body).ok
    setup_destination(tagged.runtime, "mailchimp")
    assert tagged.export().books.planned == 0
    assert carriers(sandbox) == wanted(tagged)


def test_a_refusal_is_named_and_healed_by_the_next_run(tagged: Shop, sandbox: Sandbox) -> None:
    sandbox.fault("status", path="/lists/.*/segments.*", method="POST", status=403, body={"title": "Forbidden"})
    with pytest.raises(ExportError, match="contacts were delivered to 'mailchimp', but its tags"):
        tagged.export()
    tagged.export()
    assert carriers(sandbox) == wanted(tagged)


def test_more_than_five_hundred(tmp_path: Path, sandbox: Sandbox) -> None:
    shop = Shop.open(tmp_path / "shop", 1_100)
    shop.edit("destinations", "platform: mailchimp", TAGS)
    shop.export()
    assert carriers(sandbox) == wanted(shop)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("{decembre: X}", "there is no campaign 'decembre'"),
        ("{december: X, favourites: X}", "the tag 'X' is another campaign's already"),
    ],
)
def test_a_tag_that_can_t_be(shop: Shop, tags: str, said: str) -> None:
    shop.edit("destinations", "platform: mailchimp", f"platform: mailchimp\n    tags: {tags}")
    with pytest.raises(ProgramError) as refused:
        check_fields(shop.runtime.program, "mailchimp")
    assert said in str(refused.value.problems[0])
