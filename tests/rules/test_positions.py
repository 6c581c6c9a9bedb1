"""Mistakes are shown where they stand in the YAML file, however the rule is quoted, folded or indented."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personalization.program import Program, load_program
from personalization.rules import RuleError, check_program

EXAMPLE = Path(__file__).parents[2] / "program"

# The mistake is always the word `wrong_field`.
LAYOUTS = {
    "plain": "rule: orders_84d >= 2 AND wrong_field > 1",
    "single quotes": "rule: 'age_band = ''25-34'' AND wrong_field > 1'",
    "double quotes": r'rule: "age_band = \"25-34\" OR age_band = ' "x" ' AND wrong_field > 1"',
    "double quotes with escapes": r'rule: "age_band = ' "\u0041" ' AND\twrong_field > 1"',
    "literal block": "rule: |\n      orders_84d >= 2\n      AND wrong_field > 1",
    "literal block with inner indentation": "rule: |\n      orders_84d >= 2\n          AND (\n        wrong_field > 1)",
    "literal block, blank line first": "rule: |\n\n      orders_84d >= 2\n\n      AND wrong_field > 1",
    "folded block": "rule: >-\n      orders_84d >= 2\n      AND wrong_field > 1",
    "plain over several lines": "rule: orders_84d >= 2\n      AND wrong_field > 1",
    "quoted over several lines": "rule: 'age_band = ''x''\n      AND wrong_field > 1'",
    "flow mapping": "{title: T, rule: orders_84d >= 2 AND wrong_field > 1}",
}


def program_with(folder: Path, entry: str) -> Program:
    shutil.copytree(EXAMPLE, folder)
    body = entry if entry.startswith("{") else f"\n    title: T\n    {entry}\n    min_completeness: 0.5"
    (folder / "segments.yaml").write_text(f"segments:\n  first: {body}\n", encoding="utf-8")
    for name in ("campaigns", "content", "offers"):
        (folder / f"{name}.yaml").unlink()
    return load_program(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_place_of_a_mistake(tmp_path: Path, layout: str) -> None:
    program = program_with(tmp_path / "program", LAYOUTS[layout])
    lines = (tmp_path / "program" / "segments.yaml").read_text(encoding="utf-8").splitlines()
    row = next(index for index, line in enumerate(lines) if "wrong_field" in line)
    mistakes = [each for each in check_program(program) if "wrong_field" in each.message]
    assert len(mistakes) == 1
    (mistake,) = mistakes
    assert isinstance(mistake, RuleError)
    assert mistake.at is not None
    assert (mistake.at.line, mistake.at.column) == (row + 1, lines[row].index("wrong_field") + 1)
    shown, carets = mistake.excerpt.splitlines()
    assert shown.strip() == lines[row].strip()
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "wrong_field"


def test_a_mistake_at_the_end_of_a_rule(tmp_path: Path) -> None:
    program = program_with(tmp_path / "program", "rule: |\n      orders_84d >= 2\n      AND")
    (mistake,) = check_program(program)
    assert mistake.at is not None
    assert (mistake.at.line, mistake.at.column) == (6, 7)
    assert "something is missing after AND" in str(mistake)
