"""The dbt models as plain SQL, so that they can be run for a few customers without starting dbt.

dbt itself compiles them, once for each set of vars (a day); what came out is kept beside the prepared project.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from personalization.warehouse.dbt import PreparedProject, finished_as, prepare, run_prepared
from personalization.workspace import Workspace

WHOLE, BY_CUSTOMER = "whole", "customer_token"
_KEPT = 4  # compiled sets of earlier days
_RUNS = ("normalise", "features")  # kinds of runs, in their order; the last one is given all vars
_MISSING = object()


@dataclass(frozen=True)
class Model:
    """One dbt model.

    Attributes
    ----------
    table : str
        `schema.name` in the warehouse.
    stored : bool
        Whether it is a table; else a view.
    sql : str
        Its query.
    relation : str
        How queries of other models name it.
    parents : dict
        `schema.name` of every table, view, seed and source it reads, by the way its query names it.
    grain : str
        The column by whose values its rows can be computed apart from each other, or `whole`. Written in the model's
        YAML file as `meta: {grain: …}`.
    reads_whole : tuple of str
        Parents (`schema.name`) that must be whole even then.
    """

    table: str
    stored: bool
    sql: str
    relation: str
    parents: dict[str, str]
    grain: str
    reads_whole: tuple[str, ...]


def compiled_models(workspace: Workspace, variables: dict[str, Any]) -> list[Model]:
    """Every model, parents first, compiled with some vars (of `dbt_vars`).

    What the last run of everything compiled is taken where it was for these vars. Otherwise dbt is started, which takes
    seconds, once for new vars.

    Raises
    ------
    WarehouseError
        dbt can't compile the project.
    """
    prepared = prepare(workspace)
    text = json.dumps(variables, sort_keys=True)
    folder = prepared.folder / f"compiled-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not (folder / "models.json").is_file():
        _compile(prepared, folder, variables)
    return _read(folder / "models.json")


@cache
def _read(path: Path) -> list[Model]:
    return [
        Model(**{**each, "reads_whole": tuple(each["reads_whole"])})
        for each in json.loads(path.read_text(encoding="utf-8"))
    ]


def _compile(prepared: PreparedProject, folder: Path, variables: dict[str, Any]) -> None:
    manifest = _left_by_run(prepared, variables) or _compiled_now(prepared, variables)
    with finished_as(folder) as unfinished:
        (unfinished / "models.json").write_text(json.dumps(_models(manifest)), encoding="utf-8")
    others = sorted(prepared.folder.glob("compiled-*"), key=lambda path: path.stat().st_mtime)
    for old in others[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _left_by_run(prepared: PreparedProject, variables: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest that the last run left, with the SQL of all models; None when it was for other vars."""
    compiled: dict[str, str] = {}
    manifest: dict[str, Any] = {"nodes": {}}
    given: dict[str, Any] = {}
    for name in _RUNS:
        target = prepared.target(name)
        try:
            given = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["args"]["vars"]
            manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, KeyError):
            return None
        if any(variables.get(key, _MISSING) != value for key, value in given.items()):
            return None
        compiled |= {key: node["compiled_code"] for key, node in manifest["nodes"].items() if node.get("compiled_code")}
    if given != variables:
        return None
    for key, node in manifest["nodes"].items():
        if node["resource_type"] == "model":
            if key not in compiled:
                return None
            node["compiled_code"] = compiled[key]
    return manifest


def _compiled_now(prepared: PreparedProject, variables: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="personalization-compile-") as scratch:
        # a warehouse of its own with the same name: the real one may be in use, and is not needed
        elsewhere = Workspace.at(scratch, scratch)
        arguments = ["compile", "--select", "resource_type:model", "--no-populate-cache", "--no-introspect"]
        target = Path(scratch) / "target"
        run_prepared(elsewhere, prepared, [*arguments, "--vars", json.dumps(variables)], target)
        found: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return found


def _models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    everything = {**manifest["nodes"], **manifest["sources"]}
    names = {key: f"{node['schema']}.{node['name']}" for key, node in everything.items()}
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    made = []
    for key in _parents_first({key: node["depends_on"]["nodes"] for key, node in models.items()}):
        node = models[key]
        parents = node["depends_on"]["nodes"]
        meta = node["config"].get("meta") or {}
        by_name = {everything[parent]["name"]: names[parent] for parent in parents}
        made.append(
            {
                "table": names[key],
                "stored": node["config"]["materialized"] == "table",
                "sql": node["compiled_code"],
                "relation": node["relation_name"],
                "parents": {everything[parent]["relation_name"]: names[parent] for parent in parents},
                "grain": meta.get("grain", ""),
                "reads_whole": [by_name[name] for name in meta.get("reads_whole", [])],
            }
        )
    return made


def _parents_first(parents: dict[str, Sequence[str]]) -> list[str]:
    ordered: list[str] = []

    def add(key: str) -> None:
        if key in parents and key not in ordered:
            for parent in parents[key]:
                add(parent)
            ordered.append(key)

    for key in sorted(parents):
        add(key)
    return ordered
