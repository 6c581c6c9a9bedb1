"""Segments of the sandboxes refuse what the platforms' documents refuse, and answer for who meets them now."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.sandbox.answers import Problem
from personalization.sandbox.hubspot_filters import check_branch
from personalization.sandbox.hubspot_problems import Refused
from personalization.sandbox.mailchimp_account import Account
from personalization.sandbox.salesforce_data import DataExtensions
from personalization.sandbox.salesforce_data import Refused as RefusedBySalesforce
from personalization.sandbox.salesforce_queries import Queries
from personalization.sandbox.store import Store


def merge(op: str, value: Any = None, field: str = "CITY", kind: str = "TextMerge") -> dict[str, Any]:
    made = {"condition_type": kind, "field": field, "op": op}
    return made if value is None else {**made, "value": value}


@pytest.fixture
def account() -> Account:
    account = Account(Store(), "l")
    for tag, kind in (("CITY", "text"), ("SCORE", "number"), ("BORN", "date")):
        account.fields.create({"tag": tag, "name": tag, "type": kind})
    for name, values in (("a", {"CITY": "Bonn", "SCORE": 2}), ("b", {"BORN": "2000-01-31"}), ("c", {})):
        body = {"email_address": f"{name}@example.com", "status_if_new": "subscribed", "merge_fields": values}
        account.members.upsert(f"{name}@example.com", body)
    return account


def members(account: Account, *conditions: dict[str, Any], match: str = "all") -> str:
    made = account.segments.create({"name": "s", "options": {"match": match, "conditions": list(conditions)}})
    found = account.segments.members(str(made["id"]))
    account.segments.delete(str(made["id"]))
    assert made["member_count"] == len(found)
    return "".join(sorted(member["email_address"][0] for member in found))


def test_mailchimp_members(account: Account) -> None:
    born = merge("blank_not", field="BORN", kind="DateMerge")
    assert members(account, merge("is", "bonn")) == "a"
    assert members(account, merge("blank")) == "bc"
    assert members(account, merge("greater", "1.5", "SCORE"), born, match="any") == "ab"
    assert (
        members(
            account,
            merge("less", "2000-02-01", "BORN", "DateMerge"),
            born,
        )
        == "b"
    )
    account.members.change("a@example.com", {"status": "unsubscribed"})
    assert members(account, merge("is", "Bonn")) == ""


def test_what_mailchimp_does_not_say_can_be_read_both_ways(account: Account) -> None:
    account.segments.blanks_pass = account.segments.ignores_case = True
    assert (members(account, merge("not", "Ulm")), members(account, merge("less", "1", "SCORE"))) == ("abc", "bc")
    account.segments.blanks_pass = account.segments.ignores_case = False
    assert (members(account, merge("not", "Ulm")), members(account, merge("less", "1", "SCORE"))) == ("a", "")
    assert members(account, merge("is", "bonn")) == ""


@pytest.mark.parametrize(
    "options",
    [
        {"match": "none", "conditions": [merge("is", "a")]},
        {"match": "all", "conditions": []},
        {"match": "all", "conditions": [merge("is", "a")] * 6},
        {"match": "all", "conditions": [merge("within", "3")]},
        {"match": "all", "conditions": [merge("is", "a", "TOWN")]},
        {"match": "all", "conditions": [merge("is", "2000-01-01", "BORN")]},
        {"match": "all", "conditions": [merge("is", "x", "SCORE")]},
        {"match": "all", "conditions": [merge("is", "")]},
        {"match": "all", "conditions": [{"match": "any", "conditions": []}]},
    ],
)
def test_mailchimp_refuses(account: Account, options: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        account.segments.create({"name": "s", "options": options})


def branch(kind: str, filters: list[Any] = [], branches: list[Any] = []) -> dict[str, Any]:  # noqa: B006
    return {"filterBranchType": kind, "filterBranchOperator": kind, "filters": filters, "filterBranches": branches}


def number(**operation: Any) -> dict[str, Any]:
    wanted = {"operationType": "NUMBER", "operator": "IS_EQUAL_TO", "value": 1.0, "includeObjectsWithNoValueSet": False}
    return {"filterType": "PROPERTY", "property": "score", "operation": {**wanted, **operation}}


def test_hubspot_refuses_what_is_no_or_of_ands() -> None:
    properties = {"score": {"type": "number"}, "city": {"type": "string"}}
    check_branch(branch("OR", branches=[branch("AND", [number()])]), properties)
    for wrong in (
        branch("AND", [number()]),
        branch("OR", [number()]),
        branch("OR", branches=[branch("OR", [number()])]),
        branch("OR", branches=[branch("AND", [number()], [branch("AND", [number()])])]),
        branch("OR", branches=[branch("AND", [number(value="1")])]),
        branch("OR", branches=[branch("AND", [number(operator="IS_MORE")])]),
        branch("OR", branches=[branch("AND", [number(includeObjectsWithNoValueSet=None)])]),
        branch("OR", branches=[branch("AND", [{**number(), "property": "city"}])]),
        branch("OR", branches=[branch("AND", [{**number(), "property": "town"}])]),
        branch("OR", branches=[branch("AND", [number()] * 251)]),
    ):
        with pytest.raises(Refused):
            check_branch(wrong, properties)


def test_salesforce_runs_only_what_selects_from_a_data_extension() -> None:
    store = Store()
    data = DataExtensions(store)
    rest = {"isNullable": True, "isHidden": False, "isReadOnly": False, "mustOverride": False, "length": 50}
    fields = [
        {"name": "Email", "type": "EmailAddress", "ordinal": 0, "isPrimaryKey": True, **rest},
        {"name": "Note", "type": "Text", "ordinal": 1, "isPrimaryKey": False, **rest},
    ]
    for key in ("people", "members"):
        data.create({"name": key, "key": key, "categoryId": 1, "fields": fields})
    for name, note in (("a", "NVARCHAR(9) N'x' [Note]"), ("b", "y"), ("c", None)):
        data.upsert(data.by_key("people") or {}, {"Email": f"{name}@example.com", "Note": note})
    queries = Queries(store, data)
    body = {"name": "q", "key": "q", "targetKey": "members", "targetName": "members", "targetUpdateTypeId": 0}
    with pytest.raises(RefusedBySalesforce, match="categoryId is required"):
        queries.create({**body, "queryText": "SELECT [Email] FROM [people]"})
    body["categoryId"] = 1
    text = "SELECT [Email] FROM [people] WHERE [Note] = N'NVARCHAR(9) N''x'' [Note]'"
    made = queries.create({**body, "queryText": text}).body
    for wanted, condition in (
        (["a@example.com"], text),
        (["b@example.com"], "SELECT [Email] FROM [people] WHERE [Note] = N'Y'"),
    ):
        queries.change(made["queryDefinitionId"], {"queryText": condition})
        queries.start(made["queryDefinitionId"], {"targetKey": "members"})  # says OK, and runs nothing
        queries.start(made["queryDefinitionId"], None)
        assert [row["Email"] for row in store.all(f"rows {(data.by_key('members') or {})['id']}").values()] == wanted
    for wrong in (
        "SELECT 1",
        "DELETE FROM [people]",
        "SELECT [Email] FROM [people]; DROP TABLE people",
        "SELECT [x] FROM [y]",
    ):
        with pytest.raises(RefusedBySalesforce):
            queries.create({**body, "key": "other", "queryText": wrong})
