"""Readable pages from what was gathered: one file each, without scripts, with nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from personalization.privacy.inventory import area_of

ROWS_SHOWN = 1_000
_SECTIONS = (
    ("As it came to us", lambda name: name.startswith("landing/")),
    ("What was computed and decided", lambda name: "/" not in name),
    ("Day by day", lambda name: name.startswith("history/")),
)


def access_page(document: Mapping[str, Any]) -> str:
    """The copy a person gets, as HTML."""
    own = set(document["identifiers"])
    rows = {**document["files"], **document["warehouse"]}
    sections = [("What was sent about you, and what we must keep", _groups(document["ledger"], own, prefix="ledger."))]
    sections += [
        (heading, _groups({name: found for name, found in rows.items() if fits(name)}, own))
        for heading, fits in _SECTIONS
    ]
    return str(
        _environment()
        .get_template("access.html.j2")
        .render(
            **{
                key: document[key]
                for key in ("company", "request", "vault", "identifiers", "agreed", "consent", "platforms")
            },
            **{key: document[key] for key in ("purposes", "explanation", "messages", "held_by_platforms", "not_read")},
            received_at=shown(document["received_at"]),
            made_at=shown(document["made_at"]),
            sections=[(heading, groups) for heading, groups in sections if groups],
        )
    )


def _groups(tables: Mapping[str, list[dict[str, Any]]], own: set[str], prefix: str = "") -> list[dict[str, Any]]:
    groups = []
    for name, rows in tables.items():
        area = area_of(prefix + name)
        groups.append({"name": prefix + name, "title": area.title if area else name, "rows": _plain(rows, own)})
    return groups


def _plain(rows: list[dict[str, Any]], own: set[str]) -> list[dict[str, Any]]:
    """Rows without columns that only repeat the person's tokens or are empty throughout."""
    names = list(rows[0]) if rows else []
    dull = {
        name
        for name in names
        if all(row[name] is None or (isinstance(row[name], str) and row[name] in own) for row in rows)
    }
    return [{name: value for name, value in row.items() if name not in dull} for row in rows]


def render(template: str, **values: Any) -> str:
    """A page of this package."""
    return str(_environment().get_template(template).render(**values))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> Markup:
    """Rows as an HTML table; `columns` names those to show, and their headings."""
    if not rows:
        return Markup('<p class="muted">Nothing.</p>')
    named = dict(columns) if columns is not None else {name: name.replace("_", " ").strip() for name in rows[0]}
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(heading) for heading in named.values())
    body = Markup("").join(_row([row.get(name) for name in named]) for row in rows[:ROWS_SHOWN])
    left = len(rows) - ROWS_SHOWN
    more = Markup('<p class="muted">and {} more rows, all in data.json</p>').format(left) if left > 0 else Markup("")
    framed = Markup('<div class="scroll" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>')
    return framed.format(head, body) + more


def _row(values: Sequence[Any]) -> Markup:
    return Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, values)))


def _cell(value: Any) -> Markup:
    kind = Markup(' class="number"') if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else ""
    return Markup("<td{}>{}</td>").format(kind, shown(value))


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}" if value.hour or value.minute or value.second else f"{value:%Y-%m-%d}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, dict | list):
        return pretty(value)
    return str(value)


def pretty(value: Any) -> str:
    """Nested values, indented; a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("personalization.privacy", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("personalization.privacy").joinpath("templates/page.css").read_text(encoding="utf-8")
    environment.globals.update(css=Markup(style), table=table, shown=shown)
    environment.filters["pretty"] = lambda value: escape(pretty(value))
    return environment
