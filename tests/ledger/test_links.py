"""Links in e-mails: opaque, the same whenever made, and useless once altered, expired or revoked (invariant 37)."""

from __future__ import annotations

import base64
import json
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalization.errors import DataError, LedgerError
from personalization.ledger import Keyring, Ledger, VaultItem
from personalization.ledger.links import ExpiredLink, Link, UnknownLink
from personalization.ledger.people import identifiers_of
from tests.ledger.test_keys import write_key_file

JUNE = datetime(2026, 6, 1, 12, tzinfo=UTC)
ANN = "t1_k1_wvnvpnzmg3koihgvcot3hw4gloi7uusw"


def issue(ledger: Ledger, keys: Keyring, subject: str = ANN, kind: str = "preferences", scope: str = "shop") -> str:
    return ledger.links.issue(keys, kind, [subject], scope)[0]


def test_a_link_says_whom_it_is_for_and_works_for_years(ledger: Ledger, keys: Keyring) -> None:
    link = issue(ledger, keys)
    found = ledger.links.read(keys, "preferences", link, JUNE + timedelta(days=3650))
    assert found == Link("preferences", ANN, "shop", None)


def test_links_are_these_for_ever(ledger: Ledger, tmp_path: Path) -> None:
    """A changed construction would break every link that is in somebody's inbox."""
    known = Keyring.load(write_key_file(tmp_path / "known.json"))
    assert issue(ledger, known) == (
        "l1_v1_u6dbrza7qYgsKZJOIAyAzyVi3ndGSz2RuAdzlIW-3hdhNLhU4bN3gHc0IIw8sdeUb50D5e2z11uQYMqTjsrnHQ"
    )


def test_the_same_input_gives_the_same_link_and_any_other_another(ledger: Ledger, keys: Keyring) -> None:
    links = [
        issue(ledger, keys, subject, kind, scope)
        for subject in (ANN, "t1_k1_bob")
        for kind in ("preferences", "unsubscribe")
        for scope in ("shop", "file")
    ]
    assert len(set(links)) == 8
    assert issue(ledger, keys) == links[0]
    assert ledger.links.issue(keys, "preferences", [ANN, "t1_k1_bob"], "shop") == [links[0], links[4]]


def test_nothing_can_be_read_from_a_link(ledger: Ledger, keys: Keyring) -> None:
    link = issue(ledger, keys)
    sealed = base64.urlsafe_b64decode(link.split("_", 2)[2] + "==")
    for secret in (ANN, ANN.rsplit("_", 1)[1], "shop", "preferences"):
        assert secret.encode() not in sealed
        assert secret not in link
    assert set(link) <= set(string.ascii_letters + string.digits + "_-")
    assert len(link) < 120


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_link_that_was_altered_in_any_way_is_unknown(ledger: Ledger, keys: Keyring, data: st.DataObject) -> None:
    link = issue(ledger, keys)
    place = data.draw(st.integers(0, len(link) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "_-."))
    cut = data.draw(st.integers(0, len(link) - 1))
    for other in (link[:place] + letter + link[place + 1 :], link[:cut], link + letter, letter + link):
        if other != link:
            with pytest.raises(UnknownLink):
                ledger.links.read(keys, "preferences", other, JUNE)


@pytest.mark.parametrize("text", ["", "l1_v1_", "l1_v2_" + "A" * 60, "é" * 60, "l1_v1_" + "A" * 5000, "null", "../.."])
def test_texts_that_never_were_a_link(ledger: Ledger, keys: Keyring, text: str) -> None:
    with pytest.raises(UnknownLink):
        ledger.links.read(keys, "preferences", text, JUNE)


def test_a_link_opens_only_its_own_page_and_only_with_our_keys(ledger: Ledger, keys: Keyring, tmp_path: Path) -> None:
    with pytest.raises(UnknownLink):
        ledger.links.read(keys, "unsubscribe", issue(ledger, keys), JUNE)
    others = Keyring.create(tmp_path / "others.json")
    with pytest.raises(UnknownLink):
        ledger.links.read(others, "preferences", issue(ledger, keys), JUNE)
    with pytest.raises(DataError, match=r"no 'preference' links\n  hint: did you mean 'preferences'"):
        issue(ledger, keys, kind="preference")


def test_a_link_expires(ledger: Ledger, keys: Keyring) -> None:
    [link] = ledger.links.issue(keys, "confirm", [ANN], "grant-1", expires_at=JUNE)
    assert ledger.links.read(keys, "confirm", link, JUNE).expires_at == JUNE
    with pytest.raises(ExpiredLink):
        ledger.links.read(keys, "confirm", link, JUNE + timedelta(microseconds=1))


def test_revoking_a_person_ends_the_links_that_are_out_and_no_others(ledger: Ledger, keys: Keyring) -> None:
    old, bobs = issue(ledger, keys), issue(ledger, keys, "t1_k1_bob")
    ledger.links.revoke(ANN, "forwarded by mistake")
    with pytest.raises(ExpiredLink):
        ledger.links.read(keys, "preferences", old, JUNE)
    new = issue(ledger, keys)
    assert new != old
    assert ledger.links.read(keys, "preferences", new, JUNE).subject_token == ANN
    assert ledger.links.read(keys, "preferences", bobs, JUNE).subject_token == "t1_k1_bob"
    ledger.links.revoke(ANN, "again")
    with pytest.raises(ExpiredLink):
        ledger.links.read(keys, "preferences", new, JUNE)


def test_a_single_link_is_revoked_by_what_it_went_out_with(ledger: Ledger, keys: Keyring) -> None:
    shop, file = issue(ledger, keys), issue(ledger, keys, scope="file")
    ledger.links.revoke(ANN, "in a public archive", kind="preferences", scope="shop")
    with pytest.raises(ExpiredLink):
        ledger.links.read(keys, "preferences", shop, JUNE)
    assert ledger.links.read(keys, "preferences", file, JUNE)
    assert ledger.links.read(keys, "preferences", issue(ledger, keys), JUNE)


def test_a_new_master_key_makes_new_links_and_the_old_ones_go_on(ledger: Ledger, keys: Keyring, tmp_path: Path) -> None:
    old = issue(ledger, keys)
    document = json.loads(keys.path.read_text())
    document["vault_keys"]["v2"] = base64.b64encode(bytes(32)).decode()
    rotated = Keyring.load(_written(tmp_path / "rotated.json", document | {"vault_key": "v2"}))
    new = issue(ledger, rotated)
    assert new.startswith("l1_v2_")
    for link in (old, new):
        assert ledger.links.read(rotated, "preferences", link, JUNE).subject_token == ANN


def _written(path: Path, document: dict[str, object]) -> Path:
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def test_revocations_stay(ledger: Ledger) -> None:
    ledger.links.revoke(ANN, "lost")
    with pytest.raises(LedgerError, match="link_revocations is append-only"), ledger.begin() as connection:
        connection.exec_driver_sql("delete from link_revocations")


def test_a_person_is_everything_that_records_share(ledger: Ledger, keys: Keyring) -> None:
    def item(subject: str, field: str, token: str) -> VaultItem:
        return VaultItem(subject, field, token, f"value of {token}", "crm.customers")

    ledger.vault(keys).put(
        [
            item("c1", "email", "mail-1"),
            item("c2", "email", "mail-1"),
            item("c2", "phone", "phone-1"),
            item("c3", "phone", "phone-1"),
            item("c3", "first_name", "name-1"),
            item("c4", "first_name", "name-1"),
            item("mail-5", "email", "mail-5"),
        ]
    )
    with ledger.read() as connection:
        for token in ("c1", "c3", "mail-1", "phone-1"):
            found = identifiers_of(connection, token)
            assert (found.subjects, found.emails, found.phones) == ({"c1", "c2", "c3"}, {"mail-1"}, {"phone-1"})
        assert identifiers_of(connection, "c4").every == {"c4"}
        assert identifiers_of(connection, "mail-5").every == {"mail-5"}
        assert identifiers_of(connection, "stranger").every == {"stranger"}
