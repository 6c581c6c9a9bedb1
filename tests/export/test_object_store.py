"""CSV folders in an object store: whole or not there, found again after a lost answer, and named when refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Iterator

import pytest

from personalization.errors import ExportError
from personalization.stages.export.adapters.base import Postponed
from personalization.stages.export.adapters.csv_store import ObjectStore
from personalization.stages.export.adapters.registry import adapter_for
from tests.export.object_store import Fault, ObjectStoreServer, object_store
from tests.export.shop import Shop, address

FOLDER = "daily/run-000001-1_2017-12-03"
_FILES = ("removals.csv", "suppressions.csv", "upserts.csv")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStoreServer]:
    with object_store() as running:
        yield running


@pytest.fixture
def store(server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> ObjectStoreServer:
    server.empty()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def there(shop: Shop, store: ObjectStoreServer) -> Shop:
    shop.add_destination("there", "platform: csv\nfolder: s3://exports/daily")
    return shop


def rows(store: ObjectStoreServer, key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(store.objects()[key].decode(), newline="")))


def test_a_folder_is_written_with_its_manifest_last(there: Shop, store: ObjectStoreServer) -> None:
    assert there.export("there").books.acked == 8
    held = store.objects()
    assert sorted(held) == [f"{FOLDER}/{name}" for name in ("manifest.json", *_FILES)]
    assert {row["email"] for row in rows(store, f"{FOLDER}/upserts.csv")} == {address(n) for n in range(8)}
    for entry in json.loads(held[f"{FOLDER}/manifest.json"])["files"]:
        content = held[f"{FOLDER}/{entry['name']}"]
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert [entry for entry in store.log if entry.startswith("PUT")][-1].endswith("manifest.json")


def test_nothing_changed_writes_nothing(there: Shop, store: ObjectStoreServer) -> None:
    there.export("there")
    store.log.clear()
    assert there.export("there").books.unchanged == 8
    assert store.log == []


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_answer_is_looked_up_and_doubles_nobody(there: Shop, store: ObjectStoreServer, applied: bool) -> None:
    store.faults.append(Fault("PUT", "manifest", applied=applied, times=3))  # the driver tries three times
    assert there.export("there").books.acked == 8, "found there, or written again"
    (found,) = (key for key in store.objects() if key.endswith("upserts.csv"))
    assert found.startswith(FOLDER if applied else "daily/run-000001-2_2017-12-03")
    assert {row["email"] for row in rows(store, found)} == {address(n) for n in range(8)}


def test_a_store_that_is_down_holds_everything_and_says_so(there: Shop, store: ObjectStoreServer) -> None:
    there.export("there")
    there.rows[3]["offer"] = "POINTS2"
    there.decide()
    store.faults.append(Fault("PUT", ".", status=503, code="SlowDown", times=1000))
    store.faults.append(Fault("HEAD", ".", status=503, code="SlowDown", times=1000))
    with pytest.raises(ExportError, match="s3://exports/daily"):
        there.export("there")
    store.faults.clear()
    assert there.export("there").books.acked == 1
    assert all(books.closes for books in there.books("there"))


def test_what_took_longer_than_its_cut_holds_is_taken_back(store: ObjectStoreServer) -> None:
    files = {"upserts.csv": b"email", "manifest.json": b"{}"}
    with pytest.raises(Postponed):
        ObjectStore("there", "s3://exports/daily").write("run-1", files, deadline=time.monotonic())
    assert store.objects() == {}


def test_refused_credentials_are_named(there: Shop, store: ObjectStoreServer) -> None:
    store.faults.append(Fault("PUT", "upserts", status=403, code="AccessDenied", times=100))
    with pytest.raises(ExportError, match="s3://exports/daily can't be written to") as refused:
        there.export("there")
    assert "AWS_ACCESS_KEY_ID" in str(refused.value.hint)
    assert there.books("there")[0].held == 8
    store.faults.clear()
    assert there.export("there").books.acked == 8


def test_a_missing_bucket_is_named_before_anything_is_sent(shop: Shop, store: ObjectStoreServer) -> None:
    shop.add_destination("there", "platform: csv\nfolder: s3://nobody/daily")
    with pytest.raises(ExportError, match="'there': there is no bucket nobody"):
        shop.export("there")


def test_an_unknown_kind_of_store(shop: Shop) -> None:
    shop.add_destination("there", "platform: csv\nfolder: carrier-pigeon://coop/daily")
    with pytest.raises(ExportError, match="'carrier-pigeon://coop/daily' is not understood") as refused:
        shop.export("there")
    assert "s3://bucket/prefix" in str(refused.value.hint)


def test_people_are_shown_and_erased_in_every_folder(there: Shop, store: ObjectStoreServer) -> None:
    there.export("there")
    there.withdraw(3)
    there.export("there")
    adapter = adapter_for(there.runtime.program, "there", there.runtime.workspace)
    shown = adapter.shown([address(3).upper()], [])
    assert [row["file"].rsplit("/", 1)[1] for row in shown] == ["upserts.csv", "suppressions.csv"]
    assert adapter.erase([address(3)], []) == 1
    assert address(3).encode() not in b"".join(store.objects().values())
    assert adapter.shown([address(3)], []) == []
    manifest = json.loads(store.objects()[f"{FOLDER}/manifest.json"])
    assert manifest["erased"]
    assert {entry["name"]: entry["rows"] for entry in manifest["files"]}["upserts.csv"] == 7
    assert {holding.address for holding in adapter.holdings()} == {address(n) for n in range(8)} - {address(3)}
