"""What can be wrong with `consent.yaml`, and with what other files make of its purposes: told with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from personalization.errors import ProgramError, did_you_mean
from personalization.program.models import PROCESSING, Purpose
from personalization.program.texts import LANGUAGE, Text, missing_languages
from personalization.program.words import UNTRANSLATED, WORDS

if TYPE_CHECKING:
    from personalization.program.load import Program


def is_for_marketing(name: str, purpose: Purpose) -> bool:
    """Whether a campaign may be sent for a purpose.

    What a contract requires (a receipt, a notice of delivery) must reach people who opted out of marketing, so nothing
    else may travel with it.
    """
    if purpose.lawful_basis == "contract" or name.startswith(PROCESSING):
        return False
    return purpose.marketing is not False


def consent_problems(program: Program) -> list[ProgramError]:
    """Everything wrong with purposes, topics, choices of frequency and words."""
    return [
        *_languages(program),
        *_purposes(program),
        *_texts(program),
        *_frequency(program),
        *_words(program),
        *_campaigns(program),
        *_links(program),
    ]


def _problem(
    program: Program, path: tuple[Any, ...], message: str, hint: str | None = None, *, file: str = "consent"
) -> ProgramError:
    where = ".".join(str(part) for part in path)
    return ProgramError(f"{where}: {message}", at=program.position(file, path), hint=hint)


def _languages(program: Program) -> Iterator[ProgramError]:
    languages = program.settings.languages
    if not languages:
        yield _problem(program, ("languages",), "name at least one language", file="program")
    for number, language in enumerate(languages):
        if not LANGUAGE.fullmatch(language):
            message = f"'{language}' is no language tag, such as en, de or pt-BR"
            yield _problem(program, ("languages", number), message, file="program")
        elif language in languages[:number]:
            yield _problem(program, ("languages", number), f"'{language}' is listed twice", file="program")


def _purposes(program: Program) -> Iterator[ProgramError]:
    for name, purpose in program.purposes.items():
        path = ("purposes", name)
        if purpose.marketing and purpose.lawful_basis == "contract":
            yield _problem(
                program,
                (*path, "marketing"),
                "marketing can't rest on a contract: it would reach people who opted out of marketing",
                hint="make it consent or legitimate_interest, or leave marketing out",
            )
        if purpose.marketing and name.startswith(PROCESSING):
            yield _problem(program, (*path, "marketing"), f"'{name}' is about data, and no mailing is sent for it")
        if purpose.double_opt_in and purpose.lawful_basis != "consent":
            yield _problem(
                program,
                (*path, "double_opt_in"),
                f"there is no grant to confirm: the purpose rests on {purpose.lawful_basis.replace('_', ' ')}",
            )
        versions = [notice.version for notice in purpose.notices]
        for number, version in enumerate(versions):
            if version in versions[:number]:
                yield _problem(
                    program,
                    (*path, "notices", number, "version"),
                    f"version '{version}' is there already",
                    hint="a changed text is a new version: what people saw before must stay provable",
                )


def _texts(program: Program) -> Iterator[ProgramError]:
    """Every declared language for whatever is shown now. Earlier notices stay as people saw them."""
    shown: list[tuple[tuple[Any, ...], Text | None]] = []
    for name, purpose in program.purposes.items():
        path: tuple[Any, ...] = ("purposes", name)
        shown += [((*path, "title"), purpose.title), ((*path, "description"), purpose.description)]
        if purpose.notices:
            shown.append(((*path, "notices", len(purpose.notices) - 1, "text"), purpose.notices[-1].text))
    for key, choices in (("topics", program.topics), ("frequency", program.frequency)):
        for name, choice in choices.items():
            shown += [((key, name, "title"), choice.title), ((key, name, "description"), choice.description)]
    for path, text in shown:
        missing = missing_languages(text, program.settings.languages) if text is not None else []
        if missing:
            yield _problem(
                program,
                path,
                f"has no text in {', '.join(missing)}, which program.yaml lists under languages",
                hint="write a text for each, as in {en: …, de: …}",
            )
        unknown = [language for language in text if not LANGUAGE.fullmatch(language)] if isinstance(text, dict) else []
        for language in unknown:
            yield _problem(program, (*path, language), f"'{language}' is no language tag, such as en, de or pt-BR")


def _frequency(program: Program) -> Iterator[ProgramError]:
    open_ended = [name for name, choice in program.frequency.items() if choice.sends is None]
    if program.frequency and len(open_ended) != 1:
        yield _problem(
            program,
            ("frequency", *open_ended[1:2]),
            "exactly one choice must have no sends and days: who has not chosen has that one; "
            f"found {', '.join(open_ended) or 'none'}",
        )


def _words(program: Program) -> Iterator[ProgramError]:
    for word in program.words:
        if word not in UNTRANSLATED:
            message = f"the pages have no such words ({did_you_mean(word, UNTRANSLATED)})"
            yield _problem(program, ("words", word), message)
    for number, language in enumerate(program.settings.languages):
        if language in WORDS or not LANGUAGE.fullmatch(language):
            continue
        missing = [
            word
            for word in UNTRANSLATED
            if not isinstance(text := program.words.get(word, ""), dict) or language not in text
        ]
        if missing:
            yield _problem(
                program,
                ("languages", number),
                f"the preference page does not speak '{language}' (it speaks {', '.join(WORDS)})",
                hint=f"write its words in consent.yaml under words; missing: {', '.join(missing)}",
                file="program",
            )


def _campaigns(program: Program) -> Iterator[ProgramError]:
    allowed = [name for name, purpose in program.purposes.items() if is_for_marketing(name, purpose)]
    for name, campaign in program.campaigns.items():
        purpose = program.purposes.get(campaign.purpose)
        if purpose is not None and campaign.purpose not in allowed:
            why = "rests on a contract" if purpose.lawful_basis == "contract" else "is not for marketing"
            yield _problem(
                program,
                ("campaigns", name, "purpose"),
                f"a campaign can't be sent for '{campaign.purpose}', which {why}",
                hint=f"purposes for marketing: {', '.join(allowed) or 'none is declared'}",
                file="campaigns",
            )


def _links(program: Program) -> Iterator[ProgramError]:
    url = program.settings.serve.public_url
    if url is not None and not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        yield _problem(
            program, ("serve", "public_url"), f"'{url}' is no https address: links in e-mails need one", file="program"
        )
    for name, destination in program.destinations.items():
        for number, field in enumerate(destination.fields):
            if field.link and url is None:
                yield _problem(
                    program,
                    ("destinations", name, "fields", number, "link"),
                    f"the field {field.name} is a link, but program.yaml does not say where the pages are",
                    hint="set serve.public_url in program.yaml, e.g. https://mail.example.com",
                    file="destinations",
                )
