"""Mistakes in rules, shown the way a compiler shows them: file, line, column, the line itself and a caret below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from personalization.errors import Position, ProgramError
from personalization.rules.node import Span

T = TypeVar("T")

_SHOWN = 110  # characters of a long line shown around the mistake
_ESCAPED_SPACE = "nrt \n"
_ESCAPED_NUMBER = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Origin:
    """Where a rule's text begins; `at` of a YAML scalar is what `Program.position` gives.

    Attributes
    ----------
    at : Position
    in_yaml : bool
        The file's scalar may be quoted, folded or indented, so that offsets differ; False means `at` is a name only.
    """

    at: Position
    in_yaml: bool = True

    @cached_property
    def _lines(self) -> list[str]:
        try:
            return Path(self.at.file).read_text(encoding="utf-8").splitlines() if self.in_yaml else []
        except OSError:
            return []

    def locate(self, text: str, offset: int) -> tuple[Position, str]:
        """File position of a character of the rule's text, and the line to show it in."""
        line, column = self.at.line or 1, self.at.column or 1
        if not self._lines:
            before, start = text.count("\n", 0, offset), text.rfind("\n", 0, offset) + 1
            inner = offset - start + 1
            position = Position(self.at.file, line + before, inner + (column - 1 if before == 0 else 0))
            return position, text.split("\n")[before]
        row, place = self._walk(len("".join(text[:offset].split())), line - 1, column - 1)
        return Position(self.at.file, row + 1, place + 1), self._lines[row]

    def _walk(self, printed: int, row: int, place: int) -> tuple[int, int]:
        """Skip `printed` visible characters of the scalar that begins at a 0-based place of the file.

        Quoting, folding and indentation change only white space and escapes, so visible characters stay in step.
        """
        first = self._lines[row][place : place + 1]
        quote = first if first in ("'", '"') else ""
        place += len(quote)
        while row < len(self._lines):
            line = self._lines[row]
            while place < len(line):
                width, visible = _scalar_character(line, place, quote)
                if visible and printed == 0:
                    return row, place
                printed -= visible
                place += width
            if printed == 0 and not any(rest.strip() for rest in self._lines[row + 1 :]):
                break
            row, place = row + 1, 0
        last = max(index for index, line in enumerate(self._lines) if line.strip())
        return last, len(self._lines[last].rstrip())


def _scalar_character(line: str, place: int, quote: str) -> tuple[int, int]:
    """Width in the file of the character at `place`, and 1 when it is a visible one."""
    if quote == "'" and line[place : place + 2] == "''":
        return 2, 1
    if quote == '"' and line[place] == "\\":
        code = line[place + 1 : place + 2]
        return 2 + _ESCAPED_NUMBER.get(code, 0), int(code not in _ESCAPED_SPACE)
    return 1, int(not line[place].isspace())


class RuleError(ProgramError):
    """A mistake in a rule, with the line it stands in and a caret under it."""

    def __init__(self, message: str, *, at: Position, line: str, width: int = 1, hint: str | None = None) -> None:
        super().__init__(message, at=at, hint=hint)
        self.line, self.width = line, width

    @property
    def excerpt(self) -> str:
        """The line, shortened around the mistake, and a line with carets."""
        place = (self.at.column or 1) - 1 if self.at else 0
        cut = max(0, min(place - _SHOWN // 2, len(self.line) - _SHOWN))
        shown = self.line[cut : cut + _SHOWN]
        indent = len(shown) - len(shown.lstrip()) if cut == 0 else 0
        width = max(1, min(self.width, len(shown.rstrip()) - (place - cut)))
        return f"    {shown[indent:].rstrip()}\n    {' ' * (place - cut - indent)}{'^' * width}"

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}\n{self.excerpt}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


@dataclass(frozen=True)
class Source:
    """A rule's text and where it comes from: makes the errors of one rule."""

    text: str
    origin: Origin

    def error(self, span: Span, message: str, hint: str | None = None) -> RuleError:
        """The error for a stretch of the text."""
        at, line = self.origin.locate(self.text, span.start)
        one_line = self.text[span.start : span.end].split("\n")[0]
        return RuleError(message, at=at, line=line, width=len(one_line), hint=hint)


def combined(problems: Iterable[ProgramError]) -> ProgramError:
    """One error that holds all mistakes, in reading order, each once."""
    flat = [each for problem in problems for each in (problem.problems or [problem])]
    unique = {str(each): each for each in flat}
    ordered = sorted(unique.values(), key=_place)
    what = "1 mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
    return ProgramError(f"{what} in rules", problems=ordered)


def collect(attempts: Iterable[Callable[[], T]]) -> list[T]:
    """The results of all attempts. Each is tried, so that one error can name the mistakes of all of them.

    Raises
    ------
    ProgramError
        With the mistakes of every attempt that failed.
    """
    results: list[T] = []
    problems: list[ProgramError] = []
    for attempt in attempts:
        try:
            results.append(attempt())
        except ProgramError as problem:
            problems.append(problem)
    if problems:
        raise combined(problems)
    return results


def _place(problem: ProgramError) -> tuple[str, int, int]:
    at = problem.at
    return (at.file, at.line or 0, at.column or 0) if at else ("", 0, 0)
