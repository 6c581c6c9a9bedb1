"""`personalization consent …`: states with proof, links that work, links that end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from personalization.cli import app
from personalization.commands.common import out
from personalization.errors import DataError, ProgramError
from personalization.ledger.links import ExpiredLink
from tests.serve.pages.conftest import ann as ann
from tests.serve.pages.conftest import built as built
from tests.serve.pages.conftest import house as house
from tests.serve.pages.house import House


@pytest.fixture
def cli(house: House, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("PERSONALIZATION_HOME", str(house.root))
    monkeypatch.setattr(out, "width", 200)
    program = house.root / "program" / "program.yaml"
    program.write_text(program.read_text() + "serve: {public_url: https://mail.example.com}\n")
    house.runtime.__dict__.pop("program", None)
    return CliRunner()


def run(cli: CliRunner, *arguments: str) -> str:
    result = cli.invoke(app, ["consent", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_tells_state_and_proof(cli: CliRunner, house: House, ann: str) -> None:
    house.session.post(house.link("unsubscribe", ann), data={"List-Unsubscribe": "One-Click"})
    house.ledger.suppressions.add([house.email_of("ann")], "complained", "mailchimp")
    found = json.loads(run(cli, "show", " Ann@Example.com", "--json"))
    states = {row["purpose"]: row["state"] for row in found["purposes"]}
    assert states["email.marketing"] == "withdrawn"
    assert states["sale"] == "granted"
    assert states["personalization.ml_scoring"] == "none"
    proofs = {row["purpose"]: row["proof"] for row in found["purposes"]}
    assert proofs["email.marketing"]["method"] == "one-click unsubscribe"
    assert proofs["sale"]["source"] == "crm.consents"
    assert proofs["personalization.ml_scoring"] is None
    assert found["suppressed"] == ["complained"]
    assert {row["action"] for row in found["history"]} == {"grant", "object"}
    assert house.email_of("ann") in found["identifiers"]
    text = run(cli, "show", "ann@example.com")
    for words in ("one-click unsubscribe", "On the do-not-mail list: complained", "sign-up form", "not chosen"):
        assert words in text
    assert "ann@example.com" not in text


def test_a_link_leads_to_the_page_and_ends(cli: CliRunner, house: House, ann: str) -> None:
    address = run(cli, "link", "ann@example.com").strip()
    head, text = address.rsplit("/", 1)
    assert head == "https://mail.example.com/preferences"
    house.now = datetime.now(UTC)
    assert house.session.get(f"{house.base}/preferences/{text}").status_code == 200
    house.now += timedelta(days=31)
    assert house.session.get(f"{house.base}/preferences/{text}").status_code == 410
    made = json.loads(run(cli, "link", "ann@example.com", "--page", "unsubscribe", "--days", "2", "--json"))
    assert made["page"] == "unsubscribe"


def test_the_second_step_of_a_double_opt_in(cli: CliRunner, house: House, ann: str) -> None:
    house.say(ann, "grant", "email.newsletter", at=datetime.now(UTC), link="form-5")
    assert "to be confirmed until" in run(cli, "show", "ann@example.com")
    text = run(cli, "link", "ann@example.com", "--confirm", "email.newsletter").strip().rsplit("/", 1)[1]
    house.now = datetime.now(UTC) + timedelta(days=1)
    assert house.session.post(f"{house.base}/confirm/{text}").status_code == 200
    assert house.states(ann)["email.newsletter"] == "granted"
    with pytest.raises(DataError, match=r"nothing of 'email\.newsletter' waits to be confirmed"):
        run(cli, "link", "ann@example.com", "--confirm", "email.newsletter")


def test_revoked_links_are_over(cli: CliRunner, house: House, ann: str) -> None:
    text = house.link("preferences", ann).rsplit("/", 1)[1]
    other = house.link("unsubscribe", ann).rsplit("/", 1)[1]
    run(cli, "revoke", "ann@example.com", "--reason", "in a public archive", "--page", "preferences")
    with pytest.raises(ExpiredLink):
        house.ledger.links.read(house.keys, "preferences", text, house.now)
    assert house.ledger.links.read(house.keys, "unsubscribe", other, house.now)
    run(cli, "revoke", "ann@example.com", "--reason", "lost telephone")
    with pytest.raises(ExpiredLink):
        house.ledger.links.read(house.keys, "unsubscribe", other, house.now)


def test_nobody_and_nowhere(cli: CliRunner, house: House) -> None:
    with pytest.raises(DataError, match="nobody is known by that address"):
        run(cli, "show", "stranger@example.com")
    with pytest.raises(DataError, match="that is not an e-mail address"):
        run(cli, "show", "ann")
    program = house.root / "program" / "program.yaml"
    program.write_text(program.read_text().replace("serve:", "# serve:"))
    with pytest.raises(ProgramError, match=r"set serve\.public_url"):
        run(cli, "link", "ann@example.com")
