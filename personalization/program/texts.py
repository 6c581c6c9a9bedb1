"""What people read, in their language: which languages there are, and a text in one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Text = str | dict[str, str]

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?")
"""Language tags as in `de`, `pt-BR`, `zh-Hant`: the part of RFC 5646 that people use."""


def in_language(text: Text, language: str, languages: Sequence[str]) -> str:
    """A text in a language; where it has none in that language, in the first of `languages` that it has.

    Parameters
    ----------
    text : str or dict
        One text, which stands for every language, or a text for each.
    languages : sequence of str
        Of the program, the first one first.
    """
    if isinstance(text, str):
        return text
    for candidate in (language, *languages):
        if candidate in text:
            return text[candidate]
    return next(iter(text.values()))


def missing_languages(text: Text, languages: Sequence[str]) -> list[str]:
    """The program's languages that a text can't be read in. A plain text is in the first one."""
    known: Iterable[str] = languages[:1] if isinstance(text, str) else text
    return [language for language in languages if language not in known]


def best_language(accepted: str | None, languages: Sequence[str]) -> str | None:
    """The one of `languages` that an Accept-Language header (RFC 9110, 12.5.4) wants most; None when it wants none.

    `de-AT` is content with `de`, and `pt` with `pt-BR` (lookup as in RFC 4647, 3.4).
    """
    wanted: list[tuple[float, str]] = []
    for part in (accepted or "").split(",")[:20]:
        tag, _, parameters = part.strip().partition(";")
        weight = re.fullmatch(r"\s*q\s*=\s*(0(\.\d{0,3})?|1(\.0{0,3})?)\s*", parameters)
        if re.fullmatch(r"[A-Za-z0-9-]{1,35}", tag) and (weight or not parameters):
            wanted.append((float(weight.group(1)) if weight else 1.0, tag.lower()))
    for weight_, tag in sorted(wanted, key=lambda each: -each[0]):
        if not weight_:
            continue
        for language in languages:
            known = language.lower()
            if tag == known or tag.startswith(f"{known}-") or known.startswith(f"{tag}-"):
                return language
    return None
