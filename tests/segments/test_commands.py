"""`personalization segments members | history | preview`: what they print, and what they say when there is nothing."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from personalization.cli import app
from personalization.errors import DataError, PersonalizationError, ProgramError, WarehouseError
from tests.segments.shop import MONDAY, Shop


@pytest.fixture
def cli(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("PERSONALIZATION_HOME", str(shop.root))
    return CliRunner()


def run(cli: CliRunner, *arguments: str) -> str:
    result = cli.invoke(app, ["segments", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_past_is_read_from_the_day_files_alone(shop: Shop, cli: CliRunner) -> None:
    """So also while a run holds the warehouse, and after its loss."""
    program = shop.program(many="orders_84d >= 5")
    for days, orders in enumerate((5, 9, 1)):
        shop.customers(MONDAY.shift(days), ann={"orders_84d": orders}, bob={"orders_84d": 7})
        shop.evaluate(program, MONDAY.shift(days))
    shop.session.raw.close()
    (shop.root / "var" / "warehouse.duckdb").unlink()
    days = json.loads(run(cli, "history", "many", "--json"))
    assert [(each["size"], each["entered"], each["exited"]) for each in days] == [(2, 2, 0), (2, 0, 0), (1, 0, 1)]
    found = json.loads(run(cli, "members", "many", "--as-of", MONDAY.shift(1).key, "--json"))
    assert found["tokens"] == ["ann", "bob"]
    (stay,) = json.loads(run(cli, "history", "--customer", "ann", "--json"))
    assert (stay["entered_on"], stay["exited_on"]) == (MONDAY.key, MONDAY.shift(2).key)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("history", "mny"), ProgramError, r"unknown segment 'mny' \(did you mean 'many'\?\)"),
        (("history", "many"), DataError, r"segment 'many' was never evaluated\n  hint: `personalization run`"),
        (("members", "many", "--as-of", "2024-03-04"), DataError, "was not evaluated on 2024-03-04 or before"),
        (("preview", "TRUE", "--as-of", "2024-03-04"), WarehouseError, r"no warehouse at .* yet\n  hint: run `pers"),
    ],
)
def test_before_the_first_run(
    shop: Shop, cli: CliRunner, arguments: tuple[str, ...], kind: type[PersonalizationError], said: str
) -> None:
    shop.program(many="orders_84d >= 5")
    shop.session.raw.close()
    (shop.root / "var" / "warehouse.duckdb").unlink()
    with pytest.raises(kind, match=said):
        cli.invoke(app, ["segments", *arguments], catch_exceptions=False)
