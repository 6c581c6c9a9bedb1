"""Errors a user sees: each says what was found, where (file, line, field), what is allowed, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Position:
    """A place in a file the user wrote. `line` and `column` are 1-based; `column` may be unknown."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        file = Path(self.file)
        shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        return ":".join(str(part) for part in (shown, self.line, self.column) if part is not None)


class PersonalizationError(Exception):
    """Base of every expected failure.

    Parameters
    ----------
    message : str
        What is wrong, with the value found, in one line.
    at : Position, optional
        Where it was found.
    hint : str, optional
        What the user can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, at: Position | None = None, hint: str | None = None) -> None:
        self.message, self.at, self.hint = message, at, hint
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}" if self.at else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ProgramError(PersonalizationError):
    """A program file or a rule is wrong. Several problems can be reported at once in `problems`."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        at: Position | None = None,
        hint: str | None = None,
        problems: Iterable[ProgramError] = (),
    ) -> None:
        super().__init__(message, at=at, hint=hint)
        self.problems = list(problems)

    def __str__(self) -> str:
        if self.problems:
            return "\n".join(str(problem) for problem in self.problems)
        return super().__str__()


class SourceError(PersonalizationError):
    """A source can't be read: missing, empty, retyped, unreachable, refused."""

    exit_code = 3


class DataError(PersonalizationError):
    """The data are there but later stages would be wrong if they ran on them."""

    exit_code = 4


class WarehouseError(PersonalizationError):
    """The warehouse can't be opened or written (locked by another process, disk full, corrupt)."""

    exit_code = 5


class KeyFileError(PersonalizationError):
    """The key file is missing, unreadable or open to other users."""

    exit_code = 6


class LedgerError(PersonalizationError):
    """The ledger can't be read or written. Nothing is exported then."""

    exit_code = 7


class ExportError(PersonalizationError):
    """An export was stopped or refused: mass-change guard, lease held elsewhere, destination down, books open."""

    exit_code = 8


class PrivacyError(PersonalizationError):
    """A privacy request could not be carried out in full. What is left is named; nothing was sent meanwhile."""

    exit_code = 9


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None when nothing is close (ratio below 0.6)."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A clause for an error message: the nearest valid name, or the list of valid names when it is short."""
    names = sorted(candidates)
    match = nearest(word, names)
    if match:
        return f"did you mean '{match}'?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known names: {shown}" if names else "no names are defined"
