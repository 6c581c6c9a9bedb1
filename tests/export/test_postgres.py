"""The export with its ledger in PostgreSQL: same statements, another database."""

from __future__ import annotations

from pathlib import Path

from tests.export.shop import Shop, folders
from tests.postgres import new_database, postgres_server

__all__ = ["postgres_server"]


def test_an_export_with_the_ledger_in_postgresql(tmp_path: Path, postgres_server: str) -> None:
    shop = Shop.make(tmp_path / "shop", 8, new_database(postgres_server))
    assert shop.export("file").books.acked == 8
    shop.rows[1]["offer"] = "POINTS2"
    shop.rows[2]["outcome"] = "withheld"
    shop.decide()
    shop.withdraw(3)
    books = shop.export("file").books
    assert (books.changes, books.removes, books.retractions, books.acked) == (1, 1, 1, 3)
    again = shop.export("file").books
    assert (again.planned, again.unchanged, again.present) == (1, 6, 6)
    assert again.suppressed == 1
    assert len(folders(shop)) == 2
    shop.runtime.ledger.close()
