"""The adapter contract for CSV: what a consumer knows who takes in the folders in order."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from personalization.errors import ExportError
from tests.contract.adapter import AdapterContract, killer
from tests.export.object_store import BUCKET, Fault, ObjectStoreServer, object_store
from tests.export.shop import Shop

__all__ = ["killer"]


def as_written(shop: Shop) -> dict[str, dict[str, Any]]:
    """What should be there by address, with numbers as they are written."""
    return {
        email: {**values, "SCORE": f"{values['SCORE']:.4f}".rstrip("0").rstrip(".")}
        for email, values in shop.wanted().items()
    }


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
        return as_written(shop)

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


@pytest.mark.slow
class TestCsvInObjectStore(AdapterContract):
    """The same folders in an S3 bucket."""

    destination = "there"
    settings = "platform: csv\nmails: false\nfolder: s3://exports/daily"

    @pytest.fixture(scope="class")
    def server(self) -> Iterator[ObjectStoreServer]:
        with object_store() as running:
            yield running

    @pytest.fixture
    def platform(self, server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> ObjectStoreServer:
        server.empty()
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    def held(self, platform: ObjectStoreServer) -> dict[str, dict[str, Any]]:
        known: dict[str, dict[str, Any]] = {}
        for kind, row in self.rows(platform):
            email = row.pop("email")
            row.pop("external_id")
            known.pop(email, None)
            if kind == "upserts":
                known[email] = row
        return known

    def rows(self, platform: ObjectStoreServer) -> Iterator[tuple[str, dict[str, str]]]:
        """Rows of complete folders in the order in which they are taken in, each with the name of its file."""
        objects = platform.objects()
        for manifest in sorted(key for key in objects if key.endswith("/manifest.json")):
            for kind in ("upserts", "removals", "suppressions"):
                content = objects[manifest.replace("manifest.json", f"{kind}.csv")].decode()
                for row in csv.DictReader(io.StringIO(content, newline="")):
                    yield kind, row

    def wanted(self, shop: Shop) -> dict[str, dict[str, Any]]:
        return as_written(shop)

    def opted_out(self, platform: ObjectStoreServer) -> set[str]:
        return {row["email"] for kind, row in self.rows(platform) if kind == "suppressions"}

    def touched(self, platform: ObjectStoreServer) -> int:
        return sum(entry.startswith(("PUT", "POST", "DELETE")) for entry in platform.log)

    def emptied(self, shop: Shop, platform: ObjectStoreServer) -> ObjectStoreServer:
        platform.empty()
        return platform

    @pytest.mark.parametrize("applied", [True, False])
    def test_three_runs_after_the_faults_stopped_everything_is_there(
        self, shop: Shop, platform: ObjectStoreServer, applied: bool
    ) -> None:
        platform.faults.append(Fault("PUT", "manifest", applied=applied, times=1_000))
        with contextlib.suppress(ExportError):
            shop.export(self.destination)
        platform.faults.clear()
        shop.export(self.destination)
        self.assert_settled(shop, platform)

    def test_a_duplicated_delivery_changes_nothing(self, shop: Shop, platform: ObjectStoreServer) -> None:
        """Whoever takes a folder in twice, or gets every object once more, knows the same as before."""
        shop.export(self.destination)
        before = self.held(platform)
        for key, content in platform.objects().items():
            platform.client.put_object(Bucket=BUCKET, Key=key, Body=content)
            platform.client.put_object(Bucket=BUCKET, Key=key.replace("_2017", "-again_2017"), Body=content)
        assert self.held(platform) == before
