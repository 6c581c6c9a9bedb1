"""The whole line with people whose data must be nowhere but in the vault and at the exporter (invariants 41 and 44)."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
import requests

from personalization.privacy.inventory import CATEGORIES, area_of, without_purpose
from personalization.privacy.needles import Needle
from personalization.privacy.person import find_person
from personalization.privacy.scan import scan
from personalization.runtime import Runtime
from personalization.sandbox import run_sandbox
from personalization.warehouse import Warehouse
from personalization.workspace import Workspace
from tests.e2e.conftest import Line
from tests.e2e.small import API_KEY, DAY, Cli


def customers(root: Path) -> list[dict[str, str]]:
    with (root / "var" / "demo" / "customers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def allowed(root: Path) -> list[Path]:
    """Sources, and what the exporter hands over."""
    return [root / "var" / "demo", root / "var" / "exports", root / "var" / "keys.json"]


def is_personal(table: str) -> bool:
    area = area_of(table)
    return area is not None and CATEGORIES[area.category].personal


def test_no_address_is_outside_the_vault_and_the_exporter(line: Line) -> None:
    root = line.cli.root
    addresses = [row["email"] for row in customers(root)[:3]]
    needles = [Needle("email", address) for address in addresses]
    for name in ("md5", "sha1", "sha256"):  # without a key they can be guessed, so they are as good as the address
        needles += [Needle(name, hashlib.new(name, address.encode()).hexdigest()) for address in addresses]
    assert scan(root / "var" / "exports", needles).hits, "the scan sees what is there"
    assert scan(root / "var", needles, without=allowed(root)).hits == ()


def test_everything_that_a_run_makes_has_a_stated_purpose(line: Line) -> None:
    with Warehouse(line.cli.root / "var" / "warehouse.duckdb").connect() as session:
        columns = session.rows(
            "select table_schema || '.' || table_name, column_name from information_schema.columns"
            " where table_schema not in ('main', 'information_schema', 'pg_catalog')"
        )
    assert without_purpose(columns) == [], "say in privacy/inventory.py what it is for"
    about_people = {table for table, column in columns if column.endswith(("_token", "customer_key"))}
    assert {table for table in about_people if not is_personal(table)} == set(), "its rows are about people"


def test_a_customer_gets_a_copy_by_command(line: Line) -> None:
    asked = customers(line.cli.root)[0]["email"]
    result = line.cli.run("privacy", "export", asked, "--json")
    assert result.returncode == 0, result.stderr
    copy = json.loads(result.stdout)
    document = json.loads((Path(copy["folder"]) / "data.json").read_text())
    assert document["vault"][0]["value"] == asked
    assert document["explanation"]
    assert {"scores.explanations", "decisions.decisions", "segments.membership", "marts.orders"} <= set(
        document["warehouse"]
    )
    assert asked not in result.stderr


@pytest.mark.slow
def test_canaries_with_names_and_numbers_through_the_whole_line_and_out_again(blank: Path, tmp_path: Path) -> None:
    import shutil

    root = Path(shutil.copytree(blank, tmp_path / "shop"))
    sources = root / "program" / "sources.yaml"
    mapped = sources.read_text().replace(
        "          email: email\n",
        "          email: email\n          phone: phone\n          first_name: first\n          last_name: last\n",
    )
    sources.write_text(mapped)
    rows = customers(root)
    for number, row in enumerate(rows):
        row.update(phone=f"+49 30 7770{number:04}", first=f"Canaria-{number}", last=f"Kanarienvogel-{number}")
    with (root / "var" / "demo" / "customers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    canary = rows[0]
    needles = [Needle(kind, canary[kind]) for kind in ("email", "phone", "first", "last")]
    with run_sandbox("mailchimp", api_key=API_KEY, list_id="demo000001") as sandbox:
        cli = Cli(root, sandbox.base_url)
        result = cli.run("run", "--as-of", DAY)
        assert result.returncode == 0, result.stderr[-3000:]
        assert scan(root / "var", needles, without=allowed(root)).hits == ()
        runtime = Runtime(Workspace.at(root))
        assert set(find_person(runtime, canary["email"]).values()) == {canary[needle.kind] for needle in needles}
        runtime.ledger.close()
        erased = cli.run("privacy", "erase", canary["email"], "--yes", "--json")
        assert erased.returncode == 0, erased.stderr[-3000:]
        found = json.loads(erased.stdout)
        assert found["sources"] == ["var/demo/customers.csv"]
        assert scan(root / "var", needles, without=[root / "var" / "demo"]).hits == ()
        members = requests.get(
            f"{sandbox.base_url}/lists/demo000001/members", params={"count": 1000}, auth=("any", API_KEY), timeout=10
        ).json()["members"]
        assert canary["email"] not in {member["email_address"] for member in members}
        verified = cli.run("privacy", "verify", found["receipt"])
        assert verified.returncode == 0, verified.stderr
        again = cli.run("run", "--as-of", DAY)
        assert again.returncode == 0, again.stderr[-3000:]
