"""consent.yaml: what people read in every language, double opt-in, topics, frequency; mistakes with file and line."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from personalization.errors import ProgramError
from personalization.program import load_program
from personalization.program.texts import best_language, in_language
from personalization.program.words import UNTRANSLATED, WORDS

EXAMPLE = Path(__file__).parents[2] / "program"
OLD = """purposes:
  email.marketing:
    title: Offers and news by e-mail
    lawful_basis: consent
    notices:
      - version: "1"
        text: We may send you offers and news by e-mail.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "program"))


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(folder: Path, file: str, text: str) -> int:
    lines = (folder / file).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_example(folder: Path) -> None:
    program = load_program(folder)
    letter = program.purposes["email.newsletter"]
    assert (letter.double_opt_in, letter.time_to_confirm) == (True, timedelta(days=7))
    assert in_language(letter.title, "es", program.settings.languages) == "Carta mensual de recetas"
    assert in_language(letter.title, "fr", program.settings.languages) == "Monthly recipe letter"
    assert list(program.frequency) == ["all", "weekly", "monthly"]
    assert (program.frequency["weekly"].sends, program.frequency["weekly"].days) == (1, 7)
    assert list(program.topics) == ["recipes", "produce", "wine"]


def test_a_program_from_before_there_were_languages_is_valid(folder: Path) -> None:
    (folder / "consent.yaml").write_text(OLD)
    edit(folder, "program.yaml", "languages: [en, es]", "languages: [en]")
    program = load_program(folder)
    assert program.purposes["email.marketing"].notices[0].text == "We may send you offers and news by e-mail."
    assert not program.topics
    assert not program.frequency


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "messages"),
    [
        (
            "consent.yaml",
            "double_opt_in: true",
            "double_optin: true",
            "double_optin",
            ("unknown setting 'double_optin'", "did you mean 'double_opt_in'?"),
        ),
        ("consent.yaml", "confirm_within: 7 days", "confirm_within: soon", "soon", ("confirm_within", "'soon'")),
        (
            "consent.yaml",
            "title: {en: Recipes, es: Recetas}",
            "title: {en: Recipes}",
            "title: {en: Recipes}",
            ("topics.recipes.title: has no text in es, which program.yaml lists under languages",),
        ),
        (
            "consent.yaml",
            "title: {en: Recipes, es: Recetas}",
            "title: Recipes",
            "title: Recipes",
            ("topics.recipes.title: has no text in es", "hint: write a text for each, as in {en: …, de: …}"),
        ),
        (
            "consent.yaml",
            "{en: Wine, es: Vino}",
            "{en: Wine, es: Vino, y más}",
            "Vino, y más",
            ("topics.wine.title", "found no text for 'y más' (a text with a comma needs quotes within braces)"),
        ),
        ("consent.yaml", "{en: Wine, es: Vino}", "[Wine]", "[Wine]", ("topics.wine.title", "found list")),
        (
            "consent.yaml",
            "es: A partir de sus compras",
            "sp: A partir de sus compras",
            "en: We may predict",
            ("purposes.personalization.ml_scoring.notices.0.text: has no text in es",),
        ),
        (
            "consent.yaml",
            "lawful_basis: contract",
            "lawful_basis: contract\n    marketing: true",
            "marketing: true",
            ("purposes.email.transactional.marketing: marketing can't rest on a contract",),
        ),
        (
            "campaigns.yaml",
            "purpose: email.marketing",
            "purpose: email.transactional",
            "purpose: email.transactional",
            (
                "a campaign can't be sent for 'email.transactional', which rests on a contract",
                "purposes for marketing: email.marketing, email.newsletter",
            ),
        ),
        (
            "campaigns.yaml",
            "purpose: email.marketing",
            "purpose: personalization.ml_scoring",
            "purpose: personalization.ml_scoring",
            ("a campaign can't be sent for 'personalization.ml_scoring', which is not for marketing",),
        ),
        (
            "consent.yaml",
            "lawful_basis: contract",
            "lawful_basis: contract\n    double_opt_in: true",
            "lawful_basis: contract",
            ("there is no grant to confirm: the purpose rests on contract",),
        ),
        (
            "consent.yaml",
            ", sends: 1, days: 7}",
            ", sends: 1}",
            "At most once a week",
            ("frequency.weekly: give both sends and days",),
        ),
        (
            "consent.yaml",
            ", sends: 1, days: 7}",
            "}",
            "At most once a week",
            ("exactly one choice must have no sends and days", "found all, weekly"),
        ),
        (
            "program.yaml",
            "[en, es]",
            "[en, es, ja]",
            "[en, es, ja]",
            ("does not speak 'ja' (it speaks de, en, es, fr, it, nl)", "missing: language_name"),
        ),
        ("program.yaml", "[en, es]", "[en, spanish]", "[en, spanish]", ("'spanish' is no language tag",)),
        ("consent.yaml", "topics:", "words: {safe: Store}\n\ntopics:", "words:", ("did you mean 'save'?",)),
    ],
)
def test_mistakes_are_named_where_they_stand(
    folder: Path, file: str, old: str, new: str, at: str, messages: tuple[str, ...]
) -> None:
    edit(folder, file, old, new)
    with pytest.raises(ProgramError) as caught:
        load_program(folder)
    text = str(caught.value)
    for message in messages:
        assert message in text, text
    line = line_of(folder, file, at)
    assert any(f"{file}:{number}:" in text for number in (line, line + 1)), text  # a mapping begins where its text does


def test_a_notice_that_was_changed_keeps_its_old_version_in_the_languages_it_had(folder: Path) -> None:
    new = '- version: "0"\n        text: Long ago, in one language.\n      - version: "1"'
    edit(folder, "consent.yaml", '- version: "1"', new)
    load_program(folder)
    edit(folder, "consent.yaml", '- version: "0"', '- version: "1"')
    with pytest.raises(ProgramError, match="version '1' is there already"):
        load_program(folder)


def test_a_language_of_ones_own_and_other_words(folder: Path) -> None:
    words = "".join(f"  {word}: {{eo: {word}, en: my {word}}}\n" for word in UNTRANSLATED)
    (folder / "consent.yaml").write_text(OLD.replace("title: Offers", "title: &t Offers") + f"words:\n{words}")
    edit(folder, "program.yaml", "languages: [en, es]", "languages: [eo]")
    assert load_program(folder).words["save"] == {"eo": "save", "en": "my save"}


def test_every_language_has_every_word_and_fills_in_the_same(folder: Path) -> None:
    from string import Formatter

    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text)}

    for words in WORDS.values():
        assert tuple(words) == UNTRANSLATED
        assert len(words["months"].split()) == 12
        for word in UNTRANSLATED:
            assert places(words[word]) == places(WORDS["en"][word]), word


def test_links_need_to_know_where_the_pages_are(folder: Path) -> None:
    edit(folder, "program.yaml", "  public_url:", "  # public_url:")
    edit(folder, "program.yaml", "\nserve:\n", "\n# serve:\n")
    with pytest.raises(ProgramError) as caught:
        load_program(folder)
    line = line_of(folder, "destinations.yaml", "name: PREFS_URL")
    assert f"destinations.yaml:{line}:" in str(caught.value)
    assert "destinations.mailchimp.fields.1.link: the field PREFS_URL is a link" in str(caught.value)
    edit(folder, "program.yaml", "\n# serve:\n", "\nserve: {public_url: http://mail.example.com}\n")
    with pytest.raises(ProgramError, match=r"serve\.public_url: 'http://mail\.example\.com' is no https address"):
        load_program(folder)
    edit(folder, "program.yaml", "http://mail", "https://mail")
    assert load_program(folder).destinations["file"].fields[1].link == "preferences"
    edit(folder, "destinations.yaml", "link: preferences}", "link: preferences, column: hero}")
    with pytest.raises(ProgramError, match="field PREFS_URL takes either a column or a link"):
        load_program(folder)


def test_a_score_is_cleared_when_it_is_no_longer_known(folder: Path) -> None:
    """Invariant 47: a platform must not go on using the score of somebody who withdrew."""
    edit(folder, "destinations.yaml", 'type: number, "null": clear}', "type: number}")
    field = load_program(folder).destinations["mailchimp"].fields[-1]
    assert (field.column, field.null) == ("purchase_score", "clear")
    edit(folder, "destinations.yaml", "type: number}", 'type: number, "null": keep}')
    with pytest.raises(ProgramError, match=r"destinations\.yaml:\d+:\d+: .*field SCORE is a score, which is cleared"):
        load_program(folder)


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (None, None),
        ("", None),
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("fr, en;q=0.2", "en"),
        ("en;q=0.1, ES;q=0.9", "es"),
        ("es;q=0", None),
        ("pt", "pt-BR"),
        ("*", None),
        ("x" * 500 + ";q=2,,;;;=", None),
    ],
)
def test_the_language_a_browser_asks_for(accepted: str | None, expected: str | None) -> None:
    assert best_language(accepted, ["en", "es", "pt-BR"]) == expected
