"""Other versions of a program, for asking what they would do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from personalization.errors import PersonalizationError, ProgramError
from personalization.program import Program, load_program
from personalization.rules import program_rules
from personalization.what_if.variants import program_at, program_with

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The demo's program, in a git repository of its own."""
    folder = Path(shutil.copytree(REPOSITORY / "program", tmp_path / "shop" / "program"))
    for command in (["init", "-q"], ["add", "program"], ["commit", "-qm", "first"]):
        settings = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", "-C", str(folder.parent), *settings, *command], check=True)
    return load_program(folder)


def test_settings_are_changed_in_every_file_and_nowhere_else(program: Program) -> None:
    hash_before = program.hash
    changes = [
        "fatigue.min_gap_days=9",
        "fatigue.caps.0.sends=1",
        "campaigns.december_families.priority=1",
        "offers.thanks.when=orders_84d >= 9",
        "program.min_completeness=0.5",
    ]
    with program_with(program, changes) as changed:
        assert changed.settings.fatigue.min_gap_days == 9
        assert changed.settings.fatigue.caps[0].sends == 1
        assert changed.campaigns["december_families"].priority == 1
        assert changed.offers["thanks"].when == "orders_84d >= 9"
        assert changed.settings.min_completeness == 0.5
        assert changed.segments == program.segments
    assert load_program(program.root).hash == hash_before


def test_a_mistake_is_shown_at_the_file_that_the_user_knows(program: Program) -> None:
    known = program.root / "segments.yaml"
    with (
        pytest.raises(ProgramError) as error,
        program_with(program, ["segments.lapsing.rule=recency_dys > 3"]) as changed,
    ):
        program_rules(changed)
    assert str(error.value).startswith(f"{known} (as changed):12:11: unknown field 'recency_dys'")
    with pytest.raises(ProgramError) as error, program_with(program, ["fatigue.min_gap_dys=5"]):
        pass
    assert f"{program.root / 'program.yaml'} (as changed):" in str(error.value)
    known.write_text("segments: {a: {title: A, rule: nothing > 1}}")
    settings = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", "-C", str(program.root), *settings, "commit", "-qam", "second"], check=True)
    with pytest.raises(ProgramError) as error, program_at(program, "HEAD") as old:
        program_rules(old)
    assert f"{known} (at HEAD):1:" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        (["fatigue.min_gap=5d"], 5),
        (["fatigue.min_gap=1w"], 7),
        (["fatigue.min_gap=5d", "fatigue.min_gap_days=6"], 6),
        (["fatigue.min_gap_days=6", "fatigue.min_gap=5d"], 5),
    ],
)
def test_the_gap_goes_by_two_names_and_the_last_said_counts(program: Program, changes: list[str], days: int) -> None:
    with program_with(program, changes) as changed:
        assert changed.settings.fatigue.min_gap_days == days


def test_a_section_that_was_left_out_is_made(program: Program) -> None:
    changes = ["sunset.inactive_days=90", "governor.days=7", "quiet_hours.from=22:00"]
    with program_with(program, changes) as changed:
        settings = changed.settings
        assert settings.sunset is not None
        assert settings.sunset.inactive_days == 90
        assert settings.governor is not None
        assert settings.governor.days == 7
        assert settings.quiet_hours is not None
        assert settings.quiet_hours.begin == "22:00"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("fatigue.min_gapp=5", "did you mean 'min_gap_days'?"),
        ("fatigue.min_gap=5h", "such as 3d, 5 days or 1w"),
        ("campaigns.december_familie.priority=5", "did you mean 'december_families'?"),
        ("fatigue.min_gap_days=often", "min_gap_days"),
        ("fatigue.caps.7.sends=1", "there is no 'fatigue.caps.7'"),
        ("fatigue.min_gap_days.more.still=1", "there is no"),
        ("something", "changes nothing"),
        ("=5", "changes nothing"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(program: Program, change: str, message: str) -> None:
    with pytest.raises(ProgramError) as error, program_with(program, [change]):
        pass
    assert message in str(error.value)


def test_the_program_of_a_commit(program: Program) -> None:
    path = program.root / "segments.yaml"
    path.write_text(path.read_text().replace("orders_84d >= 2", "orders_84d >= 4"))
    now = load_program(program.root)
    with program_at(now, "HEAD") as before:
        assert before.hash == program.hash
        assert before.hash != now.hash


def test_what_git_can_not_show_is_said(program: Program, tmp_path: Path) -> None:
    with pytest.raises(PersonalizationError, match="at 'nowhere'"), program_at(program, "nowhere"):
        pass
    alone = load_program(shutil.copytree(program.root, tmp_path / "alone"))
    with pytest.raises(PersonalizationError, match="not a git repository"), program_at(alone, "HEAD"):
        pass
