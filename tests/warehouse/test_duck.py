"""The embedded warehouse: one writer, clear lock errors, days replaced whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from personalization.as_of import AsOf
from personalization.errors import WarehouseError
from personalization.warehouse import Warehouse

DAY = AsOf.parse("2017-12-03")


def test_a_day_is_replaced_whole_and_other_days_stay(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w.duckdb")
    query = "select ?::date as as_of, i as n from range(?) r(i)"
    with warehouse.connect() as session:
        assert session.replace_day("scores.t", DAY, query, [DAY.day, 5]) == 5
        assert session.replace_day("scores.t", DAY.shift(1), query, [DAY.shift(1).day, 2]) == 2
        assert session.replace_day("scores.t", DAY, query, [DAY.day, 3]) == 3
        counts = session.rows("select as_of::varchar, count(*) from scores.t group by 1 order by 1")
    assert counts == [("2017-12-03", 3), ("2017-12-04", 2)]


def test_a_failing_query_leaves_the_old_day(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w.duckdb")
    with warehouse.connect() as session:
        session.replace_day("scores.t", DAY, "select date '2017-12-03' as as_of, 1 as n")
        with pytest.raises(Exception, match="bad"):
            session.replace_day("scores.t", DAY, "select date '2017-12-03' as as_of, error('bad') as n")
        assert session.rows("select n from scores.t") == [(1,)]


def test_fingerprint_ignores_order_but_not_values(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as session:
        session.replace_table("x.a", "select i from range(100) r(i) order by i")
        session.replace_table("x.b", "select i from range(100) r(i) order by i desc")
        session.replace_table("x.c", "select i + (i = 7)::int as i from range(100) r(i)")
        assert session.fingerprint("x.a") == session.fingerprint("x.b")
        assert session.fingerprint("x.a") != session.fingerprint("x.c")


def test_a_file_locked_by_another_process_is_named_with_its_pid(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        with pytest.raises(WarehouseError) as caught, Warehouse(path, wait_seconds=0.5).connect():
            pass
        assert f"is locked by process {holder.pid}" in str(caught.value)
        assert "only one process can write" in str(caught.value)
    finally:
        holder.communicate(b"\n")
    with Warehouse(path).connect() as session:
        assert session.value("select 1") == 1


def test_a_corrupt_file_says_how_to_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(WarehouseError, match="can't be opened") as caught, Warehouse(path).connect():
        pass
    assert "`personalization run` sets it aside and rebuilds it" in str(caught.value)


def test_sessions_run_in_utc(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as session:
        assert session.value("select current_setting('TimeZone')") == "UTC"
