"""One-click unsubscribe (RFC 8058), invariants 37 and 39: a POST acts, whatever else it lacks, and a GET never does."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from personalization.ledger import ConsentEvent, Ledger
from personalization.stages.export.cut import Contact, Cut
from tests.serve.pages.house import JUNE, MARKETING, House

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def blocked(house: House, *tokens: str, purpose: str = "email.marketing") -> dict[str, str]:
    """What the cut says about contacts with these identifiers, for a purpose, without knowing any others."""
    nothing = pa.table({"identifier_token": pa.array([], pa.string()), "customer_token": pa.array([], pa.string())})
    cut = Cut(house.ledger, house.runtime.program.purposes, nothing)
    found = cut.blocked(Contact(token, purpose, (token,)) for token in tokens)
    return {key: block.reason for key, block in found.items()}


@pytest.mark.parametrize(
    "request_of",
    [{"data": ONE_CLICK}, {"files": {"List-Unsubscribe": (None, "One-Click")}}],
    ids=["urlencoded", "multipart"],
)
def test_a_mail_programs_post_unsubscribes_at_the_next_cut(house: House, ann: str, request_of: dict) -> None:
    """Invariant 37. No cookie, no origin, no referer: as RFC 8058 says that it comes."""
    assert blocked(house, ann) == {}
    response = requests.post(house.link("unsubscribe", ann), **request_of, allow_redirects=False, timeout=10)
    assert response.status_code == 200
    assert not response.cookies
    assert blocked(house, ann) == {ann: "withdrawn"}
    assert {house.states(ann)[purpose] for purpose in MARKETING} == {"withdrawn"}


def test_it_holds_for_every_identifier_of_the_person_and_for_nobody_else(house: House, ann: str) -> None:
    house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK)
    email, erased = house.email_of("ann"), house.keys.suppression_token("ann@example.com")
    assert blocked(house, ann, email, erased) == dict.fromkeys([ann, email, erased], "withdrawn")
    assert blocked(house, house.keys.token("customer", "bob")) == {}


def test_transactional_mail_goes_on(house: House, ann: str) -> None:
    """Invariant 39."""
    house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK)
    assert blocked(house, ann, purpose="email.transactional") == {}
    assert "email.transactional" not in house.states(ann)
    assert house.states(ann)["sale"] == "granted", "only what is mailed"


def test_what_is_recorded_is_proof(house: House, ann: str) -> None:
    house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK, headers={"User-Agent": "Mail 1.0"})
    [event] = [event for event in house.events(ann) if event.purpose == "email.marketing"]
    assert (event.action, event.method, event.source, event.effective_at) == (
        "object",
        "one-click unsubscribe",
        "pages",
        JUNE,
    )
    assert (event.jurisdiction, event.notice_version, event.locale) == ("EU", "2", "en")
    assert event.evidence == {
        "ip_token": house.keys.token("ip", "127.0.0.1"),
        "ua_hash": house.keys.token("user-agent", "Mail 1.0"),
    }


def test_again_is_answered_alike_and_adds_nothing(house: House, ann: str) -> None:
    link = house.link("unsubscribe", ann)
    first = house.session.post(link, data=ONE_CLICK)
    before = house.count()
    for _ in range(3):
        again = house.session.post(link, data=ONE_CLICK)
        assert (again.status_code, again.text) == (200, first.text)
    assert house.count() == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_at_the_link_never_unsubscribes(house: House, ann: str, method: str) -> None:
    """Invariant 37: virus scanners fetch every link of an e-mail."""
    before = house.count()
    response = house.session.request(method, house.link("unsubscribe", ann))
    assert response.status_code == 200
    assert house.count() == before
    assert blocked(house, ann) == {}
    if method == "GET":
        assert response.text.count("<button") == response.text.count("<form") == 1
        assert "<script" not in response.text
        assert "a•••@example.com" in response.text
        assert "ann@example.com" not in response.text


@pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "Two-Clicks"}, {"do": "stop"}], ids=str)
def test_another_post_is_not_understood(house: House, ann: str, body: dict[str, str]) -> None:
    before = house.count()
    assert house.session.post(house.link("unsubscribe", ann), data=body).status_code == 400
    assert house.count() == before


@pytest.mark.parametrize("kind", ["preferences", "unsubscribe", "confirm"])
@pytest.mark.parametrize(
    ("wrong", "status", "title"),
    [
        ("forged", 404, "This link is not complete"),
        ("cut", 404, "This link is not complete"),
        ("of another page", 404, "This link is not complete"),
        ("expired", 410, "This link is no longer valid"),
        ("revoked", 410, "This link is no longer valid"),
    ],
)
def test_links_that_are_not_valid_change_nothing(
    house: House, ann: str, kind: str, wrong: str, status: int, title: str
) -> None:
    """Invariant 37, on every page and by every method, also with a privacy signal."""
    link = house.link(kind, ann, expires_at=JUNE - timedelta(days=1) if wrong == "expired" else None)
    if wrong == "forged":
        link = link[:-8] + ("A" * 8 if link[-8:] != "A" * 8 else "B" * 8)
    elif wrong == "cut":
        link = link[:-5]
    elif wrong == "of another page":
        other = house.link("unsubscribe" if kind == "preferences" else "preferences", ann)
        link = f"{house.base}/{kind}/{other.rsplit('/', 1)[1]}"
    elif wrong == "revoked":
        house.ledger.links.revoke(ann, "test")
    before = house.count()
    for method in ("GET", "HEAD", "POST"):
        for body in (ONE_CLICK, {"do": "stop"}):
            answer = house.session.request(method, link, data=body, headers={"Sec-GPC": "1"})
            assert answer.status_code == status
            assert method == "HEAD" or title in answer.text
    assert house.count() == before


def test_an_agreement_from_a_clock_that_is_ahead_does_not_outlive_it(house: House, ann: str) -> None:
    house.say(ann, "grant", "email.marketing", at=JUNE + timedelta(days=400))
    house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK)
    assert house.states(ann)["email.marketing"] == "withdrawn"


def test_who_was_never_heard_of_is_remembered(house: House) -> None:
    """The vault knows nothing of them (any more), and an older agreement may still arrive."""
    stranger = house.keys.token("customer", "stranger")
    assert house.session.post(house.link("unsubscribe", stranger), data=ONE_CLICK).status_code == 200
    house.say(stranger, "grant", "email.marketing", at=JUNE - timedelta(days=1))
    assert house.states(stranger)["email.marketing"] == "withdrawn"


def test_a_merged_person_is_out_under_every_record(house: House, ann: str) -> None:
    """A link of the time before two records were found to be one person's."""
    from personalization.ledger import VaultItem

    link = house.link("unsubscribe", ann)
    other = house.keys.token("customer", "ann-2")
    item = VaultItem(other, "email", house.email_of("ann"), "ann@example.com", "till.customers")
    house.ledger.vault(house.keys).put([item])
    house.session.post(link, data=ONE_CLICK)
    assert blocked(house, ann, other) == {ann: "withdrawn", other: "withdrawn"}


def test_links_made_with_a_new_master_key_work_at_once(house: House, ann: str) -> None:
    from personalization.ledger import Keyring, key_file

    assert house.session.get(house.link("unsubscribe", ann)).status_code == 200
    path = house.keys.path
    key_file.change(path, lambda document: document["vault_keys"].update(v2=key_file.new_key()))
    key_file.change(path, lambda document: document.update(vault_key="v2"))
    [text] = house.ledger.links.issue(Keyring.load(path), "unsubscribe", [ann], "shop")
    assert text.startswith("l1_v2_")
    assert house.session.post(f"{house.base}/unsubscribe/{text}", data=ONE_CLICK).status_code == 200
    assert house.states(ann)["email.marketing"] == "withdrawn"
    path.rename(path.with_suffix(".away"))
    assert house.session.get(f"{house.base}/unsubscribe/{text}").status_code == 200


def test_a_ledger_that_can_not_be_written_is_no_success(house: House, ann: str) -> None:
    """Never a false 2xx: the mail program tries again."""
    holder = sqlite3.connect(house.root / "var" / "ledger.sqlite", isolation_level=None)
    holder.execute("begin immediate")
    answer = house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "Please try again in a moment" in answer.text
    holder.execute("rollback")
    assert house.session.post(house.link("unsubscribe", ann), data=ONE_CLICK).status_code == 200
    assert house.states(ann)["email.marketing"] == "withdrawn"
    holder.close()


def test_an_acknowledged_opt_out_survives_the_death_of_the_server(house: House, ann: str, tmp_path: Path) -> None:
    code = f"""
import uvicorn
from starlette.applications import Starlette
from personalization.runtime import Runtime
from personalization.serve.pages import routes
from personalization.workspace import Workspace
app = Starlette(routes=routes(Runtime(Workspace.at({str(house.root)!r}))))
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="debug", access_log=False)).run()
"""
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        path = house.link("unsubscribe", ann).removeprefix(house.base)
        answer = requests.post(f"http://127.0.0.1:{port}{path}", data=ONE_CLICK, timeout=10)
        os.kill(server.pid, signal.SIGKILL)
    assert answer.status_code == 200
    with Ledger.open(house.runtime.workspace.ledger_url) as reopened:
        found: ConsentEvent = reopened.consent.history([ann])[-1].event
        assert found.opts_out
    assert "Uvicorn running" in log.read_text()
    assert "l1_v1_" not in log.read_text()


def test_neither_link_nor_address_is_logged(house: House, ann: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    link = house.link("unsubscribe", ann)
    house.session.get(link)
    house.session.post(link, data=ONE_CLICK)
    house.session.post(link + "x", data=ONE_CLICK)
    with house.ledger.begin():
        house.session.post(house.link("preferences", ann), data={"do": "stop"})
    assert any("could not be answered" in record.message for record in caplog.records)
    own = "\n".join(
        record.getMessage()
        for record in caplog.records
        # the client's own, and the server's access log: pytest listens to it although it is switched off
        if not record.name.startswith(("urllib3", "uvicorn.access"))
    )
    assert link.rsplit("/", 1)[1] not in own
    assert not re.search(r"l1_v1_|ann@|@example", own)


def test_it_answers_soon(house: House, ann: str) -> None:
    link = house.link("unsubscribe", ann)
    began = time.monotonic()
    for _ in range(20):
        house.session.post(link, data=ONE_CLICK)
    assert time.monotonic() - began < 10
