"""What a user sees who made a mistake: one clear message, an exit code, and a workspace that the next run heals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Line
from tests.e2e.small import DAY, Cli

NOWHERE = "http://127.0.0.1:9/3.0"  # the discard port: nobody answers there


@pytest.fixture
def cli(blank: Path, tmp_path: Path) -> Cli:
    return Cli(Path(shutil.copytree(blank, tmp_path / "shop")), NOWHERE)


def edit(cli: Cli, file: str, old: str, new: str) -> None:
    path = cli.root / "program" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_no_program(tmp_path: Path) -> None:
    result = Cli(tmp_path, NOWHERE).run("check")
    assert result.returncode == 2
    assert "personalization init" in result.stderr
    assert "Traceback" not in result.stderr


def test_broken_yaml(cli: Cli) -> None:
    edit(cli, "segments.yaml", "title: Large baskets", "title: [Large baskets")
    result = cli.run("check")
    assert result.returncode == 2
    assert "program/segments.yaml:" in result.stderr
    assert "broken YAML" in result.stderr


def test_unknown_field_in_a_rule(cli: Cli) -> None:
    edit(cli, "segments.yaml", "recency_days <= 14", "recencydays <= 14")
    result = cli.run("run", "--as-of", DAY)
    assert result.returncode == 2
    assert "program/segments.yaml:5:11" in result.stderr
    assert "recency_days" in result.stderr
    assert not (cli.root / "var" / "landing").exists()


def test_unknown_column_in_a_mapping(cli: Cli) -> None:
    edit(cli, "sources.yaml", "quantity: quantity", "quantitty: quantity")
    result = cli.run("check")
    assert result.returncode == 2
    assert "'quantitty'" in result.stderr
    assert "'quantity'" in result.stderr


def test_missing_key_file(cli: Cli) -> None:
    (cli.root / "var" / "keys.json").unlink()
    result = cli.run("run", "--as-of", DAY)
    assert result.returncode == 6
    assert "keys.json" in result.stderr
    assert "personalization init" in result.stderr


def test_key_file_open_to_others(cli: Cli) -> None:
    (cli.root / "var" / "keys.json").chmod(0o644)
    result = cli.run("run", "--as-of", DAY)
    assert result.returncode == 6
    assert "chmod 600" in result.stderr


def test_a_missing_source_file_as_text_and_as_json(cli: Cli) -> None:
    (cli.root / "data" / "campaigns.parquet").unlink()
    result = cli.run("run", "--as-of", DAY, "--json")
    assert result.returncode == 3
    assert "campaigns.parquet" in result.stderr
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert answer["kind"] == "SourceError"
    assert "campaigns.parquet" in answer["error"]


def test_a_file_of_zero_bytes(cli: Cli) -> None:
    (cli.root / "var" / "demo" / "customers.csv").write_bytes(b"")
    result = cli.run("run", "--as-of", DAY)
    assert result.returncode == 3
    assert "customers.csv" in result.stderr
    assert "empty" in result.stderr


def test_a_day_before_the_program_starts(cli: Cli) -> None:
    result = cli.run("run", "--as-of", "2017-01-01")
    assert result.returncode != 0
    assert "2017-06-04" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_such_command_asset_or_day(cli: Cli) -> None:
    assert cli.run("runn").returncode == 2
    result = cli.run("run", "--as-of", "tomorrow")
    assert result.returncode == 1
    assert "YYYY-MM-DD" in result.stderr
    result = cli.run("run", "--as-of", DAY, "--select", "segments/lapsin")
    assert result.returncode == 1
    assert "did you mean 'segments/lapsing'?" in result.stderr


def test_nothing_was_run_yet(cli: Cli) -> None:
    result = cli.run("report")
    assert result.returncode == 1
    assert "personalization run" in result.stderr


def test_the_warehouse_is_locked_by_another_process(line: Line) -> None:
    path = line.cli.root / "var" / "warehouse.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(path)!r}); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        result = line.cli.run("explain", "1", "december_favourites", "--as-of", DAY)
    finally:
        holder.communicate(b"\n")
    assert result.returncode == 5
    assert f"process {holder.pid}" in result.stderr


def test_unknown_customer_and_campaign(line: Line) -> None:
    result = line.cli.run("explain", "99999999", "december_favourites", "--as-of", DAY)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    result = line.cli.run("explain", "1", "december_favorites", "--as-of", DAY)
    assert result.returncode != 0
    assert "december_favourites" in result.stderr
