"""What the language accepts, what it refuses, and the words in which it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from personalization.errors import ProgramError
from personalization.rules import Catalog, describe, parse_rule, parse_value
from personalization.rules import tree as t
from personalization.rules.catalog import FIELDS, Field

CATALOG = Catalog(
    fields={
        **FIELDS,
        "joined": Field("date", "day of joining"),
        "vip": Field("boolean", "a very important person"),
        "purchase_band": Field("text", "band", values=("low", "medium", "high")),
    },
    segments=frozenset({"likely_buyers", "lapsing"}),
)
RECENCY = t.FieldRef("recency_days", "number")
JOINED = t.FieldRef("joined", "date")
BAND = t.FieldRef("age_band", "text")


def number(value: float) -> t.Constant:
    return t.Constant(value, "number")


def text(value: str) -> t.Constant:
    return t.Constant(value, "text")


SHORT = t.Comparison("<=", RECENCY, number(14))
BOUGHT = t.Behaviour("purchase", "events", 14)


@pytest.mark.parametrize(
    ("written", "tree"),
    [
        ("recency_days <= 14", SHORT),
        ("Recency_Days <= 14", SHORT),
        ('"recency_days" <= 14', SHORT),
        ("(((recency_days <= 14)))", SHORT),
        ("recency_days != -1.5", t.Comparison("<>", RECENCY, number(-1.5))),
        ("recency_days <= 1e2", t.Comparison("<=", RECENCY, number(100.0))),
        ("NOT recency_days <= 14", t.Not(SHORT)),
        ("NOT (NOT recency_days <= 14)", t.Not(t.Not(SHORT))),
        ("recency_days BETWEEN 1 AND 2", t.Between(RECENCY, number(1), number(2))),
        ("recency_days NOT BETWEEN 1 AND 2", t.Not(t.Between(RECENCY, number(1), number(2)))),
        ("age_band IN ('19-24', '25-34')", t.OneOf(BAND, (text("19-24"), text("25-34")))),
        ("age_band NOT IN ('19-24')", t.Not(t.OneOf(BAND, (text("19-24"),)))),
        ("age_band LIKE '2%'", t.Like(BAND, "2%")),
        ("age_band NOT LIKE '2%'", t.Not(t.Like(BAND, "2%"))),
        ("age_band = 'it''s'", t.Comparison("=", BAND, text("it's"))),
        ("known(age_band)", t.Known(BAND)),
        ("vip AND TRUE", t.And((t.Holds(t.FieldRef("vip", "boolean")), t.Always(True)))),
        ("vip = FALSE", t.Comparison("=", t.FieldRef("vip", "boolean"), t.Constant(False, "boolean"))),
        ("joined >= '2024-02-29'", t.Comparison(">=", JOINED, t.Constant(date(2024, 2, 29), "date"))),
        ("joined >= DATE '2024-02-29'", t.Comparison(">=", JOINED, t.Constant(date(2024, 2, 29), "date"))),
        ("joined < days_ago(30)", t.Comparison("<", JOINED, t.DayBefore(30))),
        ("joined < as_of - 30", t.Comparison("<", JOINED, t.DayBefore(30))),
        ("as_of - joined > 365", t.Comparison(">", t.Arithmetic("-", t.DayBefore(0), JOINED, "number"), number(365))),
        ("joined + 7 < as_of", t.Comparison("<", t.Arithmetic("+", JOINED, number(7), "date"), t.DayBefore(0))),
        ("joined IN ('2024-01-01')", t.OneOf(JOINED, (t.Constant(date(2024, 1, 1), "date"),))),
        ("did('purchase')", t.Did(t.Behaviour("purchase"))),
        ("did('purchase', within => '14 days', at_least => 2)", t.Did(BOUGHT, 2)),
        ("did('purchase', within => '2 weeks')", t.Did(BOUGHT)),
        (
            "did('purchase', department => 'floral', within => '1 day')",
            t.Did(t.Behaviour("purchase", "events", 1, (("department", "FLORAL"),))),
        ),
        ("count_of('purchase', within => '14 days') = 3", t.Comparison("=", BOUGHT, number(3))),
        ("sum_of('purchase', 'amount') > 9", t.Comparison(">", t.Behaviour("purchase", "amount"), number(9))),
        ("days_since('mailing') > 3", t.Comparison(">", t.Behaviour("mailing", "days_since"), number(3))),
        ("in_segment('lapsing')", t.InSegment("lapsing")),
        ("was_in_segment('lapsing', within => '4 weeks')", t.WasInSegment("lapsing", 28)),
        ("opened_previous_email()", t.OpenedPrevious()),
        ("opened_previous_email(within => '3 days')", t.OpenedPrevious(3 * 1440)),
        ("did('purchase', within => '36 hours')", t.Did(t.Behaviour("purchase", minutes=36 * 60))),
        (
            "did('click') THEN NOT did('purchase', category => 'y') WITHIN '24 hours'",
            t.Sequence((t.Step("click"), t.Step("purchase", (("category", "Y"),), 1440, negated=True))),
        ),
        (
            "did('mailing', within => '2 weeks') then did('open') within '90 minutes' THEN did('click') WITHIN '1 day'",
            t.Sequence((t.Step("mailing", within=14), t.Step("open", window=90), t.Step("click", window=1440))),
        ),
        (
            "last('purchase', 'category') IN ('y', 'Z')",
            t.OneOf(t.Recalled("purchase", "category"), (t.Constant("Y", "text"), t.Constant("Z", "text"))),
        ),
        (
            "first('click', 'detail', within => '2 days') LIKE 'a%'",
            t.Like(t.Recalled("click", "detail", "first", 2), "a%"),
        ),
        (
            "affinity('department', 'meat', within => '84 days') >= 0.5",
            t.Comparison(
                ">=",
                t.Affinity(
                    t.Behaviour("purchase", "amount", 84, (("department", "MEAT"),)),
                    t.Behaviour("purchase", "amount", 84),
                ),
                number(0.5),
            ),
        ),
        (
            "recency_days <= 14 OR vip AND in_segment('lapsing')",
            t.Or((SHORT, t.And((t.Holds(t.FieldRef("vip", "boolean")), t.InSegment("lapsing"))))),
        ),
    ],
)
def test_accepted(written: str, tree: t.Condition) -> None:
    assert parse_rule(written, CATALOG).condition == tree


def test_arithmetic_keeps_precedence() -> None:
    value = parse_value("purchase_score * (recency_days + 2) / 3", CATALOG)
    score, three = t.FieldRef("purchase_score", "number"), number(3)
    summed = t.Arithmetic("+", RECENCY, number(2))
    assert value.scalar == t.Arithmetic("/", t.Arithmetic("*", score, summed), three)


REFUSED = [
    ("", "the rule is empty", "^"),
    ("recency_dys <= 14", "unknown field 'recency_dys' (did you mean 'recency_days'?)", "^^^^^^^^^^^"),
    ("shoes > 40", "docs/write-a-segment.md lists all fields", "^^^^^"),
    ("children > 1", "children is text, but 1 is a number", "^^^^^^^^^^^^"),
    ("children = 1", "write it in quotes: '1'", "^^^^^^^^^^^^"),
    ("children > '1'", "> does not order text", "^^^^^^^^^^^^^^"),
    ("purchase_score = '0.7'", "write the number without quotes", "^^^^^^^^^^^^^^^^^^^^^^"),
    ('age_band = "19-24"', "text is written in single quotes: '19-24'", "^^^^^^^"),
    ("purchase_band = 'hihg'", "purchase_band is never 'hihg' (did you mean 'high'?)", "^"),
    ("purchase_band IN ('high', 'top')", "its values: 'low', 'medium', 'high'", "^^^^^"),
    ("recency_days", "a number stands where a condition must", "^^^^^^^^^^^^"),
    ("recency_days + 1", "compare it, such as recency_days + 1 > 0", "^^^^^^^^^^^^^^^^"),
    ("recency_days = 1 = 1", "comparisons can't be chained", "^"),
    ("1 < recency_days < 5", "write a < b AND b < c", "^"),
    ("recency_days BETWEEN 5 AND 1", "the first bound is above the second", "^"),
    ("(recency_days > 1) + 1 > 2", "a condition stands where a value must", "^^^^^^^^^^^^^^^^"),
    ("recency_days IS NULL", "write NOT known(recency_days)", "^^^^"),
    ("recency_days IS NOT NULL", "write known(recency_days)", "^^^^"),
    ("recency_days = NULL", "write NOT known(recency_days)", "^^^^"),
    ("recency_days <> NULL", "write known(recency_days)", "^"),
    ("vip IS TRUE", "write the condition alone, or NOT before it", "^"),
    ("vip > FALSE", "> does not order true and false", "^"),
    ("age_band IN ()", "the list after IN is empty", "^"),
    ("age_band IN ('a', children)", "IN takes only constants", "^^^^^^^^"),
    ("age_band ILIKE 'a'", "only LIKE with % and _ is allowed", "^"),
    ("recency_days LIKE '1%'", "LIKE needs text; this is a number", "^"),
    ("age_band LIKE children", "LIKE needs a quoted pattern", "^^^^^^^^"),
    ("joined > '2024-02-30'", "'2024-02-30' is not a date", "^^^^^^^^^^^^"),
    ("joined > '2024-02-30'", "there is no such day", "^^^^^^^^^^^^"),
    ("joined > 20240230", "joined is a date, but 20240230 is a number", "^"),
    ("joined - recency_days > as_of", "a date moves by a whole number of days", "^"),
    ("joined * 2 > 1", "a date * a number has no meaning", "^^^^^^^^^^"),
    ("joined > current_date", "write as_of for the day evaluated for", "^^^^^^^^^^^^"),
    ("joined > now()", "a rule has no clock of its own", "^"),
    ("joined > as_of - INTERVAL '3 days'", "write days_ago(30) or as_of - 30", "^"),
    ("did('purchas')", "unknown event 'purchas' (did you mean 'purchase'?)", "^^^^^^^^^"),
    ("did(purchase)", "an event's name is written in single quotes", "^^^^^^^^"),
    ("did()", "did(…) takes one argument", "^^^"),
    ("did('purchase', '14 days')", "did(…) takes one argument", "^"),
    ("did('purchase', within => '9 seconds')", "'9 seconds': unknown unit 'seconds'", "^^^^^^^^^^^"),
    ("did('purchase', within => '1 month')", "a month has no fixed length: write '30 days'", "^^^^^^^^^"),
    ("did('purchase', within => '1 moon')", "windows count in minutes, hours, days or weeks, such as", "^^^^^^^^"),
    ("did('purchase', within => '876001 hours')", "a window has 1 to 36500 days", "^^^^^^^^^^^^^^"),
    ("did('purchase', within => '0 days')", "a window has 1 to 36500 days", "^^^^^^^^"),
    ("did('purchase', within => 14)", "a window is a quoted text such as '14 days'", "^^"),
    ("did('purchase', wihtin => '14 days')", "no argument 'wihtin' (did you mean 'within'?)", "^^^^^^"),
    ("did('mailing', department => 'MEAT')", "allowed here: within, at_least, campaign_id, detail", "^^^^^^^^^^"),
    ("did('mailing', campaign_id => 13)", "write campaign_id => '13'", "^^"),
    ("did('purchase', at_least => 0)", "for none, write NOT did(…)", "^"),
    ("did('purchase', at_least => 1.5)", "at_least needs a whole number of 1 or more", "^^^"),
    ("did('mailing', within => '1 day', within => '2 days')", "within is given twice", "^^^^^^"),
    ("count_of('mailing', at_least => 2) > 1", "has no argument 'at_least'", "^^^^^^^^"),
    ("sum_of('mailing', 'amount') > 1", "'mailing' has nothing to add up", "^"),
    ("sum_of('purchase', 'amont') > 1", "'purchase' has no 'amont' (did you mean 'amount'?)", "^^^^^^^"),
    ("days_since('purchase')", "compare it, such as days_since('purchase') > 0", "^^^^^^^^^^^^^^^^^^^^^^"),
    ("days_ago(-1) < joined", "days_ago(…) needs a whole number of days", "^"),
    ("in_segment('lasping')", "unknown segment 'lasping' (did you mean 'lapsing'?)", "^^^^^^^^^"),
    ("in_segment(lapsing)", "a segment's name is written in single quotes", "^^^^^^^"),
    ("NOT did('open') THEN did('click') WITHIN '2 days'", "write NOT (did(…) THEN did(…) WITHIN '…')", "^^^"),
    ("vip THEN did('click') WITHIN '2 days'", "THEN stands between two did(…)", "^^^^"),
    ("(did('open')) THEN did('click') WITHIN '2 days'", "THEN stands between two did(…)", "^^^^"),
    ("did('open') THEN vip WITHIN '2 days'", "after THEN comes did(…) or NOT did(…)", "^^^"),
    ("did('open') THEN did('click')", "after this step WITHIN and a window are missing", "^"),
    ("did('open') THEN did('click') WITHIN 2", "after WITHIN comes a quoted window", "^"),
    ("did('open') THEN did('click') WITHIN '2 moons'", "unknown unit 'moons'", "^^^^^^^^^"),
    ("did('open') THEN did('clik') WITHIN '2 days'", "unknown event 'clik' (did you mean 'click'?)", "^^^^^^"),
    (
        "did('open') THEN NOT did('click') WITHIN '1 day' THEN did('open') WITHIN '1 day'",
        "NOT did(…) can only be the last step",
        "^^^^",
    ),
    (
        "did('open') THEN did('click', within => '2 days') WITHIN '2 days'",
        "the window of a later step stands after WITHIN",
        "^^^^^^",
    ),
    ("did('open', at_least => 2) THEN did('click') WITHIN '1 day'", "no argument 'at_least'", "^^^^^^^^"),
    ("(did('open') THEN did('click') WITHIN '1 day') > 1", "a condition stands where a value must", "^"),
    ("last('purchase', 'categry') = 'X'", "'purchase' has no 'categry' (did you mean 'category'?)", "^^^^^^^^^"),
    ("last('purchase', 'category') > 3", "the left side is text, but 3 is a number", "^"),
    ("last('purchase')", "last(…) takes 2 arguments", "^"),
    ("first('purchase', category) = 'X'", "a property is written in single quotes", "^^^^^^^^"),
    ("affinity('colour', 'X') > 0", "properties of purchases: department, category, product", "^^^^^^^^"),
    ("affinity('department', 'X', wihtin => '9 days') > 0", "(did you mean 'within'?)", "^^^^^^"),
    ("opened_previous_email('a')", "opened_previous_email(…) takes no argument", "^"),
    ("opened_previous_email(within => 3)", "a window is a quoted text", "^"),
    ("was_in_segment('lasping')", "unknown segment 'lasping' (did you mean 'lapsing'?)", "^^^^^^^^^"),
    ("was_in_segment('lapsing', within => '5 hours')", "members of segments are kept by day", "^^^^^^^^^"),
    ("lifecycle_stage = 'atrisk'", "(did you mean 'at_risk'?)", "^"),
    ("known(age_band, children)", "known(…) takes one field", "^"),
    ("lower(age_band) = 'a'", "unknown function 'lower'", "^^^^^"),
    ("count(*) > 1", "unknown function 'count' (did you mean 'count_of'?)", "^^^^^"),
    ("recency_days % 2 = 0", "arithmetic is +, -, * and /", "^"),
    ("age_band || 'x' = 'ax'", "this operator is not allowed", "^"),
    ("recency_days::text = '1'", "a value can't be cast", "^^^^^^^^^^^^"),
    ("CASE WHEN vip THEN TRUE END", "write the cases with AND and OR", "^"),
    ("p.recency_days > 1", "write the field's name alone, without a prefix", "^^^^^^^^^^^^^^"),
    ("recency_days > 99999999999999999999", "is too large", "^^^^^^^^^^^^^^^^^^^^"),
    ("recency_days > 1e999", "is too large", "^^^^^"),
    ("recency_days > 1E", "1E is not a number", "^^"),
    ("recency_days >", "something is missing after >", "^"),
    ("recency_days > 1 AND", "something is missing after AND", "^^^"),
    ("(recency_days > 1", "this bracket is not closed", "^"),
    ("recency_days > 1)", ") has no place here", "^"),
    ("recency_days > 1 vip", "an operator such as AND is missing before 'vip'", "^^^"),
    ("recency_days > 1 orders_84d > 1", "an operator such as AND is missing before 'orders_84d'", "^^^^^^^^^^"),
    ("(vip) recency_days > 1", "an operator such as AND is missing before 'recency_days'", "^^^^^^^^^^^^"),
    ("recency_days IN (1 2)", "a comma or an operator is missing before 2", "^"),
    ("NOT did 'purchase'", "a function brackets, as in did('purchase')", "^^^^^^^^^^^^^^"),
    ("AND vip", "something is missing before AND", "^^^"),
    ("age_band CONTAINS 'x'", "write LIKE '%…%'", "^^^^^^^^"),
    ("recency_days BETWEEN 1 TO 3", "write BETWEEN 1 AND 3", "^^"),
    ("known age_band", "a function has brackets, as in known(age_band)", "^^^^^^^^"),
    ("did('purchase') WITHIN '30 days'", "write it inside: did('purchase', within => '30 days')", "^^^^^^"),
    ("did('purchase', amount => '100')", "compare it: sum_of('purchase', 'amount') > 100", "^^^^^^"),
    ("recency_days = TRUE", "recency_days is a number, but TRUE is true or false", "^"),
    ("recency_days < '2026-01-01'", "but '2026-01-01' is text\n", "^"),
    ("vip OR OR vip", "something is missing before OR", "^^"),
    ("vip AND (OR vip)", "something is missing before OR", "^^"),
    ("vip && vip", "write AND", "^^"),
    ("vip || vip", "write OR", "^^"),
    ("recency_days =< 3", "write <=", "^^"),
    ("recency_days > = 3", "'> =' is no operator", "^^^"),
    ("recency_days => 3", "write >= for 'at least'", "^^"),
    ("vip AND (recency_days => 3)", "write >= for 'at least'", "^^"),
    ("recency_days ≤ 3", "write <=", "^"),
    ("did(‘purchase’)", "these quotes are typographic ones", "^^^^^^^^^^"),
    ("purchase_score > 0,7", "write 0.7", "^^^"),
    ("purchase_score > 70", "write 0.7", "^^^^^^^^^^^^^^^^^^^"),
    ("purchase_score BETWEEN -1 AND 0.5", "purchase_score lies between 0 and 1, never at -1", "^"),
    ("days_since('purchase') > 30 days", "write 30 alone", "^^^^"),
    ("days_since('purchase') > '30 days'", "write the number without quotes: 30", "^"),
    ("did('purchase', within => 30 days)", "write '30 days'", "^^^^^^^"),
    ("did('purchase', within => '30')", "write '30 days'", "^^^^"),
    ("did('purchase', within => '-3 weeks')", "write '3 weeks'", "^^^^^^^^^^"),
    ("did('purchase', within => '1.5 days')", "the number is a whole one", "^^^^^^^^^^"),
    ("did('purchase', within => '30 dayz')", "write '30 days'", "^^^^^^^^^"),
    ("did('purchase', within => '24 hrs')", "write '24 hours'", "^^^^^^^^"),
    ("did('purchase', within = '30 days')", "write within => …", "^^^^^^^^"),
    ("did('purchase', within: '30 days')", "write within => …", "^^^^^^^"),
    ("did('purchase') > 3", "count_of(…) gives a number", "^^^^^^^^^^^^^^^"),
    ("in_segment('lapsing') = TRUE", "write it alone, or NOT before it", "^"),
    ("did", "it is a function: did('purchase'", "^^^"),
    ("age_band = MEAT", "text is written in single quotes: 'MEAT'", "^^^^"),
    ("known('recency_days')", "write known(recency_days)", "^^^^^^^^^^^^^^^^^^^^^"),
    ("recency_days / 0 > 1", "a division by 0 never gives a number", "^^^^^^^^^^^^^^^^"),
    ("max(recency_days) > 3", "unknown function 'max'", "^^^"),
    ("sum(orders_84d) > 3", "a rule is about one customer", "^^^"),
    ("age_band LIKE '25!%' ESCAPE '!'", "they can't be escaped", "^"),
    ("joined > '31.02.2026'", "write it as 'YYYY-MM-DD'", "^^^^^^^^^^^^"),
    ("joined > '28.02.2026'", "write it as '2026-02-28'", "^^^^^^^^^^^^"),
    ("joined > 2026-02-28", "a date is written in quotes", "^"),
    ("joined > as_of - '30 days'", "days are a plain number: as_of - 30", "^^^^^^^^^"),
    ("age_band IN ('a', NULL)", "ask with known(…)", "^^^^"),
    ("age_band = 'open", "the quoted text is not closed", "^"),
    ("recency_days = ?", "a rule has no parameters", "^"),
    ("(" * 400 + "vip" + ")" * 400, "nested more than 150 levels deep", "^"),
    ("NOT " * 2000 + "vip", "nested too deeply", "^"),
    ("recency_days" + " + 1" * 300 + " > 0", "nested too deeply", "^"),
    ("vip OR " * 5000 + "vip", "more than 20000", "^"),
]


@pytest.mark.parametrize(("written", "message", "carets"), REFUSED, ids=[case[0][:40] or "empty" for case in REFUSED])
def test_refused(written: str, message: str, carets: str) -> None:
    with pytest.raises(ProgramError) as error:
        parse_rule(written, CATALOG)
    shown = str(error.value)
    assert message in shown
    under = [line.strip() for line in shown.splitlines() if set(line.strip()) == {"^"}]
    assert under, "a caret line"
    if len(carets) > 1:
        assert carets in under
    assert shown.startswith("rule:1:")


def test_all_mistakes_of_a_rule_are_shown_in_reading_order() -> None:
    with pytest.raises(ProgramError) as error:
        parse_rule("recency_dys > 1\n  AND did('purchas') AND children > 2\n  OR nothing = 'x'", CATALOG)
    assert str(error.value) == (
        "rule:1:1: unknown field 'recency_dys' (did you mean 'recency_days'?)\n"
        "    recency_dys > 1\n"
        "    ^^^^^^^^^^^\n"
        "rule:2:11: unknown event 'purchas' (did you mean 'purchase'?)\n"
        "    AND did('purchas') AND children > 2\n"
        "            ^^^^^^^^^\n"
        "rule:2:26: children is text, but 2 is a number\n"
        "    AND did('purchas') AND children > 2\n"
        "                           ^^^^^^^^^^^^\n"
        "  hint: write it in quotes: '2'\n"
        "rule:3:6: unknown field 'nothing'\n"
        "    OR nothing = 'x'\n"
        "       ^^^^^^^\n"
        "  hint: docs/write-a-segment.md lists all fields"
    )


def test_a_long_line_is_shown_around_the_mistake() -> None:
    written = " OR ".join(["vip"] * 100) + " OR vpi OR " + " OR ".join(["vip"] * 100)
    with pytest.raises(ProgramError) as error:
        parse_rule(written, CATALOG)
    _, line, caret = str(error.value).splitlines()[:3]
    assert len(line) < 130
    assert line[caret.index("^") :].startswith("vpi ")


@pytest.mark.parametrize("written", ["age_band", "vip", "joined", "recency_days > 1"])
def test_a_value_is_a_number(written: str) -> None:
    with pytest.raises(ProgramError, match=r"number must stand here|where a value must"):
        parse_value(written, CATALOG)


def test_version_ignores_white_space_and_sees_words_and_unknown() -> None:
    rule = parse_rule("recency_days <= 14 AND vip", CATALOG)
    assert parse_rule("recency_days <= 14\n  AND vip", CATALOG).version == rule.version
    assert parse_rule("recency_days <= 15 AND vip", CATALOG).version != rule.version
    assert replace(rule, unknown="hold").version != rule.version


def test_what_a_rule_needs() -> None:
    rule = parse_rule("known(age_band) AND recency_days > 1 AND in_segment('lapsing') AND did('purchase')", CATALOG)
    assert rule.fields == {"age_band", "recency_days"}
    assert rule.needs == {"recency_days"}
    assert rule.segments == {"lapsing"}
    assert rule.behaviours == {t.Behaviour("purchase")}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            "did('purchase', department => 'FLORAL', within => '90 days')",
            "bought something with department FLORAL in the 90 days before",
        ),
        ("NOT did('purchase')", "never bought something"),
        (
            "NOT in_segment('lapsing') OR vip",
            "is not in segment 'lapsing' or a very important person is true. "
            "People about whom this can't be decided are left out.",
        ),
        ("TRUE", "everyone"),
        (
            "recency_days <= 14 AND (vip OR joined < as_of)",
            "days since the last purchase is at most 14 and (a very important person is true or day of joining is "
            "before the day of evaluation). People about whom this can't be decided are left out.",
        ),
    ],
)
def test_in_words(written: str, words: str) -> None:
    assert describe(parse_rule(written, CATALOG)) == words
