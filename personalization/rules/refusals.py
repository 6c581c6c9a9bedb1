"""Why a piece of SQL is no part of the rule language or two types do not go together, and what to write instead."""

from __future__ import annotations

import re
from datetime import datetime

from sqlglot import exp

from personalization.errors import did_you_mean
from personalization.rules import functions
from personalization.rules.tree import Constant, FieldRef, Scalar, Type

_QUERY = ("a rule can't hold a query", "use did(…), count_of(…), sum_of(…) or in_segment(…)")
_CLOCK = ("a rule has no clock of its own", "write as_of for the day evaluated for, days_ago(30) for 30 days before it")
_CLOCK_NAMES = ("now", "today", "getdate", "sysdate")
_SQL_ONLY: tuple[tuple[tuple[type, ...], tuple[str, str | None]], ...] = (
    ((exp.Query, exp.Exists, exp.Any, exp.All), _QUERY),
    ((exp.DDL, exp.DML, exp.Drop, exp.Command), ("a rule is a condition, not a statement", None)),
    ((exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.CurrentDatetime, exp.Localtimestamp), _CLOCK),
    ((exp.Placeholder, exp.Parameter, exp.SessionParameter), ("a rule has no parameters", None)),
    ((exp.Case, exp.If), ("CASE is not part of the rule language", "write the cases with AND and OR")),
    ((exp.Cast, exp.TryCast), ("a value can't be cast", "only DATE 'YYYY-MM-DD' is allowed")),
    ((exp.Date,), ("date(…) is not part of the rule language", "write DATE 'YYYY-MM-DD'")),
    ((exp.Interval,), ("INTERVAL is not part of the rule language", "write days_ago(30) or as_of - 30")),
    ((exp.ILike,), ("only LIKE with % and _ is allowed", "LIKE tells upper from lower case: join both ways with OR")),
    ((exp.Escape,), ("only LIKE with % and _ is allowed", "they can't be escaped; _ stands for itself too")),
    ((exp.SimilarTo, exp.RegexpLike, exp.Glob), ("only LIKE with % and _ is allowed", None)),
    ((exp.NullSafeEQ, exp.NullSafeNEQ), ("IS is not part of the rule language", "use =, <> and known(…)")),
    ((exp.Null,), ("NULL is not part of the rule language", "ask with known(…)")),
    ((exp.DPipe, exp.Mod, exp.IntDiv, exp.Pow), ("this operator is not allowed", "arithmetic is +, -, * and /")),
    ((exp.Star,), ("* stands for nothing here", None)),
)
_ONE_CUSTOMER = "a rule is about one customer: count_of(…) and sum_of(…) add up what they did"
_TYPE_WORDS: dict[Type, str] = {"number": "a number", "text": "text", "date": "a date", "boolean": "true or false"}


def refusal(node: exp.Expr, text: str) -> tuple[str, str | None]:
    """Message and hint for a node that no rule may hold; `text` is how it was written."""
    for kinds, answer in _SQL_ONLY:
        if isinstance(node, kinds):
            return answer
    if isinstance(node, exp.Alias):
        return f"an operator such as AND is missing before '{node.alias}'", None
    if isinstance(node, exp.Anonymous) and str(node.this).lower() in _CLOCK_NAMES:
        return _CLOCK
    if isinstance(node, exp.AggFunc) or (isinstance(node, exp.Anonymous | exp.Func) and "start" in node.meta):
        written = str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        hint = _ONE_CUSTOMER if isinstance(node, exp.AggFunc) else None
        return f"unknown function '{written}' ({did_you_mean(written.lower(), functions.NAMES)})", hint
    return f"'{text}' is not part of the rule language", None


def type_words(kind: Type) -> str:
    """A type as part of a sentence."""
    return _TYPE_WORDS[kind]


def mismatch(left: Scalar, right: Scalar) -> tuple[str, str | None]:
    """Message and hint for two sides of different types."""
    message = f"{_what(left, 'left')}, but {_what(right, 'right')}"
    for one, other in ((left, right), (right, left)):
        if isinstance(other, Constant) and one.type == "text" and other.type == "number":
            return message, f"write it in quotes: '{other.value}'"
        if isinstance(other, Constant) and one.type == "number" and other.type == "text":
            return message, _number_in(str(other.value))
    if {left.type, right.type} == {"date", "number"}:
        return message, "a date is written in quotes: '2024-02-29'"
    return message, None


def _number_in(text: str) -> str:
    """What to write in place of a text that begins with a number, such as '30 days'."""
    found = re.match(r"^\s*(-?\d+(?:\.\d+)?)\s*[a-z%]*\s*$", text, re.IGNORECASE)
    return f"write the number without quotes: {found[1]}" if found else "write the number without quotes"


def no_date(text: str) -> str:
    """What to write in place of a text that is no date."""
    if re.match(r"^\d{4}-\d{2}-\d{2}$", text):
        return "there is no such day"
    if window := re.match(r"^\s*(\d+)\s*days?\s*$", text):
        return f"days are a plain number: as_of - {window[1]}"
    for order in ("%d.%m.%Y", "%Y/%m/%d", "%Y-%m-%d", "%Y%m%d"):
        try:
            return f"write it as '{datetime.strptime(text, order).date().isoformat()}'"  # noqa: DTZ007
        except ValueError:
            continue
    return "write it as 'YYYY-MM-DD'"


def _what(scalar: Scalar, side: str) -> str:
    if isinstance(scalar, FieldRef):
        return f"{scalar.name} is {type_words(scalar.type)}"
    if isinstance(scalar, Constant):
        shown = f"'{scalar.value}'" if scalar.type == "text" else str(scalar.value)
        shown = shown.upper() if scalar.type == "boolean" else shown
        return f"{shown} is {type_words(scalar.type)}"
    return f"the {side} side is {type_words(scalar.type)}"
