"""Nobody whose opt-out was answered leaves in a batch that was cut later (invariant 31, S1), whatever gets killed."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, select, type_coerce

from personalization.ledger.export_schema import outbox
from tests.export.race import ACKNOWLEDGED
from tests.export.shop import Shop, address, folders


@dataclass(frozen=True)
class Race:
    """How it went: rows that left, opt-outs that were answered, kills of either side, and rows that should not have."""

    rows: int
    opt_outs: int
    kills: tuple[int, int]
    violations: int


def race(root: Path, people: int, rows: int, seconds: float, *options: str) -> Race:
    shop = Shop.make(root, people)
    shop.edit("destinations", "mails: false", "mails: true")
    shop.edit("campaigns", "destinations: [mailchimp, file]", "destinations: [file]")
    shop.runtime.ledger.close()
    command = [sys.executable, "-m", "tests.export.race", str(root), str(rows), str(seconds), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    kills = tuple(int(word) for word in done.stdout.split())
    answered = {}
    for line in (root / ACKNOWLEDGED).read_text().splitlines():
        token, moment = line.split()
        answered.setdefault(token, int(moment))
    columns = outbox.c
    query = select(columns.customer_token, type_coerce(columns.cut_at, BigInteger), columns.run, columns.batch).where(
        columns.operation.in_(("add", "change")), columns.state.in_(("acked", "uncertain", "in_flight"))
    )
    with shop.runtime.ledger.read() as connection:
        left = connection.execute(query).fetchall()
    cut_at = {(run, batch): moment for _, moment, run, batch in left}
    tokens = dict(zip((address(number) for number in range(people)), map(shop.customer, range(people)), strict=True))
    found = violations = 0
    for folder in folders(shop):  # what really left
        if folder.name.startswith("."):
            continue
        run, batch = folder.name.removeprefix("run-").split("_")[0].split("-")
        with (folder / "upserts.csv").open(newline="") as lines:
            for row in csv.DictReader(lines):
                found += 1
                violations += answered.get(tokens[row["email"]], sys.maxsize) < cut_at[int(run), int(batch)]
    assert found == len(left)
    return Race(found, len(answered), kills, violations)  # type: ignore[arg-type]


def test_no_answered_opt_out_leaves(tmp_path: Path) -> None:
    result = race(tmp_path / "shop", 800, 3_000, 20)
    assert result.violations == 0
    assert result.rows > 500
    assert result.opt_outs > 50


@pytest.mark.slow
def test_a_filter_before_rendering_is_found_out(tmp_path: Path) -> None:
    result = race(tmp_path / "shop", 3_000, 30_000, 120, "early")
    assert result.violations > 0


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_no_answered_opt_out_leaves_in_a_million_rows(tmp_path: Path) -> None:
    result = race(tmp_path / "shop", 120_000, 1_000_000, 2_100)  # so many that opt-outs leave enough
    assert result.violations == 0
    assert result.rows >= 1_000_000
    assert result.opt_outs > 5_000
    assert min(result.kills) >= 5
