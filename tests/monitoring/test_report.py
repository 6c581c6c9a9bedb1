"""The files of the report: whole, self-contained, anonymous, equal to the tables, and the same when written again."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from personalization.runtime import Runtime
from personalization.stages.monitoring import verify
from personalization.stages.monitoring.metrics import run_summary
from personalization.stages.monitoring.report.pages import PAGES
from personalization.stages.monitoring.report.site import write_report
from tests.monitoring.day import DAY, export_to, fill_warehouse, make_workspace

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Document(HTMLParser):
    """Reads a page strictly: every element is closed in order. Collects ids, links, texts of tables."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._table: list[list[str]] | None = None
        self.feed(page.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(dict(attrs)["id"] or "", [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table:
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._table and {"td", "th"} & set(self.open):
            self._table[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(params=[page.file for page in PAGES])
def page(request: pytest.FixtureRequest, report: Path) -> Path:
    return report / request.param


def test_every_page_is_there_and_nothing_else(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == sorted(page.file for page in PAGES)
    assert [page.name for page in PAGES] == list(verify.PAGES)
    assert verify.missing_pages(report) == []


def test_a_page_is_well_formed_and_accessible(page: Path) -> None:
    document = Document(page)
    tags = [tag for tag, _ in document.seen]
    assert document.all("html")[0]["lang"] == "en"
    assert [tags.count(tag) for tag in ("header", "main", "footer", "nav", "h1")] == [1, 1, 1, 1, 1]
    headings = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(following <= previous + 1 for previous, following in itertools.pairwise(headings))
    ids = [attributes["id"] for _, attributes in document.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in document.seen:
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids
    assert tags.count("table") == tags.count("caption")
    for svg in document.all("svg"):
        assert svg["role"] == "img"
    assert tags.count("svg") == sum(tag == "desc" for tag in tags)
    assert sum(attributes.get("aria-current") == "page" for attributes in document.all("a")) == 1


def test_a_page_needs_nothing_from_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text.lower()
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert not re.search(r"\son\w+=", text)
    for link in Document(page).all("a"):
        target = link["href"] or ""
        assert target.startswith("#") or (page.parent / target).is_file()


def test_no_page_names_anybody(report: Path) -> None:
    assert verify.files_with_identifiers(report) == []
    assert "t1_" not in "".join(path.read_text(encoding="utf-8") for path in report.iterdir())


def test_a_page_with_a_token_or_an_address_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>t1_k1_abc</p>", encoding="utf-8")
    (tmp_path / "b.html").write_text("<p>someone@example.com</p>", encoding="utf-8")
    (tmp_path / "c.html").write_text("<p>@media print</p>", encoding="utf-8")
    assert verify.files_with_identifiers(tmp_path) == ["a.html", "b.html"]


def test_a_page_that_ends_in_the_middle_is_noticed(tmp_path: Path) -> None:
    for name in verify.PAGES:
        (tmp_path / f"{name}.html").write_text("<html></html>\n", encoding="utf-8")
    (tmp_path / "data.html").write_text("<html>", encoding="utf-8")
    (tmp_path / "export.html").unlink()
    assert verify.missing_pages(tmp_path) == ["data.html", "export.html"]


@pytest.mark.parametrize(
    ("file", "table", "rows"),
    [
        ("data.html", "rows", [["order lines", "5,200", "5,000", "150", "50", "2.9\u00a0%"]]),
        ("data.html", "reasons", [["order lines", "ordered_at: not a date", "120", "quarantined"]]),
        ("segments.html", "segments", [["Comes every week", "21", "52.5\u00a0%", "0", "100.0\u00a0%", "ok", "4", "1"]]),
        ("index.html", "outcomes", [["Come back", "10", "4", "6", "40.0\u00a0%"]]),
        (
            "decisions.html",
            "decisions",
            [["Thank you", "gets “Come back” instead", "10", "withheld", "lost_to:comeback"]],
        ),
        ("export.html", "books", [["mailchimp", "24", "21", "3", "0", "0", "0", "0", "yes", "0", "21"]]),
        ("export.html", "ends", [["mailchimp", "rejected", "looks fake", "3"]]),
        ("model.html", "calibration-numbers", [["4", "6.2\u00a0%", "75.0\u00a0%", "30.1\u00a0%", "95.4\u00a0%"]]),
        ("experiments.html", "mailings-numbers", [["B", "50", "15", "30.0\u00a0%", "19.1\u00a0%", "43.8\u00a0%"]]),
    ],
)
def test_numbers_in_the_pages_are_those_of_the_tables(
    report: Path, file: str, table: str, rows: list[list[str]]
) -> None:
    found = Document(report / file).tables[table]
    assert [row for row in rows if row not in found] == []


def test_the_summary_says_it_in_plain_words(report: Path) -> None:
    text = " ".join("".join(Document(report / "index.html").text).split())
    assert "40 customers, of whom 36 were scored" in text
    assert "Of 38 people in the audiences of 2 campaigns, 20 get a mail." in text
    assert "Acknowledged: 21 of 24 at mailchimp and 24 of 24 at file. All books close." in text
    assert "1 check failed: unique of marts/customers." in text


def test_notes_of_the_program_are_shown_as_text(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Addresses in these data are made up &amp; marked *so*." in page
    assert "Corner &lt;shop&gt; &amp; sons" in page
    assert "<shop>" not in page


def test_the_same_day_gives_the_same_bytes(full: Runtime, report: Path) -> None:
    again = write_report(full, run_summary(full, DAY), DAY, failed_checks=["unique of marts/customers"]).parent
    for page in PAGES:
        assert (again / page.file).read_bytes() == (report / page.file).read_bytes()


def test_before_any_stage_has_run_pages_say_so(empty: Runtime) -> None:
    folder = write_report(empty, run_summary(empty, DAY), DAY).parent
    for page in PAGES:
        Document(folder / page.file)
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert "<strong>Not known yet.</strong> <code>decisions.summary</code>" in index
    assert "not known</span>" in index


def test_only_the_export_is_missing(tmp_path: Path) -> None:
    runtime = make_workspace(tmp_path)
    with runtime.warehouse.connect() as session:
        fill_warehouse(session)
    folder = write_report(runtime, run_summary(runtime, DAY), DAY).parent
    assert "export runs in the ledger" in (folder / "export.html").read_text(encoding="utf-8")
    assert "Nothing for this day yet from 1 stage: export." in (folder / "index.html").read_text(encoding="utf-8")


def test_a_run_that_had_nothing_to_send(full: Runtime) -> None:
    for name in ("mailchimp", "file"):
        export_to(full.ledger, name, planned=0)
    folder = write_report(full, run_summary(full, DAY), DAY).parent
    text = " ".join("".join(Document(folder / "index.html").text).split())
    assert "Nothing had to be sent to mailchimp (21) and file (24): every contact there is up to date." in text
