"""The token key is replaced in a workspace: what platforms know stays, whoever is out stays out, a kill is survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personalization.crash_points import VARIABLE
from personalization.errors import KeyFileError, LedgerError
from personalization.ledger import Keyring
from personalization.ledger.leases import LeaseHeld
from personalization.ledger.retoken import TOKENS
from personalization.ledger.token_key import OlderLedger, TokenKeyReplaced, TokensNotRewritten
from personalization.ledger.tombstones import Tombstone, keep
from personalization.ledger.tombstones import read as read_tombstones
from personalization.run_lock import AnotherRun, only_run
from personalization.runtime import Runtime
from personalization.sandbox import Sandbox
from personalization.stages.decisions.assignment import draw, is_held_out
from personalization.token_rotation import Replaced, replace_token_key
from personalization.workspace import Workspace
from tests.export.shop import Shop, address, fields, folders
from tests.export.test_links import upserts, with_links

AT = datetime(2026, 11, 25, tzinfo=UTC)
POINTS = (
    "rotate.token_key_added",
    "rotate.token_written",
    "rotate.token_committed",
    "rotate.token_key_in_use",
    "rotate.token_mark",
    "rotate.token_files",
    "rotate.token_tables",
    "rotate.token_warehouse",
)


def reopened(shop: Shop) -> Shop:
    """The same shop as another process has it."""
    fresh = Shop(shop.root, {number: dict(row) for number, row in shop.rows.items()}, shop.ledger_url)
    keys = fresh.runtime.keys
    for row in fresh.rows.values():
        for name in ("customer_token", "email_token"):
            row[name] = keys.current_token(row[name])
    return fresh


def rotate(shop: Shop) -> tuple[Shop, Replaced]:
    done = replace_token_key(Runtime(shop.runtime.workspace), AT, wait_seconds=0)
    return reopened(shop), done


def plant_files(shop: Shop) -> None:
    """What runs leave behind: landing zone, published identities, logs, a database of another program."""
    state, tokens = shop.runtime.workspace.state, [shop.customer(1), None, shop.email(2)]
    (state / "landing").mkdir()
    nested = pa.array([[tokens[0]], None, [tokens[2], "x"]])
    pq.write_table(pa.table({"t": tokens, "n": [1, 2, 3], "l": nested}), state / "landing" / "rows.parquet")
    (state / "history").mkdir(exist_ok=True)
    people = [shop.customer(number) for number in shop.rows]
    emails = [shop.email(number) for number in shop.rows]
    identity = {"identifier_token": people + emails, "customer_token": people * 2}
    pq.write_table(
        pa.table({**identity, "covers": pa.array([False] * len(people) * 2)}), state / "history" / "identity.parquet"
    )
    (state / "run.log").write_text(f"about {tokens[0]}, and {tokens[2]}.\n")
    keep(shop.runtime.workspace.tombstones, TOMBSTONE)
    Runtime(shop.runtime.workspace).ledger.close()  # whoever was erased is so in this ledger too


TOMBSTONE = Tombstone(
    request_id="erasure-0",
    at=AT.isoformat(),
    suppression_tokens=("s1_" + "a" * 32,),
    identifier_tokens=("t1_k1_" + "b" * 32, "t1_k1_" + "c" * 32),
    value_tokens=("t1_k1_" + "c" * 32,),
    request={
        "kind": "erasure",
        "subject_token": "t1_k1_" + "b" * 32,
        "manner": "e-mail",
        "received_at": AT.isoformat(),
        "due_at": AT.isoformat(),
    },
)


def old_tokens_in(state: Path) -> list[str]:
    """Files that hold a token of the first key; not those handed to platforms, and not the key file's own words."""
    found = []
    for path in sorted(state.rglob("*")):
        if path.is_file() and "exports" not in path.parts and any(b"t1_k1_" in part for part in _contents(path)):
            found.append(str(path.relative_to(state)))
    return found


def _contents(path: Path) -> list[bytes]:
    if path.suffix == ".parquet":
        return [json.dumps(pq.read_table(path).to_pylist(), default=str).encode()]
    return [path.read_bytes()]


def test_unchanged_input_makes_no_request_and_ids_at_platforms_stay(shop: Shop, sandbox: Sandbox) -> None:
    with_links(shop)
    shop.export()
    before = sandbox.members()
    shop, done = rotate(shop)
    assert done.ledger is not None
    assert (done.ledger.old_key, done.ledger.new_key, done.ledger.kept["external_ids"]) == ("k1", "k2", 8)
    assert not shop.plan().sends
    sandbox.forget_requests()
    shop.export()
    assert [request for request in sandbox.request_log() if request["method"] != "GET"] == []
    shop.rows[3]["hero"] = "WEEKLY"
    shop.add([20])
    shop.decide()
    shop.export()
    after = sandbox.members()
    assert fields(sandbox)[address(3)]["PB_HERO"] == "WEEKLY"
    assert after[address(3)]["merge_fields"]["EXTERNALID"] == before[address(3)]["merge_fields"]["EXTERNALID"]
    assert after[address(3)]["merge_fields"]["PREFS_URL"] == before[address(3)]["merge_fields"]["PREFS_URL"]
    assert after[address(20)]["merge_fields"]["EXTERNALID"].startswith("t1_k2_")
    assert len(after) == len(before) + 1


def test_ids_at_platforms_stay_through_a_second_rotation(shop: Shop, sandbox: Sandbox) -> None:
    shop.export()
    before = {email: member["merge_fields"]["EXTERNALID"] for email, member in sandbox.members().items()}
    shop, _ = rotate(shop)
    shop.add([20])
    shop.decide()
    shop.export()
    shop, done = rotate(shop)
    assert done.new_key == "k3"
    assert not shop.plan().sends
    for row in shop.rows.values():
        row["hero"] = "WEEKLY"
    shop.decide()
    shop.export()
    after = {email: member["merge_fields"]["EXTERNALID"] for email, member in sandbox.members().items()}
    assert after.items() >= before.items()
    assert after[address(20)].startswith("t1_k2_")


def test_whoever_opted_out_stays_out_and_old_links_work_for_ever(shop: Shop) -> None:
    with_links(shop)
    shop.export("file")
    links = {email: row["UNSUB_URL"].rsplit("/", 1)[1] for email, row in upserts(folders(shop)[0]).items()}
    shop.withdraw(1)
    erased = shop.runtime.keys.suppression_token(address(2))
    shop.runtime.ledger.suppressions.add([erased], "erased", "privacy", AT)
    shop, _ = rotate(shop)
    shop, _ = rotate(shop)
    runtime = shop.runtime
    link = runtime.ledger.links.read(runtime.keys, "unsubscribe", links[address(3)], AT)
    assert link.subject_token == shop.customer(3)
    shop.consent([link.subject_token], "withdraw", datetime(2018, 1, 2, tzinfo=UTC))
    for row in shop.rows.values():
        row["hero"] = "WEEKLY"
    shop.decide()
    shop.export("file")
    assert set(upserts(folders(shop)[-1])) == {address(number) for number in (0, 4, 5, 6, 7)}
    runtime.ledger.links.revoke(shop.customer(4), "forwarded")
    with pytest.raises(Exception, match=r"^$"):
        runtime.ledger.links.read(runtime.keys, "unsubscribe", links[address(4)], AT)


def test_nothing_of_the_old_key_is_left_but_in_what_was_handed_over(shop: Shop) -> None:
    plant_files(shop)
    tables = {"decisions.decisions": 16, "landed.identity": 32}
    with shop.runtime.warehouse.connect() as session:
        session.execute(
            "create table landed.nested as select [customer_token] as l, {'a': email_token} as s,"
            " map {customer_token: 1} as m from decisions.decisions"
        )
        before = session.rows("from decisions.decisions order by hero, purchase_score")
        joined = session.value("select count(*) from decisions.decisions join landed.identity using (customer_token)")
    shop, done = rotate(shop)
    assert (done.files.parquet, done.files.texts, done.left) == (2, 1, [])
    assert set(done.warehouse) == {*tables, "landed.nested"}
    with shop.runtime.warehouse.connect() as session:
        after = session.rows("from decisions.decisions order by hero, purchase_score")
        again = session.value("select count(*) from decisions.decisions join landed.identity using (customer_token)")
        [nested] = session.rows(f"select l, s, m from landed.nested where l[1] = '{shop.customer(1)}'")
    keys = shop.runtime.keys
    assert after == [tuple(keys.current_token(v) if isinstance(v, str) else v for v in row) for row in before]
    assert again == joined
    assert nested == ([shop.customer(1)], {"a": shop.email(1)}, {shop.customer(1): 1})
    rows = pq.read_table(shop.root / "var" / "landing" / "rows.parquet").to_pydict()
    assert rows["t"] == [shop.customer(1), None, shop.email(2)]
    assert rows["l"] == [[shop.customer(1)], None, [shop.email(2), "x"]]
    [tombstone] = read_tombstones(shop.runtime.workspace.tombstones)
    assert tombstone.identifier_tokens == tuple(keys.current_tokens(TOMBSTONE.identifier_tokens))
    shop.runtime.ledger.close()
    assert old_tokens_in(shop.root / "var") == []


def test_groups_stay_what_they_were(shop: Shop) -> None:
    shop.edit("program", "start:", "holdout: {share: 0.4, salt: h}\nstart:")
    before = {number: draw("h", shop.customer(number)) < 0.4 * 2**64 for number in shop.rows}
    shop, done = rotate(shop)
    assert done.ledger is not None
    kept = shop.runtime.ledger.kept
    assert 0 < sum(before.values()) < len(before)
    assert before == {
        number: is_held_out("h", 0.4, shop.customer(number), kept.draws_of(shop.customer(number)))
        for number in shop.rows
    }
    assert before != {number: is_held_out("h", 0.4, shop.customer(number)) for number in shop.rows}, (
        "by the token alone"
    )


def killed(shop: Shop, point: str) -> None:
    code = (
        "import sys; from datetime import UTC, datetime; from personalization.runtime import Runtime;"
        "from personalization.workspace import Workspace; from personalization.token_rotation import replace_token_key;"
        "replace_token_key(Runtime(Workspace.at(sys.argv[1])), datetime.now(UTC))"
    )
    shop.runtime.ledger.close()
    ended = subprocess.run([sys.executable, "-c", code, shop.root], env={**os.environ, VARIABLE: point}, timeout=120)
    assert ended.returncode == -signal.SIGKILL


def assert_killed_is_mended(shop: Shop, point: str) -> None:
    shop.export("file")
    plant_files(shop)
    states = shop.runtime.ledger.consent.snapshot("email.marketing").to_pydict()
    killed(shop, point)
    committed = point not in POINTS[:2]
    between = Runtime(Workspace.at(shop.root))
    assert between.keys.token_key_id == ("k2" if committed else "k1")
    if committed:
        with pytest.raises(TokensNotRewritten, match="hint: finish it with `personalization keys rotate token`"):
            _ = between.warehouse
    else:
        assert not shop.plan("file").sends
    done = replace_token_key(Runtime(Workspace.at(shop.root)), AT)
    assert (done.new_key, done.ledger is None) == ("k2", committed)
    document = json.loads(shop.runtime.workspace.keys.read_text())
    assert (document["token_key"], sorted(document["token_keys"])) == ("k2", ["k1", "k2"]), "no second key was made"
    shop = reopened(shop)
    shop.runtime.ledger.verify()
    assert len(shop.runtime.ledger.requests.entries(kind="tombstone")) == 1, "nobody was erased a second time"
    found = shop.runtime.ledger.consent.snapshot("email.marketing").to_pydict()
    assert sorted(found["subject_token"]) == sorted(shop.runtime.keys.current_tokens(states["subject_token"]))
    assert not shop.plan("file").sends
    assert not shop.export("file").books.planned
    shop.runtime.ledger.close()
    assert old_tokens_in(shop.root / "var") == []


def test_killed_after_the_ledger_and_run_again(shop: Shop) -> None:
    assert_killed_is_mended(shop, "rotate.token_committed")


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if point != "rotate.token_committed"])
def test_killed_anywhere_and_run_again(shop: Shop, point: str) -> None:
    assert_killed_is_mended(shop, point)


def test_a_run_finishes_what_was_interrupted(shop: Shop) -> None:
    plant_files(shop)
    killed(shop, "rotate.token_files")
    runtime = Runtime(Workspace.at(shop.root))
    with only_run(runtime):
        assert runtime.warehouse
    assert not reopened(shop).plan("file").counts["retract"]


def test_runs_and_exports_at_work_are_not_disturbed(shop: Shop) -> None:
    with only_run(shop.runtime), pytest.raises(AnotherRun):
        rotate(shop)
    with (
        shop.runtime.ledger.leases.held("export:file"),
        pytest.raises(LeaseHeld, match="is being worked on"),
    ):
        rotate(shop)
    assert Keyring.load(shop.runtime.workspace.keys).next_token_key_id == "k2", "it was only begun"
    shop.export("file")
    shop, done = rotate(shop)
    assert done.new_key == "k2"


def test_an_export_that_slept_through_it_sends_nothing_more(shop: Shop, sandbox: Sandbox) -> None:
    sleeper = shop.runtime
    lease = sleeper.ledger.leases.acquire("export:mailchimp", seconds=0)
    rotate(shop)
    with pytest.raises(TokenKeyReplaced):
        sleeper.ledger.leases.renew(lease)
    with pytest.raises(TokenKeyReplaced, match="run it again"):
        shop.export()
    assert sandbox.members() == {}


def test_backups_from_before_are_told_apart(shop: Shop) -> None:
    shop.export("file")
    ledger = shop.root / "var" / "ledger.sqlite"
    shop.runtime.ledger.close()
    backup, old_keys = ledger.read_bytes(), shop.runtime.workspace.keys.read_text()
    shop, _ = rotate(shop)
    keys = shop.runtime.workspace.keys
    new_keys = keys.read_text()
    shop.runtime.ledger.close()
    keys.write_text(old_keys)
    with pytest.raises(KeyFileError, match="does not hold the token key 'k2'"):
        _ = Runtime(Workspace.at(shop.root)).keys
    keys.write_text(new_keys)
    for path in ledger.parent.glob("ledger.sqlite*"):
        path.unlink()
    ledger.write_bytes(backup)
    with pytest.raises(OlderLedger, match="copy from before that rotation"):
        reopened(shop).export("file")
    shop, done = rotate(Shop(shop.root, shop.rows))
    assert done.ledger is not None
    assert (done.ledger.old_key, done.new_key) == ("k1", "k2"), "brought to the key that there is, without another one"
    with pytest.raises(LedgerError, match="older copy or another one"):
        shop.export("file")


def test_a_token_key_never_leaves_the_key_file(shop: Shop) -> None:
    from personalization.ledger.key_rotation import refuse_to_retire_token_key

    before = shop.customer(1)
    runtime = shop.runtime
    with pytest.raises(KeyFileError, match="is the one in use"):
        refuse_to_retire_token_key(runtime.ledger, runtime.keys, "k1")
    shop, _ = rotate(shop)
    runtime = shop.runtime
    with pytest.raises(KeyFileError, match=r"no row holds tokens of the key 'k1' any more, but those of 'k2' are made"):
        refuse_to_retire_token_key(runtime.ledger, runtime.keys, "k1")
    with pytest.raises(TokensNotRewritten, match="a token of the key 'k1' does not fit the ledger"):
        runtime.ledger.suppressions.add([before], "planted", "test", AT)
    with runtime.ledger.begin() as connection:
        connection.exec_driver_sql(f"insert into suppressions values (99, '{before}', 'planted', 'test', 0, 0)")
    with pytest.raises(KeyFileError, match="rows of the ledger hold tokens of the key 'k1': 1 of suppressions"):
        refuse_to_retire_token_key(runtime.ledger, runtime.keys, "k1")


def test_a_warehouse_from_before_is_not_compared_with_the_ledger(shop: Shop) -> None:
    warehouse = shop.runtime.workspace.warehouse
    before = warehouse.read_bytes()
    shop, _ = rotate(shop)
    warehouse.write_bytes(before)
    with pytest.raises(
        TokensNotRewritten, match=r"a token of the key 'k1' does not fit .*\n  hint: it comes from files"
    ):
        shop.export("file")
    assert folders(shop) == []


def test_an_erasure_that_is_not_complete_comes_first(shop: Shop) -> None:
    work = shop.runtime.workspace.privacy / "erasure-1" / "work.sealed"
    work.parent.mkdir(parents=True)
    work.write_bytes(b"")
    with pytest.raises(KeyFileError, match="the erasure erasure-1 is not complete"):
        rotate(shop)
    assert TOKENS.match(shop.customer(1))
    assert Keyring.load(shop.runtime.workspace.keys).next_token_key_id is None
