"""How much is known: the share of filled values per column, as table `validation.completeness`."""

from __future__ import annotations

from personalization.stages.sync.entities import EMAIL_PROBLEM, ENTITIES
from personalization.warehouse import Session

_NOT_A_VALUE = {EMAIL_PROBLEM}


def write_completeness(entities: list[str], session: Session) -> int:
    """Write one row a column of every `landed` table, in one pass over each. Returns the number of rows written."""
    queries = []
    for entity in entities:
        columns = [name for name in ENTITIES[entity].landed_columns if name not in _NOT_A_VALUE]
        counts = ", ".join(f"count({name}) as {name}" for name in columns)
        queries.append(
            f"select 'landed.{entity}' as table_name, column_name, rows, known,"  # noqa: S608  (names of ours)
            " case when rows > 0 then round(known / rows, 6) end as share"
            f" from (unpivot (select count(*) as rows, {counts} from landed.{entity})"
            f" on {', '.join(columns)} into name column_name value known)"
        )
    return session.replace_table("validation.completeness", " union all ".join(queries) + " order by all")
