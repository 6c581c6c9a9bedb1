"""What every adapter must say when something is wrong: which destination, what was found, what to do, and no secret.

A new platform subclasses `WrongInput` beside its `AdapterContract`. The table below then runs against it over HTTP: at
the first request of a setup (fast), at the first request of an export and in the middle of one (slow).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from personalization.errors import ExportError, PersonalizationError, ProgramError
from personalization.ledger import VaultItem
from personalization.ledger.export_books import ExportBooks
from personalization.ledger.leases import LeaseLost
from personalization.sandbox import Sandbox
from personalization.stages.export.adapters.base import Clock, DestinationError, Lost, Postponed
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.exporter import setup_destination
from personalization.stages.export.holdings import holdings
from personalization.stages.export.retract import push_opt_outs
from tests.contract.adapter import AdapterContract
from tests.contract.kills import open_shop
from tests.contract.servers import Noting, noting_server, self_signed
from tests.export.shop import Shop, address
from tests.export.test_exporters import expire

WAITING = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.002)))
ELSEWHERE = "http://login.elsewhere.example/"
ECHO = "KEY u3@example.com"
"""What faulty answers repeat: the key (see `_scripted`) and an address."""
READING = ("/batch/read", "/v2/token", "/Service.asmx")
"""How paths end that only read although it is by POST (SOAP: what writes there is told from the state)."""


@dataclass(frozen=True)
class Wrong:
    """What comes instead of an answer, and what the message about it must match."""

    says: str
    kind: str = "status"
    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


LATER = (("Retry-After", "100"),)  # so that patience ends after few requests
_OTHER = "not in the form that the API has|would not|gave no access token|another data extension"
TABLE = {
    "a page": Wrong("with HTML", "html", body=ECHO),
    "a page of a broken proxy": Wrong(r"failed at .* \(status 502\)", "html", 502, ECHO),
    "a page of another server": Wrong(r"with HTML \(status 404\)", "html", 404, ECHO),
    "a page that forbids": Wrong("status 403", "html", 403, ECHO, LATER),
    "an empty page": Wrong("with an empty page|with something"),
    "a text": Wrong("with something that is not an answer", body=ECHO),
    "JSON of something else": Wrong(_OTHER, body={"ok": True, "said": ECHO}),
    "a list": Wrong(_OTHER, body=[ECHO]),
    "half an answer": Wrong("gave no whole answer|can't be reached", "truncated"),
    "a broken connection": Wrong("gave no whole answer|can't be reached", "reset"),
    "a failure": Wrong(r"failed at .* \(status 500\)", status=500, body={"message": ECHO}),
    "too many requests": Wrong(r"asks to slow down \(status 429", status=429, body={"message": ECHO}, headers=LATER),
    "a refused key": Wrong("refused the|gave no access token", status=401, body={"message": ECHO, "title": ECHO}),
    "another place": Wrong(
        "redirects .* to http://login.elsewhere.example .*nothing was sent there",
        status=307,
        headers=(("Location", ELSEWHERE + "?" + quote(ECHO)),),
    ),
}


class WrongInput:
    """Tests that run for every platform that is reached over HTTP."""

    whole: AdapterContract
    """The platform's contract, which knows how to look at the other side."""
    url: str
    """The environment variable with its address."""
    key: str
    """The environment variable with its key."""
    nowhere: tuple[str, str]
    """What to replace in destinations.yaml, and by what, so that the list, or what stands for it, is not there."""

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        return open_shop(self.whole, tmp_path / "shop")

    @pytest.fixture
    def platform(self, shop: Shop) -> Any:
        raise NotImplementedError

    def delete_field(self, platform: Any) -> None:
        """What somebody does there: the field for offers (or the list, where there are no fields) is gone."""
        raise NotImplementedError

    @pytest.fixture
    def elsewhere(self) -> Iterator[Noting]:
        with noting_server() as server:
            yield server

    # --- what comes instead of an answer ---

    def test_whatever_comes_instead_of_an_answer_is_named_at_setup(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        wrong = {}
        for name, found in TABLE.items():
            shop.runtime.ledger.traffic.answered(self.whole.destination)
            script(platform, found)
            message = self.refused(shop, lambda: self.set_up(shop))
            platform.clear_faults()
            if not re.search(found.says, message):
                wrong[name] = message
        assert wrong == {}
        self.assert_nothing_is_said(shop, platform, caplog)
        assert self.set_up(shop) is not None

    @pytest.mark.slow
    @pytest.mark.parametrize("name", TABLE)
    def test_whatever_comes_instead_of_an_answer_stops_an_export_and_nothing_else(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        script(platform, TABLE[name])
        message = self.refused(shop, lambda: shop.export(self.whole.destination, clock=WAITING))
        assert re.search(TABLE[name].says, message)
        books = shop.books(self.whole.destination)[0]
        assert (books.state, books.acked, books.held, books.closes) == ("failed", 0, 8, True)
        assert shop.export("file").books.acked == 8
        self.assert_it_goes_on(shop, platform)
        self.assert_nothing_is_said(shop, platform, caplog)

    @pytest.mark.slow
    @pytest.mark.parametrize("further", [0, 2])
    @pytest.mark.parametrize("name", TABLE)
    def test_whatever_comes_in_the_middle_of_an_export_loses_nothing(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture, name: str, further: int
    ) -> None:
        """A revoked key, a proxy that comes up, a platform that changes: after `further` requests beyond the setup."""
        caplog.set_level(logging.DEBUG)
        self.set_up(shop)
        platform.forget_requests()
        self.set_up(shop)
        script(platform, TABLE[name], after=len(platform.request_log()) + further)
        try:
            books = shop.export(self.whole.destination, clock=WAITING).books
        except ExportError as error:
            self.assert_it_is_named(error)
            books = shop.books(self.whole.destination)[0]
        assert books.closes
        assert shop.export("file").books.acked == 8
        self.assert_it_goes_on(shop, platform)
        self.assert_nothing_is_said(shop, platform, caplog)

    @pytest.mark.slow
    def test_whatever_comes_instead_of_an_answer_is_no_erasure_no_copy_and_no_audit(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody counts as erased, and nothing as read, unless the platform says so."""
        caplog.set_level(logging.DEBUG)
        shop.export(self.whole.destination)
        runtime, name = shop.runtime, self.whole.destination
        external = runtime.keys.tokens(f"export:{name}", [shop.customer(1)])
        for found in TABLE.values():
            script(platform, found)
            with pytest.raises(ExportError) as refused:
                list(holdings(runtime.program, name, runtime.workspace, clock=WAITING))
            self.assert_it_is_named(refused.value)
            adapter = adapter_for(runtime.program, name, runtime.workspace, WAITING)
            applied = found.kind == "truncated"  # what it answers is cut off, after it did what was asked
            for ask in (adapter.shown,) if applied else (adapter.shown, adapter.erase):
                with pytest.raises((DestinationError, Lost, Postponed)) as failed:
                    ask([address(1)], external)
                assert secrets_in(str(failed.value), platform.api_key) == []
            platform.clear_faults()
        assert len(self.whole.held(platform)) == 8
        self.assert_nothing_is_said(shop, platform, caplog)

    @pytest.mark.slow
    def test_whatever_comes_instead_of_an_answer_leaves_an_opt_out_to_be_told(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each time it is said that it failed; it is told as soon as the platform answers."""
        caplog.set_level(logging.DEBUG)
        shop.export(self.whole.destination)
        shop.withdraw(3)
        for found in TABLE.values():
            script(platform, found)
            (told,) = push_opt_outs(shop.runtime, [self.whole.destination], clock=WAITING)
            platform.clear_faults()
            assert (told.state, told.contacts) == ("failed", 0), found
            assert secrets_in(told.problem or "", platform.api_key) == []
        (told,) = push_opt_outs(shop.runtime, [self.whole.destination], clock=WAITING)
        assert told.state in ("told", "nothing new")
        assert self.whole.opted_out(platform) == {address(3)}
        assert all(books.closes for books in shop.books(self.whole.destination))
        self.assert_nothing_is_said(shop, platform, caplog)

    # --- another server, or none ---

    def test_credentials_do_not_follow_a_redirect(self, shop: Shop, platform: Sandbox, elsewhere: Noting) -> None:
        for status in (301, 302, 303, 307, 308):
            platform.fault("status", status=status, times=100, headers={"Location": f"{elsewhere.url}/api"})
            message = self.refused(shop, lambda: self.set_up(shop))
            assert f"to {elsewhere.url.rpartition(':')[0]}" in message
            platform.clear_faults()
        assert elsewhere.requests == []

    def test_a_certificate_that_nobody_vouches_for(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with noting_server(self_signed(tmp_path / "certificate.pem")) as server:
            monkeypatch.setenv(self.url, server.instead_of(os.environ[self.url]))
            message = self.refused(shop, lambda: self.set_up(shop))
        assert "certificate was not accepted: self-signed certificate" in message
        assert "REQUESTS_CA_BUNDLE" in message
        assert server.requests == []

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("http://127.0.0.1:9/x", "can't be reached for .*Connection refused"),
            ("https://no-such-server.invalid/x", "can't be reached for .*(resolve|resolution|not known)"),
            ("platform.example/x", "`base_url` for .* is no address of a server: 'platform.example"),
            ("ftp://platform.example/x", "`base_url` for .* is no address of a server: 'ftp://platform.example"),
        ],
    )
    def test_no_server_there(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch, url: str, says: str
    ) -> None:
        monkeypatch.setenv(self.url, url)
        assert re.search(says, self.refused(shop, lambda: self.set_up(shop)))

    # --- credentials and settings ---

    @pytest.mark.slow
    def test_wrong_credentials(self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(self.key, "some-other-key-us1")
        message = self.refused(shop, lambda: shop.export(self.whole.destination, clock=WAITING))
        assert re.search("refused the|gave no access token", message)
        assert "some-other-key" not in message

    @pytest.mark.parametrize("odd", ["{}\n", " {}", "{}\u200b", "{}\x07"])
    def test_a_key_that_was_copied_with_something_else(
        self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch, odd: str
    ) -> None:
        monkeypatch.setenv(self.key, odd.format(platform.api_key))
        message = self.refused(shop, lambda: self.set_up(shop))
        assert "hold a line break, or characters that can't be sent" in message
        assert platform.api_key not in message

    def test_a_key_that_is_not_set(self, shop: Shop, platform: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(self.key)
        with pytest.raises(ProgramError, match=rf"destinations.yaml:\d+:\d+: .* {self.key} is not set") as refused:
            self.set_up(shop)
        assert refused.value.exit_code == 2

    @pytest.mark.slow
    def test_a_list_that_is_not_there(self, shop: Shop, platform: Sandbox) -> None:
        shop.edit("destinations", *self.nowhere)
        message = self.refused(shop, lambda: shop.export(self.whole.destination, clock=WAITING))
        assert re.search("has no|there is no", message)
        assert self.whole.held(platform) == {}

    @pytest.mark.slow
    def test_a_field_deleted_between_setup_and_run(self, shop: Shop, platform: Sandbox) -> None:
        shop.export(self.whole.destination)
        self.delete_field(platform)
        shop.rows[3]["offer"] = "POINTS2"
        shop.decide()
        message = self.refused(shop, lambda: shop.export(self.whole.destination, clock=WAITING))
        assert re.search("was deleted", message)
        assert f"personalization export setup {self.whole.destination}" in message
        assert self.set_up(shop) != []
        shop.export(self.whole.destination)
        assert self.whole.held(platform) == self.whole.wanted(shop)

    @pytest.mark.slow
    def test_what_is_made_twice_is_there_once(self, shop: Shop, platform: Sandbox) -> None:
        """Every request that makes a field or list is delivered two times, or made by somebody else meanwhile."""
        platform.fault("twice", method="POST", path=".*", times=50)
        self.set_up(shop)
        platform.clear_faults()
        assert self.set_up(shop) == []
        shop.export(self.whole.destination)
        assert self.whole.held(platform) == self.whole.wanted(shop)

    # --- contacts ---

    @pytest.mark.slow
    def test_contacts_that_do_not_fit_hold_up_nobody(
        self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A text that is too long, a number that is none, an address without @: each is told, the others arrive."""
        caplog.set_level(logging.DEBUG)
        illegal = "u3 at example.com"
        shop.rows[1]["offer"] = "X" * 21
        shop.rows[2]["purchase_score"] = float("inf")
        runtime = shop.runtime
        runtime.ledger.vault(runtime.keys).put([VaultItem(shop.customer(8), "email", shop.email(8), illegal)])
        shop.add([8])
        shop.decide()
        books = shop.export(self.whole.destination, clock=WAITING).books
        assert (books.acked, books.rejected + books.invalid, books.closes) == (6, 3, True)
        others = {address(number) for number in (0, 3, 4, 5, 6, 7)}
        assert set(self.whole.held(platform)) == others
        reasons = "; ".join(reason for _, reason, _ in ExportBooks(runtime.ledger).reasons(books.run))
        assert "OFFER" in reasons.upper()
        assert "SCORE" in reasons.upper()
        for text in (reasons, caplog.text, self.ledger_text(shop)):
            assert illegal not in text
            assert quote(illegal) not in text
        self.assert_nothing_is_said(shop, platform, caplog)

    # --- two at once ---

    @pytest.mark.slow
    @pytest.mark.parametrize("further", [0, 1, 2])
    def test_an_overtaken_exporter_sends_nothing_more(self, shop: Shop, platform: Sandbox, further: int) -> None:
        """It hangs on an answer for two minutes; its lease expires, another takes over and does all the work."""
        self.set_up(shop)
        platform.forget_requests()
        self.set_up(shop)
        hangs = len(platform.request_log()) + further
        platform.fault("hang_after", after=hangs, seconds=4.0)
        platform.forget_requests()
        done: list[int] = []
        hung = Clock(monotonic=lambda: time.monotonic() + 130 * bool(done), sleep=WAITING.sleep)

        ended = threading.Event()

        def overtake() -> None:
            while len(platform.request_log()) <= hangs:
                if ended.wait(0.01):
                    return  # it has not as many requests
            expire(shop)
            Shop(shop.root, shop.rows).export(self.whole.destination)
            done.append(len(platform.request_log()))

        other = threading.Thread(target=overtake)
        other.start()
        try:
            shop.export(self.whole.destination, clock=hung)
        except LeaseLost:
            lost = True
        else:
            lost = False
        ended.set()
        other.join()
        assert lost == bool(done)
        assert lost or further
        if not lost:
            return
        late = platform.request_log()[done[0] :]
        assert [one for one in late if one["method"] != "GET" and not one["path"].endswith(READING)] == []
        assert self.whole.held(platform) == self.whole.wanted(shop)
        assert [books.closes for books in shop.books(self.whole.destination)] == [True]

    # --- what the tests share ---

    def set_up(self, shop: Shop) -> list[str]:
        return setup_destination(shop.runtime, self.whole.destination, WAITING)

    def refused(self, shop: Shop, action: Any) -> str:
        with pytest.raises(ExportError) as refused:
            action()
        return self.assert_it_is_named(refused.value)

    def assert_it_is_named(self, error: PersonalizationError) -> str:
        """The destination, and what to do; returns the whole message."""
        text = str(error)
        assert error.exit_code == 8
        assert f"'{self.whole.destination}'" in text
        assert error.hint
        assert secrets_in(text, os.environ.get(self.key, "")) == []
        return text

    def assert_it_goes_on(self, shop: Shop, platform: Sandbox) -> None:
        """At most three runs later everything is there, and every run's books close."""
        platform.clear_faults()
        for _ in range(3):
            shop.runtime.ledger.traffic.answered(self.whole.destination)  # the circuit breaker's wait is over
            with suppress(ExportError):
                shop.export(self.whole.destination, clock=WAITING)
        assert self.whole.held(platform) == self.whole.wanted(shop)
        assert all(books.closes for books in shop.books(self.whole.destination))

    def assert_nothing_is_said(self, shop: Shop, platform: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        assert secrets_in(caplog.text, platform.api_key) == []
        assert secrets_in(self.ledger_text(shop), platform.api_key) == []

    def ledger_text(self, shop: Shop) -> str:
        """All that the ledger holds, as far as it is text."""
        files = [shop.root / "var" / "ledger.sqlite", shop.root / "var" / "ledger.sqlite-wal"]
        return "".join(file.read_bytes().decode("latin-1") for file in files if file.exists())


def script(platform: Sandbox, wrong: Wrong, after: int = 0) -> None:
    """Let everything be answered like that, from the `after`th request on."""
    body = _with_key(wrong.body, platform.api_key)
    settings = {"status": wrong.status, "body": body, "headers": dict(wrong.headers)}
    platform.fault(wrong.kind, after=after, times=10_000, **settings)


def secrets_in(text: str, key: str) -> list[str]:
    """The key, and addresses of the shop's customers, in every form that they are written in somewhere."""
    addresses = [address(number) for number in range(8)]
    forms = [key, quote(key, safe="")] if key else []
    forms += [*addresses, *(quote(one, safe="") for one in addresses)]
    forms += [hashlib.md5(one.encode(), usedforsecurity=False).hexdigest() for one in addresses]
    return [form for form in forms if form in text]


def _with_key(body: Any, key: str) -> Any:
    if isinstance(body, str):
        return body.replace("KEY", key)
    if isinstance(body, dict):
        return {name: _with_key(value, key) for name, value in body.items()}
    return [_with_key(value, key) for value in body] if isinstance(body, list) else body
