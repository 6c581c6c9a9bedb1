"""The adapter contract for CSV: what a consumer knows who takes in the folders in order."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError
from tests.contract.adapter import AdapterContract, killer
from tests.export.shop import Shop

__all__ = ["killer"]


class TestCsv(AdapterContract):
    destination = "file"

    @pytest.fixture
    def platform(self, shop: Shop) -> Path:
        return shop.root / "var" / "exports" / "file"

    def folders(self, platform: Path) -> list[Path]:
        return sorted(path for path in platform.glob("*") if not path.name.startswith("."))

    def held(self, platform: Path) -> dict[str, dict[str, Any]]:
        known: dict[str, dict[str, Any]] = {}
        for folder in self.folders(platform):
            for name in ("upserts", "removals", "suppressions"):
                with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
                    for row in csv.DictReader(file):
                        email = row.pop("email")
                        row.pop("external_id")
                        known.pop(email, None)
                        if name == "upserts":
                            known[email] = row
        return known

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        return {
            email: {**values, "SCORE": f"{values['SCORE']:.4f}".rstrip("0").rstrip(".")}
            for email, values in shop.wanted().items()
        }

    def opted_out(self, platform: Path) -> set[str]:
        found = set()
        for folder in self.folders(platform):
            with (folder / "suppressions.csv").open(newline="", encoding="utf-8") as file:
                found |= {row["email"] for row in csv.DictReader(file)}
        return found

    def touched(self, platform: Path) -> int:
        return len(list(platform.rglob("*")))

    @pytest.mark.parametrize("kind", ["a file in place of the folder"])
    def test_three_runs_after_the_faults_stopped_everything_is_there(
        self, shop: Shop, platform: Path, kind: str
    ) -> None:
        platform.parent.mkdir(parents=True, exist_ok=True)
        platform.write_text("in the way")
        with pytest.raises(ExportError, match="can't be"):
            shop.export(self.destination)
        assert all(books.closes for books in shop.books(self.destination))
        platform.unlink()
        shop.export(self.destination)
        self.assert_settled(shop, platform)

    def test_a_duplicated_delivery_changes_nothing(self, shop: Shop, platform: Path) -> None:
        """Whoever takes a folder in twice knows the same as before."""
        shop.export(self.destination)
        (folder,) = self.folders(platform)
        before = self.held(platform)
        shutil.copytree(folder, folder.with_name(f"{folder.name}-again"))
        assert self.held(platform) == before

    def emptied(self, shop: Shop, platform: Path) -> Path:
        return shop.root / "var" / "exports" / "file"

    def test_it_needs_nothing_from_the_environment(
        self, shop: Shop, platform: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No address, no key, no certificate."""
        for name in list(os.environ):
            if name.endswith(("_URL", "_KEY", "_TOKEN")):
                monkeypatch.delenv(name)
        shop.export(self.destination)
        self.assert_settled(shop, platform)
