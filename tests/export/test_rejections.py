"""What a destination refuses again and again is asked again ever more rarely, and never holds anybody else up."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from personalization.cli import app
from personalization.errors import ExportError
from personalization.ledger.rejections import Rejections
from personalization.sandbox import Sandbox
from tests.export.shop import DAY, Shop, address, fields
from tests.export.test_mailchimp import member


def refuse(sandbox: Sandbox, number: int, times: int = 1000) -> None:
    body = {"title": "Invalid Resource", "status": 400, "detail": f"{address(number)} looks fake or invalid"}
    sandbox.fault("status", path=member(number), method="PUT", status=400, body=body, times=times)


def export(shop: Shop, day: str) -> tuple[int, int, int]:
    shop.decide(day)
    books = shop.export(day=day).books
    assert books.closes
    return books.acked, books.rejected, books.held


def test_refused_contents_are_tried_again_at_growing_distances(shop: Shop, sandbox: Sandbox) -> None:
    refuse(sandbox, 3)
    assert export(shop, "2017-12-03") == (7, 1, 0)
    assert export(shop, "2017-12-03") == (0, 1, 0)  # at once: it may have been a whim
    assert export(shop, "2017-12-03") == (0, 0, 1)
    assert export(shop, "2017-12-04") == (0, 1, 0)  # after a day
    sandbox.forget_requests()
    assert export(shop, "2017-12-05") == (0, 0, 1)
    assert sandbox.request_log() == []
    assert export(shop, "2017-12-06") == (0, 1, 0)  # after two
    assert export(shop, "2017-12-09") == (0, 0, 1)
    assert export(shop, "2017-12-10") == (0, 1, 0)  # after four
    (rejection,) = Rejections(shop.runtime.ledger).of("mailchimp")
    assert (rejection.tries, rejection.due) == (5, date(2017, 12, 18))
    assert "looks fake or invalid" in rejection.reason
    assert "@" not in str(rejection.to_dict())


def test_the_longest_wait_is_four_weeks(shop: Shop, sandbox: Sandbox) -> None:
    refuse(sandbox, 3)
    for month in range(1, 10):
        export(shop, f"2018-{month:02}-28")
    (rejection,) = Rejections(shop.runtime.ledger).of("mailchimp")
    assert (rejection.due - rejection.last_day).days == 28


def test_other_contents_are_tried_at_once(shop: Shop, sandbox: Sandbox) -> None:
    refuse(sandbox, 3, times=2)
    export(shop, DAY)
    export(shop, DAY)
    assert export(shop, DAY) == (0, 0, 1)
    shop.rows[3]["offer"] = "POINTS2"
    assert export(shop, DAY) == (1, 0, 0)
    assert fields(sandbox) == shop.wanted()
    assert Rejections(shop.runtime.ledger).of("mailchimp") == []


def test_retry_lets_the_next_run_try_everything(shop: Shop, sandbox: Sandbox) -> None:
    refuse(sandbox, 3, times=2)
    export(shop, DAY)
    export(shop, DAY)
    assert Rejections(shop.runtime.ledger).retry("mailchimp") == 1
    assert export(shop, DAY) == (1, 0, 0)
    assert Rejections(shop.runtime.ledger).retry("mailchimp") == 0


def test_an_opt_out_never_waits(shop: Shop, sandbox: Sandbox) -> None:
    export(shop, DAY)
    refuse(sandbox, 3)
    shop.rows[3]["offer"] = "POINTS2"
    export(shop, DAY)
    export(shop, DAY)
    shop.withdraw(3)
    assert shop.export().books.retractions == 1
    assert sandbox.members()[address(3)]["status"] == "unsubscribed"


# --- on the command line ---------------------------------------------------------------------------------------------


def command(shop: Shop, *arguments: str) -> str:
    """What a command prints, in this process: a process each would take longer than the rest of the test."""
    done = CliRunner().invoke(app, ["export", *arguments], env={"PERSONALIZATION_HOME": str(shop.root)})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_show_what_happened_and_what_waits(shop: Shop, sandbox: Sandbox, tmp_path: Path) -> None:
    (shop.root / "var" / "reports" / DAY).mkdir(parents=True)  # the day that was run last
    planned = json.loads(command(shop, "plan", "mailchimp", "--json"))
    assert (planned[0]["add"], planned[0]["hash"]) == (8, shop.plan().hash)
    shown = command(shop, "plan", "mailchimp")
    assert planned[0]["hash"] in shown
    assert planned[0]["samples"]["add"][0] in shown
    refuse(sandbox, 3)
    shop.export()
    status = json.loads(command(shop, "status", "--json"))
    found = next(each for each in status if each["destination"] == "mailchimp")
    assert (found["present"], found["refused"], found["last"]["closes"]) == (7, 1, True)
    listed = tmp_path / "refused.csv"
    command(shop, "rejected", "mailchimp", "--csv", str(listed))
    with listed.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["customer_token"] == shop.customer(3)
    assert "looks fake" in row["reason"]
    assert json.loads(command(shop, "books", "mailchimp", "--json"))[0]["rejected"] == 1
    assert "1 contacts" in command(shop, "retry", "mailchimp")


@pytest.mark.parametrize("name", ["plan", "rejected", "retry", "setup"])
def test_an_unknown_destination_is_named_with_the_nearest(shop: Shop, name: str) -> None:
    with pytest.raises(ExportError, match="did you mean 'mailchimp'"):
        command(shop, name, "mailchim")
