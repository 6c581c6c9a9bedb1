"""`personalization init`: a commented program for one's own data, its keys, and what git must not see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

from personalization.errors import PersonalizationError
from personalization.workspace import Workspace

_FOR_EDITORS = "# yaml-language-server: $schema=.schema/{name}.json\n"
_GITIGNORE = "# keys, data and state never belong in git\n/var/\n/data/\n"


@dataclass(frozen=True)
class Scaffold:
    """What was made: the folder, its program files, and the key file."""

    folder: Path
    files: list[str]
    keys: Path


def scaffold(folder: Path, *, start: date | None = None) -> Scaffold:
    """Write the template program to `folder/program` and new keys to `folder/var/keys.json` (mode 0600).

    Beside the program go JSON Schemas, by which editors complete and check it. Nothing that exists is overwritten.
    Raises `PersonalizationError` when the folder already holds a program.
    """
    from personalization.ledger import Keyring
    from personalization.program.json_schema import write_schemas

    workspace = Workspace.at(folder)
    if workspace.program.exists():
        raise PersonalizationError(
            f"{workspace.program} exists already", hint="choose another folder, or edit the program that is there"
        )
    workspace.program.mkdir(parents=True)
    (workspace.root / "data").mkdir(exist_ok=True)
    first_day = (start or date.today().replace(month=1, day=1)).isoformat()  # noqa: DTZ011  (a suggestion, not a clock)
    names = []
    for template in sorted(files("personalization.program").joinpath("template").iterdir(), key=lambda f: f.name):
        text = _FOR_EDITORS.format(name=Path(template.name).stem) + template.read_text(encoding="utf-8")
        text = text.replace("{start}", first_day)
        (workspace.program / template.name).write_text(text, encoding="utf-8")
        names.append(f"program/{template.name}")
    write_schemas(workspace.program / ".schema")
    ignore = workspace.root / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_GITIGNORE, encoding="utf-8")
    if not workspace.keys.exists():
        Keyring.create(workspace.keys)
    return Scaffold(workspace.root, names, workspace.keys)
