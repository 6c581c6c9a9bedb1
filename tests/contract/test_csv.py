"""The adapter contract for CSV: what a consumer knows who takes in the folders in order."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

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
