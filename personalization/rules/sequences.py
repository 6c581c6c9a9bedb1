"""What sqlglot's grammar does not know, made calls that it knows, before it reads the tokens.

Sequences, `did(…) THEN NOT did(…) WITHIN '24 hours'`, become a call of their steps; `last(…)` and `first(…)`, which are
functions of SQL with another meaning, get a name of ours. Only tokens are moved and named: what they hold is read,
typed and refused like everything else.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NoReturn

from sqlglot.tokens import Token, TokenType

from personalization.rules.node import Span
from personalization.rules.problems import Source

MARK = "\x00then"
"""Name of the call; no rule can write it, as text with this character is refused."""
_OURS = {name: f"{name}\x00" for name in ("last", "first")}
_EXAMPLE = "such as did('cart') THEN NOT did('purchase') WITHIN '24 hours'"


def call_name(name: str) -> str:
    """The name of a call as rules write it, in lower case."""
    return name.lower().removesuffix("\x00")


def with_our_calls(source: Source, tokens: list[Token]) -> list[Token]:
    """Tokens that sqlglot reads as calls. Raises `RuleError` as `with_sequences` does."""
    named = [
        _copy(token, TokenType.VAR, _OURS[token.text.lower()])
        if token.text.lower() in _OURS and after is not None and after.token_type is TokenType.L_PAREN
        else token
        for token, after in zip_longest(tokens, tokens[1:])
    ]
    return with_sequences(source, named)


def with_sequences(source: Source, tokens: list[Token]) -> list[Token]:
    """Tokens in which each sequence is a call: MARK(did(…), [NOT] did(…), 'window', …).

    Raises
    ------
    RuleError
        When THEN does not stand between two `did(…)`, or a step has no WITHIN.
    """
    kinds = {token.token_type for token in tokens}
    if TokenType.THEN not in kinds or TokenType.CASE in kinds:  # CASE is refused later, with its own words
        return tokens
    return _Rewriter(source, tokens).run()


class _Rewriter:
    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source, self.tokens = source, tokens
        self.made: list[Token] = []
        self.next = 0

    def run(self) -> list[Token]:
        while self.next < len(self.tokens):
            token = self.tokens[self.next]
            if token.token_type is TokenType.THEN:
                self._sequence(token)
            else:
                self.made.append(token)
                self.next += 1
        return self.made

    def _sequence(self, then: Token) -> None:
        first = self._first_step(then)
        before = self.made[-1] if self.made else None
        if before is not None and before.token_type is TokenType.NOT:
            self._wrong(before, "it is not clear what NOT belongs to here", "write NOT (did(…) THEN did(…) WITHIN '…')")
        call = [_copy(then, TokenType.VAR, MARK), _copy(then, TokenType.L_PAREN, "("), *first]
        negated = False
        while (token := self._peek()) is not None and token.token_type is TokenType.THEN:
            if negated:
                self._wrong(token, "NOT did(…) can only be the last step", _EXAMPLE)
            self.next += 1
            negated = self._later_step(token, call)
        self.made += [*call, _copy(then, TokenType.R_PAREN, ")")]

    def _first_step(self, then: Token) -> list[Token]:
        """Take the call of did before THEN back from what was made."""
        depth = 0
        for index in range(len(self.made) - 1, -1, -1):
            depth += {TokenType.R_PAREN: 1, TokenType.L_PAREN: -1}.get(self.made[index].token_type, 0)
            if depth <= 0:
                if index and self.made[index].token_type is TokenType.L_PAREN and _is_did(self.made[index - 1]):
                    step = self.made[index - 1 :]
                    del self.made[index - 1 :]
                    return step
                break
        self._wrong(then, "THEN stands between two did(…)", _EXAMPLE)

    def _later_step(self, then: Token, call: list[Token]) -> bool:
        """Read `[NOT] did(…) WITHIN '…'`; whether it has NOT."""
        call.append(_copy(then, TokenType.COMMA, ","))
        negated = (token := self._peek()) is not None and token.token_type is TokenType.NOT
        if negated:
            call.append(self.tokens[self.next])
            self.next += 1
        start = self._peek()
        if start is None or not _is_did(start):
            self._wrong(start or then, "after THEN comes did(…) or NOT did(…)", _EXAMPLE)
        end = self._end_of_call(start)
        call += self.tokens[self.next : end + 1]
        self.next = end + 1
        word = self._peek()
        if word is None or word.token_type is not TokenType.VAR or word.text.lower() != "within":
            last = self.tokens[end]
            self._wrong(last, "after this step WITHIN and a window are missing", _EXAMPLE)
        self.next += 1
        window = self._peek()
        if window is None or window.token_type is not TokenType.STRING:
            self._wrong(window or word, "after WITHIN comes a quoted window", "such as WITHIN '24 hours'")
        call += [_copy(word, TokenType.COMMA, ","), window]
        self.next += 1
        return negated

    def _end_of_call(self, start: Token) -> int:
        depth = 0
        for index in range(self.next + 1, len(self.tokens)):
            depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(self.tokens[index].token_type, 0)
            if depth == 0:
                if index > self.next + 1:
                    return index
                break
        self._wrong(start, "did(…) takes an event in brackets", _EXAMPLE)

    def _peek(self) -> Token | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def _wrong(self, token: Token, message: str, hint: str) -> NoReturn:
        raise self.source.error(Span(token.start, token.end + 1), message, hint)


def _is_did(token: Token) -> bool:
    return token.token_type is TokenType.VAR and token.text.lower() == "did"


def _copy(place: Token, kind: TokenType, text: str) -> Token:
    """A token of ours at the place of one of the rule."""
    return Token(kind, text, line=place.line, col=place.col, start=place.start, end=place.end)
