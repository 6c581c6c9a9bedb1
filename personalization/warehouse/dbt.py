"""Finds the dbt project, readies a copy of it in the state folder, and says what dbt is to be told and what it told us.

dbt writes beside what it reads (targets, logs) and the reference seeds are made on this machine, but the project may
lie in a read-only checkout or an installed package. So dbt runs in a copy named by the hash of everything that went in.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from personalization.as_of import AsOf
from personalization.errors import DataError, PersonalizationError, WarehouseError
from personalization.program import Program
from personalization.warehouse.date_formats import date_formats
from personalization.warehouse.dbt_process import STARTER_VARIABLE
from personalization.workspace import Workspace

WAREHOUSE_VARIABLE = "PERSONALIZATION_WAREHOUSE"
_PACKAGE = Path(__file__).resolve().parents[1]
_MADE = {"target", "logs", "dbt_packages"}
_FAILED = ("error", "fail", "runtime error")


@dataclass(frozen=True)
class PreparedProject:
    """A copy of the dbt project, with seeds and manifest, ready to run.

    Attributes
    ----------
    folder : Path
        `<state>/dbt/<hash>`.
    """

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def manifest(self) -> Path:
        return self.target("parse") / "manifest.json"

    def target(self, name: str) -> Path:
        """dbt's target folder of one kind of run; the same in every run, so that dbt finds what it parsed last time."""
        return self.folder / f"target-{name}"


def source_folder() -> Path:
    """The dbt project as it was written: in the repository, or packed into the installed package."""
    for folder in (_PACKAGE.parent / "dbt_project", _PACKAGE / "_dbt_project"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise WarehouseError("the dbt project is missing from this installation", hint="install the package again")


def prepare(workspace: Workspace) -> PreparedProject:
    """Copy the project, make its seeds and parse it, unless this was done for the very same files before.

    Safe when two processes do it at once: each works under a name of its own, and the first to finish gives its name.

    Raises
    ------
    WarehouseError
        When dbt can't parse the project, with dbt's own words.
    """
    prepared = PreparedProject(workspace.dbt_target / _content_hash())
    if prepared.manifest.is_file():
        return prepared
    prepared.folder.mkdir(parents=True, exist_ok=True)
    if not prepared.project.is_dir():
        with finished_as(prepared.project) as folder:
            _copy_project(folder)
    with finished_as(prepared.manifest.parent) as folder:
        run_prepared(workspace, prepared, ["parse"], folder)
    for other in workspace.dbt_target.iterdir():
        if other != prepared.folder:
            shutil.rmtree(other, ignore_errors=True)
    return prepared


def prepare_manifest(workspace: Workspace) -> Path:
    """Path of the manifest of the prepared project."""
    return prepare(workspace).manifest


def dbt_vars(program: Program, as_of: AsOf | None = None) -> dict[str, Any]:
    """The vars of a dbt run.

    Parameters
    ----------
    program : Program
        Gives time zone, currency, horizon, and how many earlier cut-offs to compute features for.
    as_of : AsOf, optional
        The day to compute features for. Without it only what normalisation needs: then the vars are the same on every
        day, and dbt keeps what it parsed.
    """
    settings = program.settings
    common = {
        "timezone": settings.timezone,
        "currency": settings.currency,
        "date_formats": date_formats(settings.slash_dates),
    }
    if as_of is None:
        return common
    horizon = settings.scoring.horizon_days
    days = [as_of.day - timedelta(days=horizon * back) for back in range(settings.scoring.training_cutoffs + 1)]
    return {
        **common,
        "as_of": as_of.key,
        "cutoffs": [day.isoformat() for day in days],
        "horizon_days": horizon,
    }


def environment(workspace: Workspace) -> dict[str, str]:
    """Environment variables of a dbt process: where the warehouse is, with whom to end, and no usage statistics."""
    return {
        WAREHOUSE_VARIABLE: str(workspace.warehouse),
        STARTER_VARIABLE: str(os.getpid()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def run(workspace: Workspace, arguments: list[str], variables: dict[str, Any], name: str) -> None:
    """Run a dbt command to its end.

    Parameters
    ----------
    arguments : list of str
        Command and options, such as `["build", "--select", "marts"]`.
    variables : dict
        From `dbt_vars`.
    name : str
        Kind of run: runs of one kind share a target folder, and so what dbt parsed.

    Raises
    ------
    WarehouseError, DataError
        See `explain`.
    """
    prepared = prepare(workspace)
    run_prepared(workspace, prepared, [*arguments, "--vars", json.dumps(variables)], prepared.target(name))


def command() -> list[str]:
    """How dbt of this Python environment is started, whether or not its `bin` folder is on the PATH."""
    # -P: the folder of the file holds a module named dbt, which must not be taken for dbt
    return [sys.executable, "-P", str(Path(__file__).with_name("dbt_process.py"))]


def forget_results(target: Path) -> None:
    """Remove the results of an earlier run, so that they can't be taken for those of a run that never came so far."""
    (target / "run_results.json").unlink(missing_ok=True)


def explain(target: Path, output: str) -> PersonalizationError:
    """Why the last run that used a target folder failed, in the words of the models and tests that failed.

    Parameters
    ----------
    target : Path
        Its target folder.
    output : str
        What dbt printed; used when it did not come as far as to run a model.

    Returns
    -------
    WarehouseError
        A model can't be built, or dbt can't run.
    DataError
        The models were built, and a test found rows that break it.
    """
    results = target / "run_results.json"
    nodes = json.loads(results.read_text())["results"] if results.is_file() else []
    failed = {_node_name(node["unique_id"]): node["message"] for node in nodes if node["status"] in _FAILED}
    if not failed:
        return WarehouseError(f"dbt can't run: {output.strip() or 'no message'}")
    text = "; ".join(f"{node}: {' '.join((message or 'no message').split())}" for node, message in failed.items())
    hint = f"the SQL is in {target / 'compiled'}"
    if all(node.startswith("test ") for node in failed):
        return DataError(f"dbt: {text}", hint=hint)
    return WarehouseError(f"dbt: {text}", hint=hint)


def _content_hash() -> str:
    """Hash of all that determines the prepared copy: the project, how seeds are made, the tools that read them."""
    digest = hashlib.sha256()
    for package in ("dbt-core", "dbt-duckdb", "pycountry"):
        digest.update(f"{package}={importlib.metadata.version(package)}\n".encode())
    source = source_folder()
    for path in [Path(__file__).with_name("reference.py"), *_project_files(source)]:
        name = path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _project_files(source: Path) -> list[Path]:
    """The written files of the project; what dbt and this module make there is not among them."""
    return sorted(
        path
        for path in source.rglob("*")
        if path.is_file()
        and path.relative_to(source).parts[0] not in _MADE
        and not (path.parent.name == "seeds" and path.suffix == ".csv")
    )


def _copy_project(folder: Path) -> None:
    from personalization.warehouse.reference import write_seeds

    source = source_folder()
    for path in _project_files(source):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())  # not copy2: a read-only original must not make a read-only copy
    write_seeds(folder / "seeds")


@contextmanager
def finished_as(final: Path) -> Iterator[Path]:
    """A new folder that gets its final name when the block ends well. If another process was first, ours goes away."""
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield folder
        for path in folder.rglob("*"):
            if path.is_file():
                _to_disk(path)
        try:
            folder.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def run_prepared(workspace: Workspace, prepared: PreparedProject, arguments: list[str], target: Path) -> None:
    forget_results(target)
    folder = str(prepared.project)
    places = [
        "--project-dir",
        folder,
        "--profiles-dir",
        folder,
        "--target-path",
        str(target),
        "--log-path",
        str(target),
    ]
    done = subprocess.run(
        [*command(), "--quiet", "--no-use-colors", *arguments, *places],
        env={**os.environ, **environment(workspace)},
        cwd=prepared.project,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise explain(target, done.stdout + done.stderr)


def _node_name(unique_id: str) -> str:
    """`model.personalization.orders` → `model orders`; a unit test's own name stands behind that of its model."""
    kind, _, *names = unique_id.split(".")
    return f"{kind} {names[-1] if kind == 'unit_test' else names[0]}"
