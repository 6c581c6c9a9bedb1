"""Reference tables: codes and names of pycountry, spelled the same in Python and in SQL."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pycountry
import pytest

from personalization.warehouse import dbt, reference


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("US", "US"),
        ("usa", "US"),
        ("U.S.A.", "US"),
        ("840", "US"),
        ("4", "AF"),  # a spreadsheet ate the zeros of 004
        ("United States of America", "US"),
        ("UK", "GB"),
        ("England", "GB"),
        ("Deutschland", None),  # ISO's names are English
        ("Germany", "DE"),
        ("côte d’ivoire", "CI"),
        ("Republic of Korea", "KR"),
        ("Czech Republic", "CZ"),
        ("NA", "NA"),  # Namibia, not "not available"
    ],
)
def test_countries(written: str, code: str | None) -> None:
    assert dict(reference.countries()).get(reference.spelling(written)) == code


@pytest.mark.parametrize(
    ("country", "written", "code"),
    [
        ("US", "oh", "US-OH"),
        ("US", "Ohio", "US-OH"),
        ("US", "US-OH", "US-OH"),
        ("DE", "Baden-Württemberg", "DE-BW"),
        ("ES", "Comunidad de Madrid", "ES-MD"),
        ("ES", "La Coruña", "ES-C"),
        ("CA", "Québec", "CA-QC"),
        ("DE", "Ohio", None),
    ],
)
def test_regions(country: str, written: str, code: str | None) -> None:
    regions = {(row[0], row[1]): row[2] for row in reference.subdivisions()}
    assert regions.get((country, reference.spelling(written))) == code


def test_a_spelling_has_one_meaning() -> None:
    countries, regions = reference.countries(), reference.subdivisions()
    assert len({spelling for spelling, _ in countries}) == len(countries)
    assert len({(country, spelling) for country, spelling, _ in regions}) == len(regions)


def test_the_same_tables_have_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in reference.write_seeds(tmp_path / "first")]
    assert first == [path.read_bytes() for path in reference.write_seeds(tmp_path / "second")]
    assert {path.name for path in (tmp_path / "first").iterdir()} == {
        "iso_countries.csv",
        "iso_subdivisions.csv",
        "iso_currencies.csv",
        "time_zones.csv",
    }


def test_sql_spells_as_python_does() -> None:
    """The macro `spelling` over every name that the tables were made from."""
    macro = (dbt.source_folder() / "macros" / "lookup.sql").read_text()
    [body] = re.findall(r"macro default__spelling\(column\) -%}(.*?){%- endmacro", macro, re.DOTALL)
    names = [entry.name for entry in (*pycountry.countries, *pycountry.subdivisions)]
    spelled = duckdb.execute(
        f"select {body.replace('{{ column }}', 'name')} from (select unnest(?) as name)", [names]
    ).fetchall()
    assert [text for (text,) in spelled] == [reference.spelling(name) for name in names]
