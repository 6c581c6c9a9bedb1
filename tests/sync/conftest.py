"""A fresh small company for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.ledger import Ledger
from tests.sync.shop import Shop, new_shop


@pytest.fixture(scope="session")
def empty_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with keys and an empty ledger, to copy: migrations need not run for every test."""
    shop = new_shop(tmp_path_factory.mktemp("empty") / "shop")
    Ledger.open(shop.workspace.ledger_url).close()
    return shop.root


@pytest.fixture
def shop(empty_shop: Path, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(Path(shutil.copytree(empty_shop, tmp_path / "shop")))
    yield shop
    shop.ledger.close()
