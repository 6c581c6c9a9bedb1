"""A house of pages for every test: a fresh copy of one that was built once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.pages.house import House


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = House.build(tmp_path_factory.mktemp("house") / "shop")
    house.person("ann")
    house.person("bob")
    house.ledger.close()
    return house.root


@pytest.fixture
def house(built: Path, tmp_path: Path) -> Iterator[House]:
    """Ann and Bob agreed to offers, and to sale and sharing of their data; the pages are being served."""
    with House(Path(shutil.copytree(built, tmp_path / "shop"))).open() as opened:
        yield opened


@pytest.fixture
def ann(house: House) -> str:
    return house.keys.token("customer", "ann")
