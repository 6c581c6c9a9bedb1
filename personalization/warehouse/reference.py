"""Reference tables for normalisation: ISO 3166 countries and regions, ISO 4217 currencies, IANA time zones.

They become dbt seeds. The files are made on the machine that needs them and never committed, because pycountry's data,
of which all but the time zones are made, are LGPL. The same pycountry gives the same bytes.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from zoneinfo import available_timezones

# Names in everyday use that ISO and pycountry do not list.
COMMON_COUNTRY_NAMES = {
    "AE": ["UAE", "Emirates"],
    "BA": ["Bosnia"],
    "CD": ["DR Congo", "Congo-Kinshasa"],
    "CG": ["Congo-Brazzaville", "Republic of Congo"],
    "CI": ["Ivory Coast"],
    "CV": ["Cape Verde"],
    "CZ": ["Czech Republic"],
    "FK": ["Falkland Islands"],
    "FM": ["Micronesia"],
    "GB": ["UK", "Great Britain", "Britain", "England", "Scotland", "Wales", "Northern Ireland"],
    "KP": ["North Korea"],
    "KR": ["South Korea", "Korea"],
    "LA": ["Laos"],
    "MK": ["Macedonia"],
    "MM": ["Burma"],
    "NL": ["Holland", "The Netherlands"],
    "PS": ["Palestine"],
    "RU": ["Russia"],
    "SZ": ["Swaziland"],
    "TR": ["Turkey", "Turkiye"],
    "US": ["U.S.", "U.S.A.", "United States of America", "America"],
    "VA": ["Vatican", "Vatican City"],
}


def spelling(text: str) -> str:
    """The form in which names are compared: no accents, upper case, one space for everything but letters and digits.

    The dbt macro `spelling` does the same in SQL; a test compares the two over every name in the tables.

    >>> spelling("Côte d'Ivoire")
    'COTE D IVOIRE'
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
    return re.sub(r"[^A-Z0-9]+", " ", plain.upper()).strip()


def countries() -> list[tuple[str, str]]:
    """`(spelling, alpha-2 code)` for each way to write a country: alpha-2, alpha-3, numeric, English names.

    A code wins over a name; a spelling that two countries share (none today) would be left out.
    """
    import pycountry

    named: list[tuple[str, str]] = []
    coded: dict[str, str] = {}
    for country in pycountry.countries:
        for code in (country.alpha_2, country.alpha_3, country.numeric, country.numeric.lstrip("0")):
            coded[code] = country.alpha_2
        listed = [country.name, getattr(country, "official_name", ""), getattr(country, "common_name", "")]
        names = [*(name for each in listed for name in _variants(each)), *COMMON_COUNTRY_NAMES.get(country.alpha_2, [])]
        named += [(name, country.alpha_2) for name in names]
    return sorted({**_unambiguous(named), **coded}.items())


def subdivisions() -> list[tuple[str, str, str]]:
    """`(country, spelling, ISO 3166-2 code)` for each way to write a region: `US-OH`, `OH` or `Ohio`.

    A code wins over a name. Of two regions of one name the larger wins (a region before its province); of two on the
    same level neither, because a guess would be wrong half of the time.
    """
    import pycountry

    rows: list[tuple[str, str, str]] = []
    by_country: dict[str, list[pycountry.db.Data]] = {}
    for region in pycountry.subdivisions:
        by_country.setdefault(region.country_code, []).append(region)
    for country, regions in by_country.items():
        named = [(name, region) for region in regions for name in _variants(region.name)]
        lower = _unambiguous((name, region.code) for name, region in named if region.parent_code)
        upper = _unambiguous((name, region.code) for name, region in named if not region.parent_code)
        coded = {spelling(code): region.code for region in regions for code in (region.code, region.code.split("-")[1])}
        rows += [(country, text, code) for text, code in {**lower, **upper, **coded}.items()]
    return sorted(rows)


def currencies() -> list[tuple[str, str]]:
    """`(alpha code, English name)` of each currency of ISO 4217."""
    import pycountry

    return sorted((currency.alpha_3, currency.name) for currency in pycountry.currencies)


def time_zones() -> list[tuple[str, str]]:
    """`(name in lower case, name)` of each IANA time zone that both Python and the warehouse can reckon with."""
    import duckdb

    with duckdb.connect() as connection:
        found = {str(name) for (name,) in connection.execute("select name from pg_timezone_names()").fetchall()}
    return sorted((name.lower(), name) for name in found & available_timezones())


def write_seeds(folder: Path) -> list[Path]:
    """Write iso_countries.csv, iso_subdivisions.csv, iso_currencies.csv and time_zones.csv; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(folder / "iso_countries.csv", ("spelling", "country"), countries()),
        _write(folder / "iso_subdivisions.csv", ("country", "spelling", "region"), subdivisions()),
        _write(folder / "iso_currencies.csv", ("currency", "name"), currencies()),
        _write(folder / "time_zones.csv", ("spelling", "time_zone"), time_zones()),
    ]


def _variants(name: str) -> list[str]:
    """A name as listed, in natural order (`Madrid, Comunidad de`), and each of two names (`A Coruña [La Coruña]`)."""
    parts = [part for part in re.split(r"[\[\]/]", name) if part.strip()]
    turned = [" ".join(reversed(part.split(","))) for part in parts if part.count(",") == 1]
    return [name, *parts, *turned]


def _unambiguous(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Codes by the spelling of their name, without the spellings that mean two codes."""
    meanings: dict[str, set[str]] = {}
    for name, code in names:
        meanings.setdefault(spelling(name), set()).add(code)
    return {text: min(codes) for text, codes in meanings.items() if text and len(codes) == 1}


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
