"""All rules of a program together: the example compiles; mistakes in any file are found in one go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personalization.errors import DataError, ProgramError
from personalization.program import Program, load_program
from personalization.rules import Catalog, check_program, cycles, levels, parse_rule, program_rules
from personalization.warehouse import Session

EXAMPLE = Path(__file__).parents[2] / "program"
ANY = Catalog()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "program"))


def with_segments(folder: Path, **rules: str) -> Program:
    text = "segments:\n" + "".join(f"  {name}:\n    title: T\n    rule: {rule}\n" for name, rule in rules.items())
    (folder / "segments.yaml").write_text(text, encoding="utf-8")
    for name in ("campaigns", "content", "offers"):
        (folder / f"{name}.yaml").unlink()
    return load_program(folder)


def test_the_example_program_compiles() -> None:
    program = load_program(EXAMPLE)
    assert check_program(program) == []
    rules = program_rules(program)
    assert list(rules.segments) == list(program.segments)
    assert ("hero", "FLOWERS") in rules.branches
    assert rules.offers["standard"] is None
    assert list(rules.offers) == list(program.offers)
    assert rules.caps["others"] is None
    assert rules.values.keys() == {"december_favourites"}
    assert rules.segments["young_families"].unknown == "hold"
    assert rules.eligible == {}


def test_mistakes_of_all_files_are_found_together(folder: Path) -> None:
    for name, found, wrong in (
        ("segments", "recency_days <= 14", "recency_dys <= 14"),
        ("content", "recency_days > 28", "recency_days > '28'"),
        ("offers", "within => '7 days'", "within => '7 fortnights'"),
        ("campaigns", "audience: orders_84d >= 1", "audience: in_segment('lasping')"),
        ("campaigns", "value: purchase_score *", "value: top_department_84d *"),
        ("program", "when: conversions_84d >= 1", "when: did('conversoin')"),
        ("experiments", "salt: personal-hero-1", "salt: personal-hero-1\n    eligible: orders_84d"),
    ):
        path = folder / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert found in text
        path.write_text(text.replace(found, wrong), encoding="utf-8")
    program = load_program(folder)
    problems = check_program(program)
    files = [Path(problem.at.file).name for problem in problems if problem.at]
    assert files == [
        "campaigns.yaml",
        "campaigns.yaml",
        "content.yaml",
        "experiments.yaml",
        "offers.yaml",
        "program.yaml",
        "segments.yaml",
    ]
    with pytest.raises(ProgramError) as error:
        program_rules(program)
    assert str(error.value) == "\n".join(str(problem) for problem in problems)


def test_a_circle_of_segments_shows_its_path(folder: Path) -> None:
    program = with_segments(
        folder,
        a="in_segment('b')",
        b="orders_84d > 1 AND in_segment('c')",
        c="NOT in_segment('a')",
        d="in_segment('a')",
    )
    (problem,) = check_program(program)
    assert problem.message == "segment 'a' refers to itself: a → b → c → a"
    assert "NOT in_segment('a')" in str(problem)


def test_a_segment_of_itself(folder: Path) -> None:
    (problem,) = check_program(with_segments(folder, a="in_segment('a')"))
    assert problem.message == "segment 'a' refers to itself: a → a"


def test_two_circles_are_two_mistakes() -> None:
    rules = {
        name: parse_rule(text, ANY)
        for name, text in {
            "a": "in_segment('b') AND in_segment('c')",
            "b": "in_segment('a')",
            "c": "in_segment('a')",
        }.items()
    }
    assert cycles(rules) == [("a", "b", "a"), ("a", "c", "a")]
    with pytest.raises(ProgramError, match="a → b → a"):
        levels(rules)


def test_levels_follow_references() -> None:
    rules = {
        name: parse_rule(text, ANY)
        for name, text in {
            "top": "in_segment('middle') AND in_segment('base')",
            "middle": "in_segment('base')",
            "base": "orders_84d > 1",
        }.items()
    }
    assert levels(rules) == {"base": 0, "middle": 1, "top": 2}


def test_tables_keep_their_names(folder: Path) -> None:
    (problem,) = check_program(with_segments(folder, summary="orders_84d > 1"))
    assert "a segment can't be named 'summary'" in str(problem)


def test_the_catalog_is_compared_with_the_real_table(session: Session) -> None:
    kinds = {"number": "double", "text": "varchar", "date": "date", "boolean": "boolean"}
    columns = {name: kinds[each.type] for name, each in ANY.fields.items()}
    session.execute("create schema if not exists segments")

    def make() -> None:
        listing = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        session.execute(f"create or replace table segments.profile ({listing})")

    make()
    ANY.verify(session)
    columns["recency_days"] = "varchar"
    del columns["children"]
    make()
    with pytest.raises(DataError) as error:
        ANY.verify(session)
    assert "recency_days is VARCHAR, not a number; children is missing" in str(error.value)
