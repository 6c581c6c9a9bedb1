"""Loading program files: what is right loads, what is wrong is told with file, line, field and the nearest name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personalization.errors import Position, ProgramError
from personalization.program import load_program, resolve_secret

EXAMPLE = Path(__file__).parents[2] / "program"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "program"))


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def error_of(folder: Path) -> str:
    with pytest.raises(ProgramError) as caught:
        load_program(folder)
    return str(caught.value)


def test_the_example_program_loads(folder: Path) -> None:
    program = load_program(folder)
    assert program.settings.timezone == "America/New_York"
    assert set(program.destinations) == {"mailchimp", "file"}


def test_the_hash_ignores_comments_and_order_but_not_content(folder: Path) -> None:
    before = load_program(folder).hash
    edit(folder, "segments.yaml", "segments:\n", "# a comment\nsegments:\n")
    edit(folder, "program.yaml", "currency: USD\nlanguages: [en, es]", "languages: [en, es]\ncurrency: USD")
    assert load_program(folder).hash == before
    edit(folder, "segments.yaml", "recency_days <= 14", "recency_days <= 15")
    assert load_program(folder).hash != before


def test_position_of_a_block_scalar_is_its_first_line_of_text(folder: Path) -> None:
    program = load_program(folder)
    lines = (folder / "segments.yaml").read_text(encoding="utf-8").splitlines()
    at = program.position("segments", ("segments", "lapsing", "rule"))
    assert at.line is not None
    assert lines[at.line - 1].strip() == "orders_84d >= 2"
    assert at.column == 7


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("program.yaml", "timezone:", "timezone: [", ("program.yaml:", "broken YAML")),
        (
            "program.yaml",
            "  share: 0.05",
            "  share: 5",
            ("program.yaml:14:10", "holdout.share", "less than or equal to 1", "5"),
        ),
        ("program.yaml", "America/New_York", "America/New_Yrok", ("program.yaml:3:11", "America/New_Yrok", "IANA")),
        ("program.yaml", "min_gap_days", "min_gap_dais", ("'min_gap_dais'", "did you mean 'min_gap_days'?")),
        (
            "sources.yaml",
            "entity: order_lines",
            "entity: orderlines",
            ("sources.yaml:8:17", "'order_lines'", "'orderlines'"),
        ),
        ("sources.yaml", "format: parquet", "formt: parquet", ("unknown setting 'formt'", "did you mean 'format'?")),
        ("sources.yaml", "kind: files", "kind: flies", ("sources.yaml:4", "'flies'", "'files'")),
        (
            "campaigns.yaml",
            "blocks: [hero, staples]",
            "blocks: [hreo, staples]",
            ("unknown block 'hreo'", "did you mean 'hero'?"),
        ),
        (
            "campaigns.yaml",
            "purpose: email.marketing",
            "purpose: email.marketin",
            ("unknown purpose", "'email.marketing'"),
        ),
        ("campaigns.yaml", "ends: 2017-12-31", "ends: 2017-01-31", ("before it starts",)),
        ("content.yaml", "otherwise: {code: WEEKLY", "otherwis: {code: WEEKLY", ("hero", "otherwise", "required")),
        ("content.yaml", "code: FAMILY", "code: FLOWERS", ("FLOWERS is used twice",)),
        ("experiments.yaml", "personal: 0.5", "personal: 0.6", ("add up to 1.1",)),
        (
            "destinations.yaml",
            "list_id: demo000001",
            "list: demo000001",
            ("unknown setting 'list'", "did you mean 'list_id'?"),
        ),
    ],
)
def test_mistakes_are_named(folder: Path, file: str, old: str, new: str, expected: tuple[str, ...]) -> None:
    edit(folder, file, old, new)
    text = error_of(folder)
    for part in expected:
        assert part in text, text


@pytest.mark.parametrize(("written", "rule"), [("TRUE", "TRUE"), ("false", "FALSE"), ("'TRUE'", "TRUE")])
def test_the_rules_true_and_false_need_no_quotes(folder: Path, written: str, rule: str) -> None:
    edit(folder, "segments.yaml", "recency_days <= 14 AND purchase_score > 0.7", written)
    assert load_program(folder).segments["likely_buyers"].rule == rule


def test_all_problems_are_told_at_once(folder: Path) -> None:
    edit(folder, "program.yaml", "share: 0.05", "share: 5")
    edit(folder, "segments.yaml", "title: Large baskets", "titel: Large baskets")
    text = error_of(folder)
    assert "program.yaml:14:10" in text
    assert "'titel'" in text


def test_missing_folder_file_and_stray_file(tmp_path: Path, folder: Path) -> None:
    assert "personalization init" in error_of(tmp_path / "nowhere")
    (folder / "sources.yaml").unlink()
    (folder / "segmnets.yaml").write_text("segments: {}\n")
    text = error_of(folder)
    assert "sources.yaml: file is missing" in text
    assert "segmnets.yaml: unknown program file (did you mean 'segments'?)" in text


@pytest.mark.parametrize(
    ("text", "expected"), [("", "found nothing"), ("- a\n", "expected a mapping"), ("a: 1\na: 2\n", "duplicate key")]
)
def test_files_that_are_no_mapping(folder: Path, text: str, expected: str) -> None:
    (folder / "segments.yaml").write_text(text)
    assert expected in error_of(folder)


def test_a_file_that_is_not_utf8(folder: Path) -> None:
    (folder / "segments.yaml").write_bytes(b"segments:\n  a\xff: 1\n")
    assert "not UTF-8" in error_of(folder)


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    assert resolve_secret("Bearer ${env:TOKEN}") == "Bearer s3cret"
    with pytest.raises(ProgramError, match="environment variable NOT_THERE is not set") as caught:
        resolve_secret("${env:NOT_THERE}", at=Position("program/sources.yaml", 3))
    assert "program/sources.yaml:3" in str(caught.value)
