"""Which customer had which e-mail address or phone, kept when newer loads replace the rows that said so.

An opt-out by an address that its owner no longer uses must go on counting for the owner.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from personalization.program import Program
from personalization.stages.sync.landing import inbox_files, landed_files, load_of, replayed_files, write_durably
from personalization.stages.sync.tables import mapped_tables
from personalization.stages.sync.webhook_tables import landing_tables
from personalization.workspace import Workspace

_NOTED = "identity_links_noted"
_KINDS = {"email_token": "email", "phone_token": "phone"}


def links_folder(history: Path) -> Path:
    """Where the links are kept: Parquet files, written once each."""
    return history / "identity_links"


def record_links(program: Program, workspace: Workspace, *, inbox: int = 0, after: int | None = None) -> int:
    """Note the links of the loads since the last time, and of webhook events; of all loads when there was no last time.

    Parameters
    ----------
    inbox : int
        Up to which webhook event the landing zone counts.
    after : int, optional
        Look only at webhook events after this one, and at none of the loads.

    A link that is known is noted again when somebody else had the identifier in between.

    Returns
    -------
    int
        How many links were not known before.
    """
    loads = [
        path
        for table in mapped_tables(program)
        if table.entity.name == "customers" and after is None
        for path in landed_files(workspace.landing, table.landing_name)
    ]
    noted = workspace.history / _NOTED
    done = noted.read_text(encoding="utf-8").strip() if noted.exists() else ""
    loads = [path for path in loads if load_of(path) > done]
    events = [
        path
        for table in landing_tables(program)
        if table.entity.name == "customers"
        for path in (
            *(file.path for file in inbox_files(workspace.landing, table.landing_name, up_to=inbox, after=after or 0)),
            *replayed_files(workspace.landing, table.landing_name),
        )
    ]
    files = [*loads, *events]
    if not files:
        return 0
    folder = links_folder(workspace.history)
    with duckdb.connect() as engine:
        new = engine.sql(
            f"""
            with landed as (
                select customer_key, identifier_token, kind, max(load_id) as load_id
                from ({_links_query(engine, files)})
                where customer_key is not null and identifier_token is not null
                group by all
            )
            select * from landed
            where (customer_key, identifier_token) not in ({_known_query(folder)})
                or identifier_token not in (
                    select identifier_token
                    from landed semi join ({last_owner_query(folder)}) using (identifier_token, customer_key)
                )
            order by all
            """,  # noqa: S608  (expressions of ours)
            params={"files": [str(path) for path in files]},
        ).to_arrow_table()
    if new.num_rows:
        # the name says up to which load and event it knows: written again after a crash it replaces itself
        newest = max((load_of(path) for path in loads), default="inbox")
        known = len(list(folder.glob("*.parquet"))) if events else 0
        write_durably(new, folder / (f"{newest}.{inbox:012d}.{known:06d}.parquet" if events else f"{newest}.parquet"))
    if loads:
        workspace.history.mkdir(parents=True, exist_ok=True)
        temporary = noted.with_suffix(".tmp")
        temporary.write_text(max(load_of(path) for path in loads), encoding="utf-8")
        temporary.replace(noted)
    return new.num_rows


def last_owner_query(folder: Path) -> str:
    """For each identifier that some customer once had, the one who had it last."""
    return f"""
        select identifier_token, kind, arg_max(customer_key, (load_id, customer_key)) as customer_key
        from ({_all_links(folder)}) group by identifier_token, kind
    """  # noqa: S608


def _links_query(engine: duckdb.DuckDBPyConnection, files: list[Path]) -> str:
    found = engine.execute(
        "select column_name from (describe from read_parquet($files, union_by_name = true))",
        {"files": [str(path) for path in files]},
    ).fetchall()
    kinds = [(column, kind) for column, kind in _KINDS.items() if (column,) in found]
    queries = [
        f"select customer_key, {column} as identifier_token, '{kind}' as kind, _dlt_load_id::varchar as load_id"  # noqa: S608
        " from read_parquet($files, union_by_name = true)"
        for column, kind in kinds
    ]
    nothing = "select null::varchar as customer_key, null::varchar as identifier_token, '' as kind, '' as load_id"
    return " union all ".join(queries) or f"{nothing} from read_parquet($files, union_by_name = true) limit 0"


def _known_query(folder: Path) -> str:
    return f"select (customer_key, identifier_token) from ({_all_links(folder)})"  # noqa: S608


def _all_links(folder: Path) -> str:
    if not any(folder.glob("*.parquet")):
        return "select '' as customer_key, '' as identifier_token, '' as kind, '' as load_id limit 0"
    pattern = str(folder / "*.parquet").replace("'", "''")
    return f"from read_parquet('{pattern}')"
