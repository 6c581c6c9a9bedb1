"""Text to sqlglot's tree, and the refusal of everything that is SQL but not a rule."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.dialects import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import Token

from personalization.rules.node import Span
from personalization.rules.problems import RuleError, Source
from personalization.rules.sequences import MARK, with_our_calls
from personalization.rules.slips import refuse_slips

DIALECT = "duckdb"
_DIALECT = Dialect.get_or_raise(DIALECT)
_WORDS: dict[type, tuple[str, ...]] = {exp.Null: ("null",), exp.CurrentDate: ("current_date",)}
_CALLED = re.compile(r"(\w+)\s*\(\s*$")
LONGEST = 20_000
_DEEPEST = 150


def read(source: Source) -> exp.Expr:
    """Parse one expression.

    Raises
    ------
    RuleError
        When the text is empty, is no expression, holds a comment or more than one statement.
    """
    text = source.text
    everything = Span(0, len(text))
    if not text.strip():
        raise source.error(everything, "the rule is empty", "write a condition, such as orders_84d >= 1")
    if "\x00" in text:
        place = text.index("\x00")
        raise source.error(Span(place, place + 1), "text can't hold control characters")
    if len(text) > LONGEST:
        raise source.error(Span(0, 1), f"the rule has {len(text)} characters, more than {LONGEST}")
    try:
        tokens = sqlglot.tokenize(text, read=DIALECT)
    except TokenError:
        raise _unreadable(source) from None
    _refuse_outside_the_language(source, tokens)
    refuse_slips(source, tokens)
    try:
        statements = _DIALECT.parser().parse(with_our_calls(source, tokens), text)
    except ParseError as error:
        raise _syntax_error(source, error, tokens) from None
    except RecursionError:
        raise source.error(everything, "the rule is nested too deeply") from None
    expression = statements[0] if len(statements) == 1 else None
    if not isinstance(expression, exp.Expr):
        raise source.error(everything, "this is not a condition")
    return expression


def span_of(node: exp.Expr, source: Source) -> Span:
    """Where a node was written: from its first to its last token with a known place, and the brackets that it opens."""
    places = [n.meta for n in node.walk() if "start" in n.meta]
    if not places:
        parent = node.parent
        return _word_span(node, source) or (span_of(parent, source) if parent else Span(0, len(source.text)))
    start, end = min(place["start"] for place in places), max(place["end"] for place in places) + 1
    return Span(start, _closed(source.text, start, end))


def _closed(text: str, start: int, end: int) -> int:
    """The end moved behind the brackets that close those opened since the start: they have no place in the tree."""
    inside = re.sub(r"'[^']*'", "", text[start:end])
    for _ in range(inside.count("(") - inside.count(")")):
        rest = text[end:]
        if not rest.lstrip().startswith(")"):
            break
        end += rest.index(")") + 1
    return end


def _word_span(node: exp.Expr, source: Source) -> Span | None:
    """Where a word of SQL without a place stands, such as NULL: the tree's nodes are in the order of the text."""
    words = next((words for kind, words in _WORDS.items() if isinstance(node, kind)), None)
    if words is None:
        return None
    nodes = [each for each in node.root().dfs() if isinstance(each, type(node))]
    tokens = [each for each in sqlglot.tokenize(source.text, read=DIALECT) if each.text.lower() in words]
    tokens = [each for each in tokens if source.text[each.start] not in "'\""]
    if len(nodes) != len(tokens):
        return None
    token = tokens[next(index for index, each in enumerate(nodes) if each is node)]
    return Span(token.start, token.end + 1)


def is_sequence(node: exp.Expr) -> bool:
    """Whether a node is `did(…) THEN … WITHIN …`."""
    return isinstance(node, exp.Anonymous) and node.this == MARK


def name_span(node: exp.Expr, source: Source) -> Span:
    """Where a node's own first token was written: the name of a function or field."""
    if "start" in node.meta:
        return Span(node.meta["start"], node.meta["end"] + 1)
    span = span_of(node, source)
    written = _CALLED.search(source.text[: span.start]) if isinstance(node, exp.Func) else None
    return Span(written.start(1), written.end(1)) if written else span


def _refuse_outside_the_language(source: Source, tokens: list[Token]) -> None:
    """Comments and semicolons. A comment in a folded YAML scalar would swallow the rest of the rule unseen."""
    end, depth = 0, 0
    for token in tokens:
        gap = source.text[end : token.start]
        for mark in ("--", "/*"):
            if mark in gap:
                start = end + gap.index(mark)
                raise _comment(source, start)
        if token.text == ";" and source.text[token.start] == ";":
            raise source.error(Span(token.start, token.start + 1), "a rule is one condition; ';' has no place in it")
        depth += {"(": 1, ")": -1}.get(source.text[token.start], 0)
        if depth > _DEEPEST:
            raise source.error(Span(token.start, token.start + 1), f"nested more than {_DEEPEST} levels deep")
        end = token.end + 1
    rest = source.text[end:]
    if rest.strip():
        raise _comment(source, end + len(rest) - len(rest.lstrip()))


def _comment(source: Source, start: int) -> RuleError:
    return source.error(
        Span(start, start + 2), "a rule can't hold a comment", "write it in the YAML file, after a # outside the rule"
    )


def _unreadable(source: Source) -> RuleError:
    """sqlglot gives no place for an unclosed quote: find the one that opens and never closes."""
    start, opened = 0, ""
    for offset, character in enumerate(source.text):
        if opened:
            opened = "" if character == opened else opened
        elif character in "'\"":
            start, opened = offset, character
    if opened:
        return source.error(
            Span(start, start + 1), "the quoted text is not closed", "a quote within text is written twice: 'it''s'"
        )
    return source.error(Span(0, len(source.text)), "this can't be read as a condition")


def _syntax_error(source: Source, error: ParseError, tokens: list[Token]) -> RuleError:
    detail = error.errors[0] if error.errors else {}
    description = str(detail.get("description", "this is not a condition"))
    line, column = detail.get("line") or 1, detail.get("col") or 1
    lines = source.text.split("\n")
    offset = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
    token = next((t for t in tokens if t.start <= offset <= t.end), tokens[-1])
    span, shown = Span(token.start, token.end + 1), source.text[token.start : token.end + 1]
    after = Span(token.end + 1, token.end + 2)
    if description.startswith("Expecting )"):
        opening = _unclosed(source.text, tokens)
        if opening:
            return source.error(opening, "this bracket is not closed")
        return source.error(after, f"')' expected after {shown}")
    if description.startswith("Required keyword"):
        return source.error(span, f"something is missing after {shown}")
    return source.error(span, f"{shown} has no place here")


def _unclosed(text: str, tokens: list[Token]) -> Span | None:
    stack: list[int] = []
    for token in tokens:
        character = text[token.start]
        if character == "(":
            stack.append(token.start)
        elif character == ")" and stack:
            stack.pop()
    return Span(stack[-1], stack[-1] + 1) if stack else None
