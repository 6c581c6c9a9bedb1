"""No space left for the landing zone: a clear message, nothing lost, and the next run heals it."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from personalization.errors import SourceError
from personalization.stages.sync.landing import completed_loads
from tests.sync.shop import HEADER, Shop, orders

REPOSITORY = Path(__file__).parents[2]
ROWS = 60_000
MEGABYTE = 1024 * 1024


def prepare(shop: Shop) -> None:
    draw = random.Random(1)
    lines = (f"{draw.getrandbits(64)},{draw.getrandbits(64)},c1,1,1.00,2017-01-01" for _ in range(ROWS))
    shop.write_lines("orders.csv", HEADER, *lines)
    shop.use_files(orders=orders("orders.csv"))


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, MEGABYTE))


def test_where_no_file_can_grow_any_more(shop: Shop) -> None:
    """A quota on the size of files: dlt's working folder meets it first."""
    prepare(shop)
    program = "import sys; from pathlib import Path; from tests.sync.shop import Shop; Shop(Path(sys.argv[1])).sync()"
    command = [sys.executable, "-c", program, str(shop.root)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, preexec_fn=limit_file_size
    )
    assert done.returncode == 1
    assert f"SourceError: no space left for the landing zone {shop.workspace.landing}" in done.stderr
    assert "hint: make room and run again: nothing that was loaded is lost, and nothing is loaded twice" in done.stderr
    assert completed_loads(shop.workspace.landing) == []
    assert shop.sync().rows == ROWS


@pytest.fixture
def small_landing(shop: Shop) -> Iterator[Path]:
    """A landing zone on a volume of its own, of one megabyte."""
    folder = shop.workspace.landing
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small volume; the quota test runs everywhere")
def test_a_full_volume(shop: Shop, small_landing: Path) -> None:
    """The load was extracted already: it waits, and is finished when there is room; the source is not read again."""
    prepare(shop)
    with pytest.raises(SourceError) as caught:
        shop.sync()
    assert f"no space left for the landing zone {small_landing}" in str(caught.value)
    assert completed_loads(small_landing) == []
    (shop.root / "data" / "orders.csv").write_text(HEADER)
    subprocess.run(["mount", "-o", "remount,size=64m", small_landing], check=True)
    shop.sync()
    assert len(shop.landing("order_lines__files_orders", "order_id")) == ROWS
