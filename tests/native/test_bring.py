"""Segments made at the platforms by the real exporter: members, changes, what stays, and what a mistake says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from personalization.cli import app
from personalization.errors import ExportError, ProgramError
from personalization.rules import evaluation_query, program_rules
from personalization.sandbox import Sandbox, run_sandbox
from personalization.stages.export.native import setup_segments
from tests.export import hubspot_side, listmonk, salesforce_side
from tests.export.shop import DAY, Shop, address

SEGMENTS = """segments:
  keen:
    title: Likely and recent
    rule: purchase_score >= 0.02 AND recency_days <= 14
  not_old:
    title: Not known to be old
    rule: age_band <> '65+'
    unknown: include
  no_age:
    title: Who never told their age
    rule: NOT known(age_band)
"""
FIELDS = """fields:
  - {{name: {0}, column: campaign}}
  - {{name: {1}, column: purchase_score, type: number}}
  - {{name: {2}, column: recency_days, type: number, 'null': clear}}
  - {{name: {3}, column: age_band, 'null': clear}}
native_segments: [{4}]
"""
UPPER = ("CAMPAIGN", "SCORE", "RECENCY", "AGE")
PEOPLE = [(0, 3, "65+"), (1, 14, None), (2, 15, "25-34"), (3, None, "65+"), (4, 14, "25-34"), (5, 1, None)]
"""Number, recency_days, age_band; the score is number / 100."""


class Side:
    """One platform in these tests: what is in destinations.yaml, and who is in a segment there."""

    segments = ("keen", "not_old", "no_age")
    names = UPPER
    settings = ""

    def point(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None: ...

    def members(self, server: Sandbox, segment: str) -> set[str]:
        raise NotImplementedError


class Mailchimp(Side):
    segments = ("keen", "no_age")  # "or not known" beside what marks a contact is more than a flat list can say
    settings = (
        "platform: mailchimp\nbase_url: ${env:MAILCHIMP_BASE_URL}\napi_key: ${env:MAILCHIMP_API_KEY}\n"
        "list_id: demo000001\nmails: false\n"
    )

    def point(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAILCHIMP_BASE_URL", server.base_url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", server.api_key)

    def held(self, server: Sandbox) -> dict[str, dict[str, Any]]:
        found = server.call("GET", "/lists/demo000001/segments").json()["segments"]
        return {one["name"]: one for one in found}

    def members(self, server: Sandbox, segment: str) -> set[str]:
        number = self.held(server)[f"personalization: {segment}"]["id"]
        found = server.call("GET", f"/lists/demo000001/segments/{number}/members", params={"count": 1000}).json()
        return {one["email_address"] for one in found["members"]}


class Hubspot(Side):
    names = ("campaign", "score", "recency", "age")
    settings = hubspot_side.SETTINGS.partition("fields:")[0].strip() + "\n"

    def point(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUBSPOT_BASE_URL", server.base_url)
        monkeypatch.setenv("HUBSPOT_TOKEN", server.api_key)

    def members(self, server: Sandbox, segment: str) -> set[str]:
        path = f"/crm/lists/2026-03/object-type-id/0-1/name/personalization: {segment}"
        number = hubspot_side.call(server, "GET", path).json()["list"]["listId"]
        found = hubspot_side.call(server, "GET", f"/crm/lists/2026-03/{number}/memberships").json()["results"]
        emails = {one["id"]: email for email, one in hubspot_side.contacts(server).items()}
        return {emails[one["recordId"]] for one in found}


class Listmonk(Side):
    settings = listmonk.SETTINGS.strip() + "\n"
    shop: Shop

    def point(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        listmonk.point_at(server, monkeypatch)

    def members(self, server: Sandbox, segment: str) -> set[str]:
        """As a person asks: the query that `segments native` prints."""
        shown = cli(self.shop, "segments", "native", "place", segment, "--json")
        query = json.loads(shown)["place"][0]["definition"]
        answer = server.call("GET", "/subscribers", params={"query": query, "per_page": "all"}).json()
        return {one["email"] for one in answer["data"]["results"]}


class Salesforce(Side):
    settings = salesforce_side.SETTINGS.strip() + "\n"

    def point(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        salesforce_side.forget(server)
        monkeypatch.setenv("SALESFORCE_URL", server.url)
        monkeypatch.setenv("SALESFORCE_CLIENT_ID", "personalization")
        monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", server.api_key)

    def members(self, server: Sandbox, segment: str) -> set[str]:
        path = f"/data/v1/customobjectdata/key/personalization_{segment}/rowset"
        found = salesforce_side.call(server, "GET", path, params={"$pageSize": 1000}).json()["items"]
        return {one["keys"]["emailaddress"] for one in found}


SIDES = {"mailchimp": Mailchimp(), "hubspot": Hubspot(), "listmonk": Listmonk(), "salesforce": Salesforce()}


def cli(shop: Shop, *arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"PERSONALIZATION_HOME": str(shop.root), "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def profile(shop: Shop) -> None:
    table = pa.table(
        {
            "as_of": [DAY] * len(PEOPLE),
            "customer_token": [shop.customer(number) for number, _, _ in PEOPLE],
            "recency_days": pa.array([recency for _, recency, _ in PEOPLE], pa.int64()),
            "age_band": [age for _, _, age in PEOPLE],
            "purchase_score": [number / 100 for number, _, _ in PEOPLE],
        }
    )
    with shop.runtime.warehouse.connect() as session:
        session.execute("create schema if not exists features")
        with session.registered(_profile=table):
            session.execute(
                "create or replace table features.customer_profile as "
                "select * replace (as_of::date as as_of) from _profile"
            )


def open_shop(root: Path, side: Side, segments: tuple[str, ...]) -> Shop:
    shop = Shop.open(root, len(PEOPLE))
    (shop.root / "program" / "segments.yaml").write_text(SEGMENTS)
    if isinstance(side, Mailchimp):
        shop.edit("destinations", "  mailchimp:\n", "  unused:\n")
    shop.add_destination("place", side.settings + FIELDS.format(*side.names, ", ".join(segments)))
    profile(shop)
    if isinstance(side, Listmonk):
        side.shop = shop
    return shop


def ours(shop: Shop, segment: str) -> set[str]:
    """Members among the contacts of the destination, by our own evaluation."""
    rules = program_rules(shop.runtime.program).segments
    query = evaluation_query(
        {segment: rules[segment]}, shop.runtime.as_of(DAY), segments=rules, profile="features.customer_profile"
    )
    with shop.runtime.warehouse.connect() as session:
        found = {row[0] for row in session.rows(f'select customer_token from ({query}) where "{segment}"')}
    return {
        address(number)
        for number, row in shop.rows.items()
        if row["outcome"] == "send" and row["customer_token"] in found
    }


@pytest.fixture(
    scope="module",
    params=["mailchimp", *(pytest.param(name, marks=pytest.mark.slow) for name in SIDES if name != "mailchimp")],
)
def at(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Sandbox]]:
    with run_sandbox(request.param, batch_seconds=0.0) as running:
        yield SIDES[request.param], running


@pytest.fixture
def place(at: tuple[Side, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Side, Sandbox, Shop]:
    side, server = at
    server.reset()
    side.point(server, monkeypatch)
    return side, server, open_shop(tmp_path / "shop", side, side.segments)


def test_an_export_makes_them_and_their_members_are_ours(place: tuple[Side, Sandbox, Shop]) -> None:
    side, server, shop = place
    made = shop.export("place").made
    if not isinstance(side, Listmonk):
        assert [name for name in side.segments if not any(name in words for words in made)] == []
    for segment in side.segments:
        assert side.members(server, segment) == ours(shop, segment) != set(), segment
    # somebody leaves, and somebody's values change
    shop.rows[5]["outcome"] = "withheld"
    shop.rows[4]["purchase_score"] = 0.011
    shop.decide()
    with shop.runtime.warehouse.connect() as session:
        session.execute("update features.customer_profile set purchase_score = 0.011 where purchase_score = 0.04")
    assert shop.export("place").made == []
    for segment in side.segments:
        assert side.members(server, segment) == ours(shop, segment), segment
    # nothing new: not one request
    server.forget_requests()
    shop.export("place")
    assert server.request_log() == []


def test_a_changed_rule_changes_them_and_what_is_taken_out_stays(place: tuple[Side, Sandbox, Shop]) -> None:
    side, server, shop = place
    shop.export("place")
    shop.edit("segments", "recency_days <= 14", "recency_days <= 15")
    listed = ", ".join(side.segments)
    shop.edit("destinations", f"native_segments: [{listed}]", "native_segments: [keen]")
    said = cli(shop, "export", "setup", "place")
    assert side.members(server, "keen") == ours(shop, "keen")
    assert address(2) in side.members(server, "keen")
    again = json.loads(cli(shop, "export", "setup", "place", "--json"))
    assert again["made"] == []
    if isinstance(side, Listmonk):
        assert "segment 'keen': 3 subscribers of the list match its query" in said
        return
    assert "changed" in said
    assert any("no_age" in note and "left as it is" in note for note in again["notes"])
    assert side.members(server, "no_age") == ours(shop, "no_age")  # still there


@pytest.mark.parametrize("at", ["mailchimp"], indirect=True, scope="module")
def test_contacts_are_delivered_when_a_segment_is_refused(place: tuple[Side, Sandbox, Shop]) -> None:
    _, server, shop = place
    server.fault("status", path="/lists/demo000001/segments", method="POST", status=400, body={"title": "No"}, times=1)
    with pytest.raises(ExportError, match="contacts were delivered to 'place', but its segments"):
        shop.export("place")
    assert shop.books("place")[0].acked == len(PEOPLE)
    made = setup_segments(shop.runtime, "place", shop.runtime.as_of(DAY)).made
    assert made == ["segment 'personalization: keen'", "segment 'personalization: no_age'"]


@pytest.mark.parametrize("at", ["mailchimp"], indirect=True, scope="module")
def test_values_that_only_case_keeps_apart_are_not_left_to_the_platform(place: tuple[Side, Sandbox, Shop]) -> None:
    _, server, shop = place
    shop.edit("segments", "recency_days <= 14", "age_band = '25-34 years'")
    with shop.runtime.warehouse.connect() as session:
        session.execute("update features.customer_profile set age_band = '25-34 Years' where age_band = '25-34'")
    with pytest.raises(ExportError, match="age_band = '25-34 Years': only upper and lower case keep them apart"):
        shop.export("place")
    assert all(not request["path"].endswith("/segments") for request in server.request_log())


def test_one_that_cannot_be_expressed_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILCHIMP_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MAILCHIMP_API_KEY", "k-us1")
    shop = open_shop(tmp_path / "shop", SIDES["mailchimp"], ("keen", "not_old"))
    with pytest.raises(ProgramError) as raised:
        setup_segments(shop.runtime, "place", shop.runtime.as_of(DAY))
    (problem,) = raised.value.problems
    assert "Mailchimp can't express the segment 'not_old'" in problem.message
    assert problem.at
    assert problem.at.file.endswith("destinations.yaml")
    said = cli(shop, "segments", "native", "place")
    assert "place (mailchimp): 2 of 3 segments can be its own" in said
    assert '"field": "RECENCY", "op": "less", "value": "14.0001"' in said
    assert "note: numbers are compared as they are sent: with four decimals" in said
    assert "can't: `age_band <> '65+'` (" in said
    assert "a blank field is one of them" in said
    assert "in_segment('not_old')" in said
    checked = CliRunner().invoke(app, ["check"], env={"PERSONALIZATION_HOME": str(shop.root)})
    assert isinstance(checked.exception, ProgramError)
    assert "can't express the segment 'not_old'" in checked.exception.problems[0].message
