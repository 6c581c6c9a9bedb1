"""Other versions of a program: as it was at a commit, or with a few settings changed."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from personalization.errors import PersonalizationError, ProgramError, did_you_mean
from personalization.program import Program, load_program
from personalization.program.fatigue import ALIASES
from personalization.program.load import FILES


@contextmanager
def program_at(program: Program, revision: str) -> Iterator[Program]:
    """The program as it was at a commit of the git repository it lies in, for the duration of the block.

    Raises
    ------
    PersonalizationError
        The program is not in a git repository, or there is no such commit or no program in it.
    ProgramError
        The program of that time does not load.
    """
    folder = program.root.resolve()
    archive = _git(folder, "archive", "--format=tar", revision, "--", ".")
    with tempfile.TemporaryDirectory(prefix="program-") as copy:
        target = Path(copy) / "program"
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(target, filter="data")
        with _errors_named(target, program.root, f"at {revision}"):
            yield load_program(target)


@contextmanager
def program_with(program: Program, changes: Sequence[str]) -> Iterator[Program]:
    """The program with settings changed, for the duration of the block.

    Parameters
    ----------
    changes : sequence of str
        Each `path=value`, with the path as in the YAML files: `fatigue.min_gap=5d` (program.yaml),
        `campaigns.spring.priority=5`, `offers.thanks.when=orders_84d >= 3`. The value is read as YAML.

    Raises
    ------
    ProgramError
        A path leads nowhere, or the changed program does not load.
    """
    with tempfile.TemporaryDirectory(prefix="program-") as copy:
        target = Path(shutil.copytree(program.root, Path(copy) / "program"))
        for change in changes:
            _set(target, change)
        with _errors_named(target, program.root, "as changed"):
            yield load_program(target)


@contextmanager
def _errors_named(copy: Path, original: Path, words: str) -> Iterator[None]:
    """Mistakes in a copy of the program, shown at the file that the user knows, with words that tell it is not that."""
    try:
        yield
    except ProgramError as error:
        for each in (error, *error.problems):
            if each.at is not None and Path(each.at.file).is_relative_to(copy):
                known = original / Path(each.at.file).relative_to(copy)
                each.at = replace(each.at, file=f"{known} ({words})")
        raise


def _set(folder: Path, change: str) -> None:
    path, equals, text = change.partition("=")
    keys = [key for key in path.strip().split(".") if key]
    if not equals or not keys:
        raise ProgramError(f"'{change}' changes nothing", hint="write it as path=value: fatigue.min_gap=5d")
    yaml = YAML()
    file = folder / f"{keys[0] if keys[0] in FILES and keys[0] != 'program' else 'program'}.yaml"
    keys = keys[1:] if keys[0] == "program" else keys
    document = yaml.load(file.read_text(encoding="utf-8")) if file.exists() else {}
    place: Any = document
    for depth, key in enumerate(keys[:-1]):
        place = _step(place, key, ".".join(keys[: depth + 1]), last=False)
    _assign(place, keys[-1], YAML(typ="safe").load(text), ".".join(keys))
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(document, out)


def _step(place: Any, key: str, path: str, *, last: bool) -> Any:
    if isinstance(place, list) and key.isdigit() and int(key) < len(place):
        return place[int(key)]
    if isinstance(place, dict):
        if key not in place and not last and len(path.split(".")) == 1:
            place[key] = {}  # a section of program.yaml that was left at its defaults
        if key in place:
            return place[key]
        raise ProgramError(f"there is no '{path}' in the program ({did_you_mean(key, [str(name) for name in place])})")
    raise ProgramError(f"there is no '{path}' in the program")


def _assign(place: Any, key: str, value: Any, path: str) -> None:
    if isinstance(place, list):
        _step(place, key, path, last=True)
        place[int(key)] = value
    elif isinstance(place, dict):
        place.pop(ALIASES.get(key, key), None)
        place[key] = value  # an unknown name is refused when the program is loaded
    else:
        raise ProgramError(f"there is no '{path}' in the program")


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise PersonalizationError("git is not installed", hint="it is needed to look at an earlier program") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise PersonalizationError(
            f"git can't show the program at '{arguments[2]}': {said[-1].removeprefix('fatal: ')}",
            hint="name a commit, branch or tag of the repository that the program is in, such as HEAD",
        )
    return done.stdout
