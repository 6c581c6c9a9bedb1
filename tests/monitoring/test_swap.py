"""A report takes the place of the older one whole, whatever the file system can do."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from personalization.stages.monitoring.report.site import write_folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "two renames":

        def no_library(*_: object, **__: object) -> None:
            raise OSError("no C library here")

        monkeypatch.setattr(ctypes, "CDLL", no_library)


@pytest.mark.usefixtures("way")
def test_the_new_report_replaces_the_old_one_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "reports" / "2017-12-03"
    write_folder(target, {"index.html": "old", "gone.html": "old"})
    write_folder(target, {"index.html": "new"})
    assert contents(target) == {"index.html": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["2017-12-03"]


@pytest.mark.usefixtures("way")
def test_what_a_crash_left_behind_is_healed(tmp_path: Path) -> None:
    target = tmp_path / "2017-12-03"
    for leftover in (".2017-12-03.new", ".2017-12-03.old"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half.html").write_text("<html>", encoding="utf-8")
    write_folder(target, {"index.html": "first"})
    write_folder(target, {"index.html": "new"})
    assert contents(target) == {"index.html": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["2017-12-03"]


def test_a_reader_finds_a_whole_report_until_the_new_one_is_there(tmp_path: Path) -> None:
    target = tmp_path / "2017-12-03"
    write_folder(target, {"index.html": "old"})
    with pytest.raises(TypeError):
        write_folder(target, {"index.html": "new", "data.html": None})  # type: ignore[dict-item]  (a crash half way)
    assert contents(target) == {"index.html": "old"}
