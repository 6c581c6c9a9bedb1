"""CSV folders: what is in them, what a spreadsheet may not do with them, and that they are whole or not there."""

from __future__ import annotations

import csv
import hashlib
import stat
from pathlib import Path

import pytest

from personalization.errors import ExportError
from personalization.ledger import VaultItem
from tests.export.shop import Shop, address, folders, manifest


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_manifest_describes_every_file(shop: Shop) -> None:
    exported = shop.export("file")
    (folder,) = folders(shop)
    assert folder.name == "run-000001-1_2017-12-03"
    content = manifest(folder)
    assert (content["as_of"], content["run"], content["plan_hash"]) == ("2017-12-03", 1, exported.plan.hash)
    assert {entry["name"]: entry["rows"] for entry in content["files"]} == {
        "upserts.csv": 8,
        "removals.csv": 0,
        "suppressions.csv": 0,
    }
    for entry in content["files"]:
        data = (folder / entry["name"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
        assert data.splitlines()[0].decode().split(",") == entry["columns"]


def test_rows_carry_address_own_id_and_fields(shop: Shop) -> None:
    shop.export("file")
    (folder,) = folders(shop)
    row = next(row for row in rows(folder, "upserts.csv") if row["email"] == address(3))
    assert row == {
        "email": address(3),
        "external_id": shop.runtime.keys.token("export:file", shop.customer(3)),
        "CAMPAIGN": "december",
        "PB_HERO": "FLOWERS",
        "OFFER": "BACK15",
        "SCORE": "0.03",
    }


def test_removals_and_opt_outs_have_files_of_their_own(shop: Shop) -> None:
    shop.export("file")
    shop.rows[1]["outcome"] = "withheld"
    shop.decide()
    shop.withdraw(2)
    shop.export("file")
    folder = folders(shop)[1]
    assert [row["email"] for row in rows(folder, "removals.csv")] == [address(1)]
    assert [row["email"] for row in rows(folder, "suppressions.csv")] == [address(2)]
    assert rows(folder, "upserts.csv") == []


def test_nothing_changed_makes_no_folder(shop: Shop) -> None:
    shop.export("file")
    shop.export("file")
    assert len(folders(shop)) == 1


@pytest.mark.parametrize("cell", ['=HYPERLINK("x")', "+1", "-1", "@sum", "\tx", "\rx"])
def test_text_that_is_a_formula_is_defused(shop: Shop, cell: str) -> None:
    shop.rows[1]["offer"] = cell
    shop.decide()
    shop.export("file")
    row = next(row for row in rows(folders(shop)[0], "upserts.csv") if row["email"] == address(1))
    assert row["OFFER"] == f"'{cell}"


def test_negative_numbers_stay_numbers(shop: Shop) -> None:
    shop.rows[1]["purchase_score"] = -0.5
    shop.decide()
    shop.export("file")
    row = next(row for row in rows(folders(shop)[0], "upserts.csv") if row["email"] == address(1))
    assert row["SCORE"] == "-0.5"


def test_an_address_that_is_a_formula_is_told_not_changed(shop: Shop) -> None:
    runtime, formula = shop.runtime, "=1+1@example.com"
    token = runtime.keys.token("email", formula)
    runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(1), "email", token, formula)])
    shop.rows[1]["email_token"] = token
    shop.decide()
    books = shop.export("file").books
    assert (books.acked, books.invalid) == (7, 1)
    assert formula not in (folders(shop)[0] / "upserts.csv").read_text()


def test_quotes_commas_and_line_breaks_survive(shop: Shop) -> None:
    shop.rows[1]["offer"] = 'a "b",\nc'
    shop.decide()
    shop.export("file")
    data = (folders(shop)[0] / "upserts.csv").read_bytes()
    assert data.count(b"\r\n") == 9
    assert b'"a ""b"",\nc"' in data


def test_only_the_owner_can_read_them(shop: Shop) -> None:
    shop.export("file")
    (folder,) = folders(shop)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_of_ones_own(shop: Shop) -> None:
    shop.edit("destinations", "platform: csv\n", "platform: csv\n    folder: out/lists\n")
    shop.export("file")
    assert (shop.root / "out" / "lists" / "run-000001-1_2017-12-03" / "manifest.json").exists()


def test_a_folder_that_can_t_be_written_holds_everything(shop: Shop) -> None:
    blocker = shop.root / "var" / "exports"
    blocker.write_text("a file where the folder should be")
    with pytest.raises(ExportError, match=r"the folder .* can't be made") as refused:
        shop.export("file")
    assert "folder" in (refused.value.hint or "")
    assert (shop.books("file")[0].held, shop.books("file")[0].closes) == (8, True)
    blocker.unlink()
    assert shop.export("file").books.acked == 8
