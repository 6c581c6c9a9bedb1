"""Pages as HTML: one template a page, one style sheet inside it, and headers that let the browser do nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from personalization.program import Program
from personalization.program.texts import Text, best_language, in_language
from personalization.program.words import RIGHT_TO_LEFT, WORDS


@lru_cache(maxsize=1)
def _templates() -> tuple[Environment, str]:
    loader = PackageLoader("personalization.serve.pages")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment, loader.get_source(environment, "style.css")[0].strip()


class Language:
    """Everything of a page that depends on its language.

    Parameters
    ----------
    program : Program
    tag : str
        One of the program's languages.
    """

    def __init__(self, program: Program, tag: str) -> None:
        self._program, self.tag = program, tag
        self._languages = program.settings.languages
        self._zone = ZoneInfo(program.settings.timezone)

    @property
    def direction(self) -> str:
        return "rtl" if self.tag.split("-")[0] in RIGHT_TO_LEFT else "ltr"

    def word(self, name: str, /, **values: str) -> str:
        """Words of a page in this language, the program's own first, with values filled in."""
        own = self._program.words.get(name)
        if own is None or (isinstance(own, dict) and self.tag not in own):
            text = WORDS.get(self.tag, WORDS["en"])[name]
        else:
            text = in_language(own, self.tag, self._languages)
        for place, value in values.items():
            text = text.replace("{" + place + "}", value)
        return text

    def text(self, text: Text | None) -> str:
        return in_language(text, self.tag, self._languages) if text else ""

    def date(self, moment: datetime) -> str:
        """A day as people write it, in the program's time zone."""
        day = moment.astimezone(self._zone)
        month = self.word("months").split()[day.month - 1]
        return self.word("date", day=str(day.day), month=month, year=str(day.year))


def choose_language(program: Program, wanted: str | None, own: str | None, accepted: str | None) -> Language:
    """The language asked for on the page, else the person's own, else the browser's, else the program's first."""
    languages = program.settings.languages
    if wanted in languages:
        return Language(program, wanted)
    return Language(program, best_language(own, languages) or best_language(accepted, languages) or languages[0])


def page(
    program: Program, language: Language, template: str, values: Mapping[str, Any], *, status: int = 200
) -> HTMLResponse:
    """A whole page. Nothing of it may be cached, framed, or told to another site."""
    environment, style = _templates()
    others = [(tag, Language(program, tag).word("language_name")) for tag in program.settings.languages]
    html = environment.get_template(f"{template}.html.j2").render(
        values, style=style, language=language, word=language.word, name=program.settings.name, languages=others
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Content-Language": language.tag,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "X-Robots-Tag": "noindex, nofollow",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Vary": "Accept-Language, Sec-GPC",
    }
    return HTMLResponse(html, status_code=status, headers=headers)
