"""The whole line through a new token key: every table says the same of the same people, nobody is written to (43)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from personalization.ledger import Keyring
from personalization.ledger.retoken import Renaming
from personalization.warehouse import Warehouse
from tests.e2e.conftest import Line
from tests.e2e.small import DAY
from tests.e2e.test_line import requests_made

CHOSEN = ("decisions.", "segments.", "experiments.", "scores.", "landed.", "marts.", "features.")


def tables(root: Path, renaming: Renaming | None = None) -> dict[str, Counter[str]]:
    """The rows of every table, in no order."""
    found = {}
    with Warehouse(root / "var" / "warehouse.duckdb").connect() as session:
        names = session.rows(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and table_schema not in ('main') order by 1"
        )
        for (name,) in names:
            if name.startswith(CHOSEN) and name != "segments.evaluations":  # whether a segment was evaluated or reused
                rows = [repr(row) for row in session.rows(f"from {name}")]
                found[name] = Counter(map(str, renaming.texts(rows) if renaming else rows))
    return found


def differing(one: dict[str, Counter[str]], other: dict[str, Counter[str]]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_table_is_the_same_and_nothing_is_sent(line: Line, tmp_path: Path) -> None:
    with line.copy(tmp_path) as cli:
        before = tables(cli.root)
        rotated = cli.run("keys", "rotate", "token", "--json")
        assert rotated.returncode == 0, rotated.stderr[-4000:]
        said = json.loads(rotated.stdout)
        assert (said["new"], said["left"]) == ("k2", [])
        keys = Keyring.load(cli.root / "var" / "keys.json")
        expected = {
            name: Counter(dict(zip(map(str, Renaming(keys).texts(list(rows))), rows.values(), strict=True)))
            for name, rows in before.items()
        }
        assert differing(tables(cli.root), expected) == set()
        made = requests_made(cli.mailchimp)
        again = cli.run("run", "--as-of", DAY, "--json")
        assert again.returncode == 0, again.stderr[-4000:]
        assert all(row["acked"] == 0 for row in json.loads(again.stdout)["export"])
        assert requests_made(cli.mailchimp) == made
        assert differing(tables(cli.root), expected) == set()
        (cli.root / "var" / "warehouse.duckdb").unlink()
        rebuilt = cli.run("run", "--as-of", DAY, "--json")
        assert rebuilt.returncode == 0, rebuilt.stderr[-4000:]
        assert requests_made(cli.mailchimp) == made
        assert differing(tables(cli.root), expected) == set()
        later = cli.run("run", "--as-of", "2017-12-04", "--json")
        assert later.returncode == 0, later.stderr[-4000:]
        for row in json.loads(later.stdout)["export"]:
            first = next(r for r in line.first["export"] if r["destination"] == row["destination"])
            assert 0 < row["planned"] < first["planned"]
        verified = cli.run("privacy", "verify-ledger")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        refused = cli.run("keys", "retire", "k1")
        assert refused.returncode == 6
        assert "are made over them" in refused.stderr
