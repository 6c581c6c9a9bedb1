"""What each platform is told, and the reasons when it can't be: in words, with the clause and its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlglot

from personalization.as_of import AsOf
from personalization.check import problems_of
from personalization.program import Program, load_program
from personalization.rules import program_rules
from personalization.rules import tree as t
from personalization.rules.native import Native, in_words, native_segment
from personalization.rules.native import formula as f
from personalization.rules.native import normal_form as n
from personalization.rules.native.reasons import Inexpressible
from personalization.rules.parse import Rule
from personalization.stages.export.adapters.registry import mapping_version
from tests.export.shop import FILES

DAY = AsOf.parse("2024-03-01")
SETTINGS = {
    "mailchimp": "platform: mailchimp, api_key: k, list_id: l",
    "hubspot": "platform: hubspot, access_token: t, subscription_ids: [1]",
    "listmonk": "platform: listmonk, base_url: u, api_user: a, api_token: t, list: 1",
    "salesforce": "platform: salesforce, subdomain: s, client_id: i, client_secret: s, data_extension: d",
    "activecampaign": "platform: activecampaign, base_url: u, api_token: t, list_id: 1",
    "csv": "platform: csv",
}
FIELDS = {
    "CAMPAIGN": "column: campaign",
    "SCORE": "column: purchase_score, type: number",
    "RECENCY": "column: recency_days, type: number, 'null': clear",
    "AGE": "column: age_band, 'null': clear",
    "CITY": "column: country",
    "ORDERS": "column: orders_84d, 'null': clear",
}


@dataclass
class Written:
    """A program in a folder, with one destination of each platform."""

    root: Path

    def write(self, rules: dict[str, str], more: str = "", named: str = "", fields: dict[str, str] = FIELDS) -> Program:
        """`more` is added to every segment, `named` to every destination."""
        for name in ("program", "sources", "consent", "content"):
            (self.root / f"{name}.yaml").write_text(FILES[name])
        segments = "".join(
            f"  {name}:\n    title: {name}\n    rule: {json.dumps(rule)}\n{more}" for name, rule in rules.items()
        )
        (self.root / "segments.yaml").write_text(f"segments:\n{segments}")
        places = "destinations:\n"
        for platform, settings in SETTINGS.items():
            lower = str.lower if platform == "hubspot" else str
            listed = ", ".join(f"{{name: {lower(name)}, {rest}}}" for name, rest in fields.items())
            places += f"  {platform}: {{{settings}, fields: [{listed}]{named}}}\n"
        (self.root / "destinations.yaml").write_text(places)
        return load_program(self.root)

    def native(self, platform: str, rule: str, **options: Any) -> tuple[Native, list[str]]:
        """A rule at a platform, and the reasons why not in words."""
        program = self.write({"s": rule}, **options)
        rules = program_rules(program).segments
        found = native_segment(program, platform, "s", DAY, rules)
        return found, [in_words(program, reason, rules) for reason in found.reasons]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def text(field: str, op: str, *value: str) -> dict[str, str]:
    made = {"condition_type": "TextMerge", "field": field, "op": op}
    return {**made, "value": value[0]} if value else made


@pytest.mark.parametrize(
    ("rule", "match", "conditions"),
    [
        # greater and less are all there is; where a blank might count as 0, it must not be blank
        (
            "recency_days <= 14 AND purchase_score >= 0.7",
            "all",
            [text("RECENCY", "less", "14.0001"), text("SCORE", "greater", "0.6999"), text("RECENCY", "blank_not")],
        ),
        (
            "purchase_score > 0.7 OR age_band = '65+'",
            "any",
            [text("SCORE", "greater", "0.7"), text("AGE", "is", "65+")],
        ),
        ("age_band IN ('A', 'B')", "any", [text("AGE", "is", "A"), text("AGE", "is", "B")]),
        ("age_band LIKE '2%' ", "all", [text("AGE", "starts", "2")]),
        ("age_band <> 'A'", "all", [text("AGE", "not", "A"), text("AGE", "blank_not")]),
        ("NOT known(age_band)", "all", [text("AGE", "blank"), text("CAMPAIGN", "blank_not")]),
        ("TRUE", "all", [text("CAMPAIGN", "blank_not")]),
    ],
)
def test_mailchimp(written: Written, rule: str, match: str, conditions: list[dict[str, str]]) -> None:
    found, reasons = written.native("mailchimp", rule)
    assert not reasons
    assert found.content == {"match": match, "conditions": conditions}


def test_hubspot(written: Written) -> None:
    found, _ = written.native("hubspot", "purchase_score >= 0.7 AND (age_band = 'A' OR NOT known(age_band))")
    assert isinstance(found.content, dict)
    first, second = (branch["filters"] for branch in found.content["filterBranches"])
    number = {"operationType": "NUMBER", "operator": "IS_GREATER_THAN_OR_EQUAL_TO", "value": 0.7}
    score = {
        "filterType": "PROPERTY",
        "property": "score",
        "operation": {**number, "includeObjectsWithNoValueSet": False},
    }
    assert first[0] == second[0] == score
    assert first[1]["operation"]["values"] == ["A"]
    assert second[1]["operation"]["operator"] == "IS_UNKNOWN"


def test_what_is_included_when_unknown_is_one_filter_at_hubspot(written: Written) -> None:
    rule = " AND ".join(f"purchase_score <> {number / 100}" for number in range(30))
    found, _ = written.native("hubspot", rule, more="    unknown: include\n")
    assert isinstance(found.content, dict)
    (branch,) = found.content["filterBranches"]
    assert all(one["operation"]["includeObjectsWithNoValueSet"] for one in branch["filters"][:-1])
    assert branch["filters"][-1]["property"] == "campaign"  # keeps out whoever is not ours


def test_a_segment_of_nobody_is_one_today(written: Written) -> None:
    """A season is over on most days, and must not stop exports then."""
    season = "as_of >= '2030-12-01' AND purchase_score > 0.5"
    found, _ = written.native("mailchimp", season)
    assert found.rolling
    assert found.content == {"match": "all", "conditions": [text("CAMPAIGN", "blank"), text("CAMPAIGN", "blank_not")]}
    found, _ = written.native("hubspot", season)
    assert isinstance(found.content, dict)
    operators = [one["operation"]["operator"] for one in found.content["filterBranches"][0]["filters"]]
    assert operators == ["IS_KNOWN", "IS_UNKNOWN"]


def test_days_of_each_customer_are_refused() -> None:
    @dataclass(frozen=True)
    class LocalDay(t.DayBefore):
        local: bool = True

    rule = Rule("", t.Comparison(">", t.FieldRef("joined", "date"), LocalDay(7)))
    with pytest.raises(Inexpressible) as raised:
        n.normal_form("s", {"s": rule}, frozenset(), DAY)
    assert raised.value.reasons[0].kind == "platform"


def test_sql(written: Written) -> None:
    rule = "recency_days <= 14 AND age_band <> 'it''s'"
    listmonk, _ = written.native("listmonk", rule)
    attribute = "subscribers.attribs->'personalization'->>"
    assert listmonk.content == (
        f"{attribute}'external_id' IS NOT NULL AND ({attribute}'RECENCY')::FLOAT <= 14 AND {attribute}'AGE' <> 'it''s'"
    )
    salesforce, _ = written.native("salesforce", rule)
    assert isinstance(salesforce.content, str)
    assert salesforce.content.startswith("([OptedOut] IS NULL OR [OptedOut] = 0) AND ([CAMPAIGN] IS NOT NULL AND ")
    assert "[RECENCY] <= 14 AND ([AGE] <> N'it''s' AND ([AGE] IS NOT NULL" in salesforce.content


INJECTIONS = ("x' OR 1=1 --", "'; DROP TABLE subscribers; --", "\\' OR ''='", "] UNION SELECT 1 --", "]] --", "/* ~%_[")


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize(("platform", "dialect"), [("listmonk", "postgres"), ("salesforce", "tsql")])
@pytest.mark.parametrize("sign", ["=", "LIKE"])
def test_no_constant_becomes_sql(written: Written, platform: str, dialect: str, sign: str, value: str) -> None:
    """The SQL has the same parts whatever the constant; the constant is one text, and reads back as it was written."""
    read = []
    for constant in (value, "harmless"):
        escaped = constant.replace("'", "''")
        found, _ = written.native(platform, f"age_band {sign} '{escaped}'")
        read.append(sqlglot.tokenize(str(found.content), read=dialect))
    ours, harmless = read
    assert [token.token_type for token in ours] == [token.token_type for token in harmless]
    texts = [one.text for one, other in zip(ours, harmless, strict=True) if one.text != other.text]
    asked = value if sign == "=" else value.replace("~", "~~")
    asked = asked.replace("[", "~[") if sign == "LIKE" and platform == "salesforce" else asked
    assert texts == [asked]


@pytest.mark.parametrize(
    ("platform", "rule", "kind", "words"),
    [
        ("mailchimp", "did('open')", "behaviour", "`did('open')` ({}segments.yaml:4:12): it looks at what people did"),
        ("hubspot", "days_since('purchase') > 3 OR purchase_score > 1", "behaviour", "`days_since('purchase') > 3`"),
        ("listmonk", "purchase_score * 2 > 1", "arithmetic", "`(purchase_score * 2) > 1`"),
        ("salesforce", "purchase_score > recency_days", "two_fields", "compares two fields"),
        ("hubspot", "age_band LIKE '%x%'", "pattern", "documented for words"),
        ("mailchimp", "NOT age_band LIKE 'x%'", "pattern", "does not begin or end with"),
        ("mailchimp", "age_band LIKE 'x_'", "pattern", "looks like 'x_'"),
        ("listmonk", "spend_28d > 1", "not_sent", "the destination is not sent spend_28d"),
        ("listmonk", "orders_84d > 1", "not_sent", "orders_84d is sent as text and must be number"),
        ("listmonk", "country = 'DE'", "old_values", "keeps the old country"),
        ("salesforce", "purchase_band = 'x'", "not_sent", "can't be sent purchase_band"),
        ("mailchimp", "purchase_score > 1 AND (age_band = 'A' OR age_band = 'B')", "shape", "both AND and OR"),
        ("mailchimp", "recency_days < 9 OR purchase_score > 1", "shape", "`recency_days < 9`"),
        ("mailchimp", "NOT known(age_band) OR purchase_score > 1", "shape", "a blank field is one of them"),
        ("mailchimp", "age_band NOT IN ('A', 'B', 'C', 'D', 'E')", "size", "makes 6 conditions"),
        ("hubspot", "recency_days > 1e20", "platform", "not below"),
        ("mailchimp", "age_band = ''", "platform", "an empty text is no value at Mailchimp"),
        ("activecampaign", "purchase_score > 1", "platform", "over tags only"),
        ("csv", "purchase_score > 1", "platform", "files have no segments"),
    ],
)
def test_reasons(written: Written, platform: str, rule: str, kind: str, words: str) -> None:
    if kind == "not_sent" and "purchase_band" in rule:
        rule = "known(purchase_band)"
    found, reasons = written.native(platform, rule)
    assert found.content is None
    assert found.reasons[0].kind == kind
    assert words.format(f"{written.root}/") in reasons[0]


def test_every_clause_in_the_way_is_named_also_in_other_segments(written: Written) -> None:
    program = written.write({"a": "did('open') AND purchase_score > 0", "b": "in_segment('a') OR spend_28d / 2 > 1"})
    rules = program_rules(program).segments
    found = native_segment(program, "hubspot", "b", DAY, rules)
    assert [(reason.kind, reason.segment) for reason in found.reasons] == [("behaviour", "a"), ("arithmetic", "b")]
    assert "in_segment('b')" in found.reasons[0].advice


def test_a_segment_that_can_be_held_can_not_be_native_nor_what_refers_to_it(written: Written) -> None:
    found, reasons = written.native("hubspot", "purchase_score > 1", more="    min_completeness: 0.5\n")
    assert found.reasons[0].kind == "held"
    assert "`min_completeness`" in reasons[0]


def test_without_a_campaign_field_nothing_tells_contacts_from_former_ones(written: Written) -> None:
    fields = {name: rest for name, rest in FIELDS.items() if name != "CAMPAIGN"}
    for platform in ("mailchimp", "hubspot", "salesforce"):
        found, _ = written.native(platform, "NOT known(age_band)", fields=fields)
        assert "column: campaign" in found.reasons[0].advice
        assert written.native(platform, "age_band = 'A'", fields=fields)[0].content
    assert written.native("listmonk", "NOT known(age_band)", fields=fields)[0].content


def test_a_block_of_the_name_of_a_field_is_not_the_field(written: Written) -> None:
    program = written.write({"s": "age_band = 'A'"})
    program.blocks["age_band"] = program.blocks["hero"]
    found = native_segment(program, "listmonk", "s", DAY, program_rules(program).segments)
    assert found.reasons[0].kind == "not_sent"


def test_dates_counted_from_today_move() -> None:
    rule = Rule("", t.Comparison(">", t.FieldRef("joined", "date"), t.DayBefore(7)))
    normal = n.normal_form("s", {"s": rule}, frozenset(), DAY)
    assert normal.rolling
    assert normal.formula == f.Test("joined", "date", ">", (AsOf.parse("2024-02-23").day,))


def test_nodes_that_are_not_known_are_refused() -> None:
    """The language grows: what is new in it is not expressible until somebody says how."""
    behaviour = t.Behaviour("open")
    rule = Rule("", t.And((t.Did(behaviour), t.Known(behaviour), t.Comparison(">", behaviour, t.DayBefore(1)))))
    with pytest.raises(Inexpressible) as raised:
        n.normal_form("s", {"s": rule}, frozenset(), DAY)
    assert [reason.kind for reason in raised.value.reasons] == ["behaviour"] * 3


def test_growing_rules_end(written: Written) -> None:
    """Segments that refer to each other twice double with every step; ANDs of ORs multiply."""
    rules = {"s0": "purchase_score > 0.5"}
    for number in range(1, 15):
        rules[f"s{number}"] = f"in_segment('s{number - 1}') OR NOT in_segment('s{number - 1}')"
    program = written.write(rules)
    found = native_segment(program, "listmonk", "s14", DAY, program_rules(program).segments)
    assert found.reasons[0].kind == "size"
    wide = " AND ".join(f"(purchase_score > {number / 100} OR recency_days < {number})" for number in range(12))
    assert written.native("hubspot", wide)[0].reasons[0].kind == "size"
    assert written.native("listmonk", wide)[0].content


def test_check_names_each_mistake_at_its_place(written: Written) -> None:
    program = written.write(
        {"good": "purchase_score > 0.5", "bad": "did('open')"}, named=", native_segments: [good, bad, goood, good]"
    )
    problems = [p for p in problems_of(program) if "destinations.mailchimp" in p.message]
    assert [p.message.removeprefix("destinations.mailchimp: ").split(" (")[0] for p in problems] == [
        "Mailchimp can't express the segment 'bad': `did('open')`",
        "unknown segment 'goood'",
        "the segment 'good' is listed twice",
    ]
    assert "did you mean 'good'?" in problems[1].message
    assert all(p.at and p.at.file.endswith("destinations.yaml") and p.at.line == 2 for p in problems)
    assert len({p.at.column for p in problems if p.at}) == 3
    assert "in_segment('bad')" in (problems[0].hint or "")
    others = [p.message for p in problems_of(program) if "activecampaign" in p.message]
    assert sum("over tags only" in message for message in others) == 2  # good and bad


def test_naming_segments_sends_nobody_again(written: Written) -> None:
    without = mapping_version(written.write({"s": "TRUE"}).destinations["mailchimp"])
    named = written.write({"s": "TRUE"}, named=", native_segments: [s]")
    assert mapping_version(named.destinations["mailchimp"]) == without


@pytest.mark.parametrize(
    ("pattern", "shape"),
    [
        ("a", ("exactly", "a")),
        ("a%", ("starts", "a")),
        ("%a", ("ends", "a")),
        ("%a%", ("contains", "a")),
        ("%%", ("anything", "")),
        ("", ("exactly", "")),
        ("a%b", ("other", "a%b")),
        ("a_", ("other", "a_")),
    ],
)
def test_shapes_of_patterns(pattern: str, shape: tuple[str, str]) -> None:
    assert f.shape_of(pattern) == shape
