"""Killed anywhere, run again: same tables, same exports as without the kill (invariant 7 of docs/architecture.md)."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import requests

from personalization.sandbox import run_sandbox
from tests.e2e.conftest import Line, fingerprints
from tests.e2e.small import API_KEY, DAY, Cli


def steps(line: Line) -> list[str]:
    """The steps of a run in the order they ran, as printed by the CLI where there is no terminal."""
    result = line.cli.run("run", "--as-of", DAY)
    assert result.returncode == 0, result.stderr[-4000:]
    return [text.strip() for text in result.stderr.splitlines() if text.startswith("  ")]


def held_by_platform(base_url: str) -> dict[str, tuple[str, dict[str, object], tuple[str, ...]]]:
    url = f"{base_url}/lists/demo000001/members"
    members = requests.get(url, params={"count": 1000}, auth=("any", API_KEY), timeout=10).json()["members"]
    return {
        m["email_address"]: (m["status"], m["merge_fields"], tuple(sorted(tag["name"] for tag in m["tags"])))
        for m in members
    }


def exported_files(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in (root / "var" / "exports").rglob("*.csv")}


def assert_same_as_uninterrupted(line: Line, cli: Cli) -> None:
    assert fingerprints(cli.root) == line.tables
    assert held_by_platform(cli.mailchimp) == held_by_platform(line.cli.mailchimp)
    assert exported_files(cli.root) == exported_files(line.cli.root)


def killed_then_finished(line: Line, root: Path, boundaries: list[str]) -> None:
    """Kill one workspace once after each of the steps, each time a little further, then let it finish and compare."""
    with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001") as sandbox:
        cli = Cli(root, sandbox.base_url)
        for step in boundaries:
            killed = cli.run("run", "--as-of", DAY, PERSONALIZATION_CRASH_AT=f"success:{step}")
            assert killed.returncode == -signal.SIGKILL, (step, killed.stderr[-2000:])
        result = cli.run("run", "--as-of", DAY)
        assert result.returncode == 0, result.stderr[-4000:]
        assert_same_as_uninterrupted(line, cli)


# Workspaces are copied with their keys, so that tokens, and with them all tables, can be compared.


@pytest.mark.slow
def test_killed_after_an_export(line: Line, blank: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(blank, tmp_path / "shop"))
    killed_then_finished(line, root, ["export__mailchimp"])


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a dozen runs, each killed later than the one before
def test_killed_after_every_stage(line: Line, blank: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(blank, tmp_path / "shop"))
    boundaries = [step for step in steps(line) if step.startswith(STAGE_ENDS)]
    assert len(boundaries) >= len(STAGE_ENDS)
    killed_then_finished(line, root, boundaries)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["export.after_cut", "export.after_send", "export.after_ack"])
def test_killed_inside_an_export(line: Line, blank: Path, tmp_path: Path, point: str) -> None:
    root = Path(shutil.copytree(blank, tmp_path / "shop"))
    with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001") as sandbox:
        cli = Cli(root, sandbox.base_url)
        killed = cli.run("run", "--as-of", DAY, PERSONALIZATION_CRASH_AT=point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        result = cli.run("run", "--as-of", DAY)
        assert result.returncode == 0, result.stderr[-4000:]
        assert_same_as_uninterrupted(line, cli)


# The last step of each stage; a step's name begins with its first asset's key.
STAGE_ENDS = (
    "landing",
    "landed",
    "normalise",
    "features",
    "scores__",
    "segments",
    "decisions",
    "export__file",
    "export__mailchimp",
    "monitoring__report",
)
