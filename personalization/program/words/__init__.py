"""The words of the pages that people meet, by language. A program can say any of them differently, or add a language.

`{…}` in a text is filled in; a translation has the same ones as the English text.
"""

from __future__ import annotations

import json
from pathlib import Path

_FOLDER = Path(__file__).parent

WORDS: dict[str, dict[str, str]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.json"))
}

UNTRANSLATED = tuple(WORDS["en"])
"""Every word there is."""

RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})
