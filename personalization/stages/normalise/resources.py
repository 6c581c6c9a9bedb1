"""How Dagster runs dbt: the command, the names of its assets, what is worth seeing of a run, and errors in the words
of the model that failed.
"""

import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from packaging.version import Version

from personalization.runtime import Runtime
from personalization.warehouse import dbt
from personalization.warehouse.lineage import column_lineage
from personalization.workspace import Workspace


class DbtCommand(DbtCliResource):
    """dbt of this Python environment, always in a process of its own."""

    @cached_property
    def _cli_version(self) -> Version:
        # The original runs `dbt --version` before every command, which takes three seconds and asks the package index.
        return Version(importlib.metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        # The original makes a dbt adapter in this process, whose open connection would shut the next dbt run out.
        return None


def resources(workspace: Workspace) -> dict[str, DbtCommand]:
    """The `dbt` resource of a workspace."""
    project = str(dbt.prepare(workspace).project)
    python, *options = dbt.command()
    return {
        "dbt": DbtCommand(project_dir=project, profiles_dir=project, dbt_executable=python, global_config_flags=options)
    }


class Translator(DagsterDbtTranslator):
    """Asset keys are the names of tables: marts/orders, and landed/orders for a source."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return self.group if dbt_resource_props["resource_type"] != "source" else None

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:data"]

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props.get("description") or "")


def build(
    context: dg.AssetExecutionContext, command: DbtCliResource, runtime: Runtime, variables: dict[str, Any], name: str
) -> Iterator[Any]:
    """Run `dbt build` for the selected assets; yield their events with row counts, columns and column lineage.

    The events come when dbt has ended: only then can the warehouse be read.

    Parameters
    ----------
    name : str
        Kind of run; runs of one kind share a target folder.

    Raises
    ------
    WarehouseError, DataError
        See `personalization.warehouse.dbt.explain`.
    """
    os.environ.update(dbt.environment(runtime.workspace))
    target = dbt.prepare(runtime.workspace).target(name)
    dbt.forget_results(target)
    arguments = ["build", "--vars", json.dumps(variables), "--exclude-resource-type", "unit_test"]
    invocation = command.cli(arguments, context=context, target_path=target)
    events: list[Any] = []
    try:
        events.extend(invocation.stream())
    except DagsterDbtCliRuntimeError as error:
        yield from _described(events, invocation.manifest, runtime, target)
        raise dbt.explain(target, str(error)) from error
    yield from _described(events, invocation.manifest, runtime, target)


def _described(events: Iterable[Any], manifest: Mapping[str, Any], runtime: Runtime, target: Path) -> Iterator[Any]:
    """The events of built tables with what is in the warehouse now; others as they are."""
    columns, rows = _warehouse_contents(runtime)
    for event in events:
        node = manifest["nodes"].get(event.metadata["unique_id"].text) if isinstance(event, dg.Output) else None
        table = f"{node['schema']}.{node['name']}" if node else ""
        if node is None or table not in columns:
            yield event
            continue
        metadata: dict[str, Any] = {
            "dagster/column_schema": dg.TableSchema(
                [
                    dg.TableColumn(name, type_, description=node["columns"].get(name, {}).get("description") or None)
                    for name, type_ in columns[table].items()
                ]
            )
        }
        if table in rows:
            metadata["dagster/row_count"] = rows[table]
        compiled = target / "compiled" / node["package_name"] / node["original_file_path"]
        if node["resource_type"] == "model" and compiled.is_file():
            metadata["dagster/column_lineage"] = _lineage(compiled.read_text(), columns)
        yield event.with_metadata({**event.metadata, **metadata})


def _warehouse_contents(runtime: Runtime) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """Columns of every table and view, and rows of every table (views are not worth the query)."""
    columns: dict[str, dict[str, str]] = {}
    with runtime.warehouse.connect(read_only=True) as session:
        for table, column, type_ in session.rows(
            "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns()"
            " where not internal order by schema_name, table_name, column_index"
        ):
            columns.setdefault(table, {})[column] = type_
        names = session.rows("select schema_name || '.' || table_name from duckdb_tables() where not internal")
        rows = {table: session.value(f"select count(*) from {table}") for (table,) in names}  # noqa: S608
    return columns, rows


def _lineage(sql: str, columns: Mapping[str, Mapping[str, str]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(table.split(".")), column) for table, column in origins]
            for name, origins in column_lineage(sql, columns).items()
        }
    )
