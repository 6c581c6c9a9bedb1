"""What hands used to other languages write, found among the tokens: the parser would call it something else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sqlglot.tokens import Token, TokenType

from personalization.rules.node import Span
from personalization.rules.problems import RuleError, Source
from personalization.rules.windows import UNITS

_Slip = tuple[Token, Token, str, str | None]  # from this token to that one, message, hint
_COMPARISONS = (TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE)
_WORDS = (TokenType.VAR, TokenType.IDENTIFIER)
_LITERALS = (TokenType.STRING, TokenType.NUMBER)
_ENDS = (*_WORDS, *_LITERALS, TokenType.TRUE, TokenType.FALSE, TokenType.R_PAREN)
_BEGINS = (*_WORDS, *_LITERALS, TokenType.TRUE, TokenType.FALSE)
_JOINS = (TokenType.AND, TokenType.OR)
_LOGIC = {TokenType.DAMP: "AND", TokenType.DPIPE: "OR"}
_SIGNS = {"≤": "<=", "≥": ">=", "≠": "<>"}
_MEANT = {"=<": "<=", "=>": ">=", ">=": ">=", "<=": "<=", "<>": "<>", "!==": "<>", "===": "="}
_INSTEAD = {
    "contains": "write LIKE '%…%'",
    "starts": "write LIKE '…%'",
    "ends": "write LIKE '%…'",
    "to": "write BETWEEN 1 AND 3",
    "unknown": "write NOT known(…)",
}
_TYPOGRAPHIC = "‘’‚‛“”„«»"


def refuse_slips(source: Source, tokens: list[Token]) -> None:
    """Raise the `RuleError` of the first slip, if there is one. What is no slip may still be no rule."""
    for first, last, message, hint in _slips(tokens):
        raise _error(source, first, last, message, hint)


def _error(source: Source, first: Token, last: Token, message: str, hint: str | None) -> RuleError:
    return source.error(Span(first.start, last.end + 1), message, hint)


def _slips(tokens: list[Token]) -> Iterator[_Slip]:
    calls: list[bool] = []  # of each open bracket: whether it holds arguments or a list
    sequence = any(token.token_type == TokenType.THEN for token in tokens)
    if tokens and tokens[0].token_type in _JOINS:
        yield _nothing_before(tokens[0])
    for token in tokens[:1]:
        yield from _characters(token)
    for index, (before, token) in enumerate(pairwise(tokens), 1):
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        yield from _characters(token)
        yield from _signs(before, token)
        yield from _arguments(tokens[index - 2] if index > 1 else None, before, token, after, bool(calls and calls[-1]))
        yield from _neighbours(before, token)
        if before.token_type == TokenType.R_PAREN and token.text.lower() == "within" and not sequence:
            hint = "write it inside: did('purchase', within => '30 days')"
            yield token, token, "WITHIN here belongs to a sequence, did(…) THEN did(…) WITHIN '…'", hint
        if before.token_type == TokenType.L_PAREN:
            opener = tokens[index - 2] if index > 1 else None
            calls.append(opener is not None and opener.token_type not in (*_JOINS, TokenType.NOT, TokenType.L_PAREN))
        if before.token_type == TokenType.R_PAREN and calls:
            calls.pop()


def _characters(token: Token) -> Iterator[_Slip]:
    if token.token_type == TokenType.VAR and token.text in _SIGNS:
        yield token, token, f"{token.text} is no operator here", f"write {_SIGNS[token.text]}"
    if token.token_type == TokenType.VAR and any(character in _TYPOGRAPHIC for character in token.text):
        yield token, token, "these quotes are typographic ones", "write straight ones: 'text'"


def _signs(before: Token, token: Token) -> Iterator[_Slip]:
    if token.token_type in _LOGIC:
        yield token, token, "this operator is not allowed", f"write {_LOGIC[token.token_type]}"
    if before.token_type in _COMPARISONS and token.token_type in _COMPARISONS:
        sign, gap = before.text + token.text, " " if token.start > before.end + 1 else ""
        hint = f"write {_MEANT[sign]}" if sign in _MEANT else None
        yield before, token, f"'{before.text}{gap}{token.text}' is no operator", hint
    if token.token_type in _JOINS and before.token_type in (*_JOINS, TokenType.NOT, TokenType.L_PAREN):
        yield _nothing_before(token)


def _nothing_before(token: Token) -> _Slip:
    return token, token, f"something is missing before {token.text}", None


def _arguments(
    two_before: Token | None, before: Token, token: Token, after: Token | None, in_call: bool
) -> Iterator[_Slip]:
    kind = token.token_type
    named = before.token_type == TokenType.VAR and two_before is not None and two_before.token_type == TokenType.COMMA
    if named and kind in (TokenType.EQ, TokenType.COLON):
        yield before, token, "an argument's name is followed by =>", f"write {before.text} => …"
    if kind == TokenType.FARROW and not in_call:
        yield token, token, "=> has no place here", "write >= for 'at least'"
    if kind == TokenType.COMMA and not in_call and after is not None:
        numbers = before.token_type == after.token_type == TokenType.NUMBER
        if numbers and after.start == token.end + 1:
            yield before, after, "a number has a point, not a comma", f"write {before.text}.{after.text}"
    if before.token_type == TokenType.NUMBER and kind == TokenType.VAR and token.text.lower() in UNITS:
        if two_before is not None and two_before.token_type == TokenType.FARROW:
            yield before, token, "a window is a quoted text", f"write '{before.text} {token.text}'"
        else:
            yield token, token, f"a number has no unit: '{token.text}' has no place here", f"write {before.text} alone"


def _neighbours(before: Token, token: Token) -> Iterator[_Slip]:
    """Two things that nothing joins. WITHIN of a sequence is the one word that stands so."""
    kind = token.token_type
    if before.token_type not in _ENDS or kind not in _BEGINS or "within" in (before.text.lower(), token.text.lower()):
        return
    if before.token_type in _WORDS and kind in _LITERALS:
        hint = "a comparison has a sign, as in age_band = '25-34', a function brackets, as in did('purchase')"
        yield before, token, f"nothing joins {before.text} and {_shown(token)}", hint
    elif before.token_type in _LITERALS and kind in _LITERALS:
        yield token, token, f"a comma or an operator is missing before {_shown(token)}", None
    else:
        instead = _INSTEAD.get(token.text.lower())
        if instead is None and before.token_type in _WORDS:
            instead = "a function has brackets, as in known(age_band)"
        yield token, token, f"an operator such as AND is missing before '{token.text}'", instead


def _shown(token: Token) -> str:
    return f"'{token.text}'" if token.token_type == TokenType.STRING else token.text
