"""Looks at what monitoring wrote with other eyes: sums against tables, pages on the disk, identifiers in them."""

from __future__ import annotations

import re
from pathlib import Path

from personalization.as_of import AsOf
from personalization.stages.monitoring.metrics import RUN_SUMMARY
from personalization.warehouse import Session

PAGES = ("index", "data", "model", "segments", "decisions", "export", "experiments")
_IDENTIFIER = re.compile(r"t1_\w+|[\w.+-]+@[\w-]+\.[\w.]+")

# Metric pattern, table, and what its sum must be there; a table that does not exist has no figures to compare.
_SUMS = (
    ("decisions.%", "decisions.decisions", "count(*)"),
    ("decisions.%.send.%", "decisions.decisions", "count(*) filter (where outcome = 'send')"),
    ("segments.%.size", "segments.membership", "count(*) filter (where status = 'in')"),
    ("segments.%.held", "segments.membership", "count(*) filter (where status = 'held')"),
    ("customers.scored", "scores.propensity", "count(*)"),
)


def differing_figures(session: Session, as_of: AsOf) -> list[str]:
    """Figures of `monitoring.run_summary` that are not what the tables of the day say, in words."""
    differing = []
    for pattern, table, expression in _SUMS:
        if not session.has_table(table):
            continue
        expected = session.value(f"select {expression} from {table} where as_of = ?", [as_of.day])  # noqa: S608
        found = session.value(
            f"select sum(value::decimal(18, 3))::double from {RUN_SUMMARY} where as_of = ? and metric like ?",  # noqa: S608
            [as_of.day, pattern],
        )
        if (found or 0) != (expected or 0):
            differing.append(f"{pattern} adds up to {found or 0:,.0f}, but {table} has {expected or 0:,}")
    for entity, landed, ended in session.rows(
        f"""
        select
            split_part(metric, '.', 2) as entity,
            sum(value::decimal(18, 0)) filter (where metric like '%.landed')::bigint as landed,
            sum(value::decimal(18, 0)) filter (where metric not like '%.landed')::bigint as ended
        from {RUN_SUMMARY}
        where as_of = ? and metric like 'rows.%'
        group by entity
        having landed <> ended
        order by entity
        """,  # noqa: S608
        [as_of.day],
    ):
        differing.append(f"{landed:,} rows of {entity} landed, but {ended:,} are valid, quarantined or superseded")
    return differing


def missing_pages(folder: Path) -> list[str]:
    """Pages that are not in the report, or end in the middle."""
    names = [f"{name}.html" for name in PAGES]
    return [name for name in names if not (folder / name).is_file() or not _is_whole(folder / name)]


def files_with_identifiers(folder: Path) -> list[str]:
    """Files in which something looks like a token or an e-mail address."""
    return [path.name for path in sorted(folder.glob("*")) if _IDENTIFIER.search(path.read_text(encoding="utf-8"))]


def _is_whole(page: Path) -> bool:
    return page.read_text(encoding="utf-8").rstrip().endswith("</html>")
