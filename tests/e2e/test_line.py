"""The whole line, as a user runs it: in a process of its own, on real data, with a platform over HTTP."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Line, fingerprints
from tests.e2e.small import DAY

READING_RESULTS = (("GET", "/reports"), ("GET", "/lists/demo000001/members"))


def requests_made(sandbox: str) -> int:
    """Requests of exports; every run asks for results as well, with three."""
    answer = requests.get(f"{sandbox.removesuffix('/3.0')}/_sandbox/requests", timeout=10)
    made = [(each["method"], each["path"]) for each in answer.json()["requests"]]
    return len([each for each in made if each not in READING_RESULTS])


def test_the_books_of_every_destination_close(line: Line) -> None:
    books = {row["destination"]: row for row in line.first["export"]}
    assert set(books) == {"mailchimp", "file"}
    for row in books.values():
        outcomes = ("acked", "rejected", "suppressed", "invalid", "uncertain", "held")
        assert row["closes"] is True
        assert row["planned"] == sum(row[outcome] for outcome in outcomes)
        assert row["acked"] > 100


def test_nobody_is_lost_between_the_source_and_the_warehouse(line: Line) -> None:
    for row in line.first["data"]:
        assert row["landed"] == row["valid"] + row["quarantined"] + row["superseded"], row


def test_a_second_run_changes_nothing_and_makes_no_request(line: Line) -> None:
    before = requests_made(line.sandbox.base_url)
    result = line.cli.run("run", "--as-of", DAY, "--json")
    assert result.returncode == 0, result.stderr[-4000:]
    assert requests_made(line.sandbox.base_url) == before
    assert fingerprints(line.cli.root) == line.tables


@pytest.mark.slow
def test_deleting_the_warehouse_and_running_again_rebuilds_identical_tables(line: Line) -> None:
    (line.cli.root / "var" / "warehouse.duckdb").unlink()
    result = line.cli.run("run", "--as-of", DAY)
    assert result.returncode == 0, result.stderr[-4000:]
    rebuilt = fingerprints(line.cli.root)
    assert rebuilt.keys() == line.tables.keys()
    assert {name for name in rebuilt if rebuilt[name] != line.tables[name]} == set()


def test_what_the_platform_holds_is_what_was_decided(line: Line) -> None:
    url = f"{line.sandbox.base_url}/lists/demo000001/members"
    answer = requests.get(url, params={"count": 1000}, auth=("any", "test-key-us1"), timeout=10).json()
    held = {m["email_address"]: m["merge_fields"]["CAMPAIGN"] for m in answer["members"]}
    folder = line.cli.root / "var" / "exports" / "file"
    rows = [row for path in folder.rglob("*upserts*.csv") for row in csv.DictReader(path.open(encoding="utf-8"))]
    assert rows
    email = next(column for column in rows[0] if "email" in column.lower())
    assert {row[email]: row["CAMPAIGN"] for row in rows} == held


def test_no_address_outside_vault_and_exports(line: Line) -> None:
    allowed = ("demo", "exports")  # the demo's own input, and what the exporter wrote
    for path in (line.cli.root / "var").rglob("*"):
        if path.is_file() and path.relative_to(line.cli.root / "var").parts[0] not in allowed:
            assert b"@example.com" not in path.read_bytes(), path


def test_explain_tells_the_whole_path_in_words(line: Line) -> None:
    result = line.cli.run("explain", "1", "december_favourites", "--as-of", DAY)
    assert result.returncode == 0, result.stderr
    assert "consent" in result.stdout.lower()
    assert "@" not in result.stdout


@pytest.mark.slow
def test_plan_says_that_nothing_would_change_and_changes_nothing(line: Line) -> None:
    before = fingerprints(line.cli.root)
    result = line.cli.run("plan", "--as-of", DAY, "--json")
    assert result.returncode == 0, result.stderr[-4000:]
    plan = json.loads(result.stdout)
    assert all(change["enter"] == change["leave"] == 0 for change in plan["segments"])
    assert all(export["add"] == export["change"] == export["remove"] == 0 for export in plan["exports"])
    assert fingerprints(line.cli.root) == before
    assert not list((line.cli.root / "var").glob("plan-*"))


@pytest.mark.slow
def test_plan_shows_what_a_changed_rule_would_do(line: Line, tmp_path: Path) -> None:
    segments = line.cli.root / "program" / "segments.yaml"
    saved = segments.read_text(encoding="utf-8")
    try:
        segments.write_text(saved.replace("recency_days <= 14", "recency_days <= 3"), encoding="utf-8")
        result = line.cli.run("plan", "--as-of", DAY, "--json")
    finally:
        segments.write_text(saved, encoding="utf-8")
    assert result.returncode == 0, result.stderr[-4000:]
    plan = json.loads(result.stdout)
    change = next(c for c in plan["segments"] if c["segment"] == "likely_buyers")
    assert change["leave"] == change["before"] - change["after"] > 0
    assert change["enter"] == 0


def test_report_prints_the_last_run(line: Line) -> None:
    result = line.cli.run("report")
    assert result.returncode == 0, result.stderr
    assert "index.html" in result.stdout
    assert (line.cli.root / "var" / "reports" / DAY / "index.html").exists()


@pytest.mark.slow
def test_a_later_day_exports_only_what_changed(line: Line, tmp_path: Path) -> None:
    with line.copy(tmp_path) as cli:
        result = cli.run("run", "--as-of", "2017-12-04", "--json")
    assert result.returncode == 0, result.stderr[-4000:]
    for row in json.loads(result.stdout)["export"]:
        first = next(r for r in line.first["export"] if r["destination"] == row["destination"])
        assert 0 < row["planned"] < first["planned"]


def test_simulate_says_what_other_settings_would_decide_and_changes_nothing(line: Line) -> None:
    before = fingerprints(line.cli.root)

    def simulated(setting: str) -> dict[str, Any]:
        result = line.cli.run("decisions", "simulate", "--set", setting, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    nobody = simulated("segments.young_families.rule=FALSE")  # evaluated again in the copy
    sent = {row["campaign"]: (row["now"], row["then"]) for row in nobody["outcomes"] if row["outcome"] == "send"}
    assert sent["december_families"][0] > sent["december_families"][1] == 0
    assert sent["december_comeback"][0] == sent["december_comeback"][1] > 0, "goes first, so nothing differs"
    assert nobody["gained"] == 0 < nobody["moved"]
    found = simulated("holdout.share=1")
    assert (found["sends_then"], found["lost"]) == (0, found["sends_now"])
    assert found["sends_now"] == sum(row["now"] for row in found["outcomes"] if row["outcome"] == "send") > 0
    assert fingerprints(line.cli.root) == before


def test_hygiene_names_segments_with_a_suggestion(line: Line) -> None:
    """The example program has segments that no campaign uses."""
    found = json.loads(line.cli.run("segments", "hygiene", "--json").stdout)
    unused = {each["segment"] for each in found if each["kind"] == "unused"}
    assert "loyal_couponers" in unused
    assert "lapsing" not in unused
    assert all(each["suggestion"] for each in found)


@pytest.mark.slow
def test_days_to_come_are_simulated_in_a_copy_and_break_no_rule(line: Line, tmp_path: Path) -> None:
    before = fingerprints(line.cli.root)
    arguments = ("--days", "10", "--people", "200", "--spell", "2-4", "--out", str(tmp_path / "page"), "--json")
    found = json.loads(line.cli.run("decisions", "simulate", *arguments).stdout)
    assert set(found["violations"].values()) == {0}
    assert found["sent"] > 0
    assert len(found["days"]) == 10
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 6
    assert "t1_" not in page
    assert {path.name for path in (tmp_path / "page").iterdir()} >= {"volume.png", "tiers.png", "gaps.png"}
    assert fingerprints(line.cli.root) == before
