"""Reads `program/*.yaml` into typed models and turns every mistake into a message with file, line and field."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from personalization.errors import Position, ProgramError, did_you_mean
from personalization.program import models as m
from personalization.program.consent_check import consent_problems

FILES: dict[str, type[m.Model]] = {
    "program": m.ProgramFile,
    "sources": m.SourcesFile,
    "consent": m.ConsentFile,
    "segments": m.SegmentsFile,
    "content": m.ContentFile,
    "offers": m.OffersFile,
    "campaigns": m.CampaignsFile,
    "experiments": m.ExperimentsFile,
    "destinations": m.DestinationsFile,
}
REQUIRED = ("program", "sources", "consent")
_SECRET = re.compile(r"\$\{env:([A-Z][A-Z0-9_]*)\}")

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Program:
    """A loaded program. `position(file, path)` says where a value was written."""

    root: Path
    settings: m.ProgramFile
    sources: dict[str, m.FilesSource | m.DatabaseSource | m.RestSource | m.WebhookSource]
    purposes: dict[str, m.Purpose]
    topics: dict[str, m.Topic] = field(default_factory=dict)
    frequency: dict[str, m.Frequency] = field(default_factory=dict)
    words: dict[str, str | dict[str, str]] = field(default_factory=dict)
    segments: dict[str, m.Segment] = field(default_factory=dict)
    blocks: dict[str, m.Block] = field(default_factory=dict)
    offers: dict[str, m.Offer] = field(default_factory=dict)
    campaigns: dict[str, m.Campaign] = field(default_factory=dict)
    experiments: dict[str, m.Experiment] = field(default_factory=dict)
    destinations: dict[str, m.Destination] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def position(self, file: str, path: Path_) -> Position:
        """Where the value at `path` of `program/<file>.yaml` begins (for a block scalar: its first line of text)."""
        return _position(self.root / f"{file}.yaml", self.documents.get(file), path)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the parsed program, independent of comments, order of keys and layout."""
        parts = {
            name: {key: value.model_dump(mode="json") for key, value in getattr(self, name).items()}
            for name in (
                *("sources", "purposes", "topics", "frequency", "segments", "blocks", "offers"),
                *("campaigns", "experiments", "destinations"),
            )
        }
        parts["words"] = self.words
        parts["settings"] = self.settings.model_dump(mode="json")
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_program(folder: str | Path) -> Program:
    """Read and check all files of a program folder.

    Raises
    ------
    ProgramError
        With every problem found in all files, each with file, line and column.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ProgramError(f"no program folder at {root}", hint="make one with `personalization init DIR`")
    problems: list[ProgramError] = []
    parsed: dict[str, Any] = {}
    documents: dict[str, Any] = {}
    for name, model in FILES.items():
        path = root / f"{name}.yaml"
        if not path.exists():
            if name in REQUIRED:
                problems.append(ProgramError("file is missing", at=Position(str(path))))
            continue
        try:
            documents[name] = _read_yaml(path)
            parsed[name] = _validate(path, documents[name], model)
        except ProgramError as problem:
            problems.extend(problem.problems or [problem])
    unknown_files = sorted({path.stem for path in root.glob("*.y*ml")} - set(FILES))
    problems.extend(
        ProgramError(f"unknown program file ({did_you_mean(name, FILES)})", at=Position(str(root / f"{name}.yaml")))
        for name in unknown_files
    )
    if problems:
        raise ProgramError(f"{len(problems)} problems in {root}", problems=problems)

    def entries(name: str, key: str) -> dict[str, Any]:
        return dict(getattr(parsed[name], key)) if name in parsed else {}

    program = Program(
        root=root,
        settings=parsed["program"],
        sources=entries("sources", "sources"),
        purposes=entries("consent", "purposes"),
        topics=entries("consent", "topics"),
        frequency=entries("consent", "frequency"),
        words=entries("consent", "words"),
        segments=entries("segments", "segments"),
        blocks=entries("content", "blocks"),
        offers=entries("offers", "offers"),
        campaigns=entries("campaigns", "campaigns"),
        experiments=entries("experiments", "experiments"),
        destinations=entries("destinations", "destinations"),
        documents=documents,
    )
    problems = _check_references(program)
    if problems:
        raise ProgramError(f"{len(problems)} problems in {root}", problems=problems)
    return program


def resolve_secret(text: str, *, at: Position | None = None) -> str:
    """Replace each `${env:NAME}` by the environment's value. Raises `ProgramError` naming the variable when unset."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if not found:
            raise ProgramError(f"environment variable {match.group(1)} is not set", at=at, hint="set it before the run")
        return found

    return _SECRET.sub(value, text)


def _read_yaml(path: Path) -> Any:
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(str(path), mark.line + 1, mark.column + 1) if mark else Position(str(path))
        raise ProgramError(f"broken YAML: {error.problem or error.context}", at=at) from None
    except UnicodeDecodeError as error:
        raise ProgramError(f"not UTF-8 text: {error.reason} at byte {error.start}", at=Position(str(path))) from None
    except YAMLError as error:
        raise ProgramError(f"broken YAML: {error}", at=Position(str(path))) from None
    if not isinstance(document, CommentedMap):
        found = "nothing" if document is None else type(document).__name__
        raise ProgramError(f"expected a mapping at the top, found {found}", at=Position(str(path), 1))
    return document


def _validate(path: Path, document: Any, model: type[m.Model]) -> m.Model:
    try:
        return model.model_validate(_plain(document))
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            loc = _document_path(document, detail["loc"])
            where = ".".join(str(part) for part in loc)
            message = _message(detail, model)
            text = f"{where}: {message}" if where else message
            problems.append(ProgramError(text, at=_position(path, document, loc)))
        raise ProgramError("invalid program file", problems=problems) from None


def _message(detail: Any, model: type[BaseModel]) -> str:
    kind, found = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        return f"unknown setting '{key}' ({did_you_mean(key, _allowed_keys(model, detail['loc'][:-1]))})"
    if kind == "missing":
        return "is required and missing"
    text = detail["msg"].removeprefix("Value error, ")
    shown = repr(found) if not isinstance(found, dict | list) else type(found).__name__
    return text if kind == "value_error" else f"{text[0].lower()}{text[1:]}; found {shown}"


def _allowed_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Keys allowed at `loc`: walks the models' own annotations, through dicts, lists and tagged unions."""
    from typing import get_args, get_origin

    current: list[Any] = [model]
    for part in loc:
        following: list[Any] = []
        for candidate in current:
            origin = get_origin(candidate)
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                if part in candidate.model_fields:
                    following.append(candidate.model_fields[str(part)].annotation)
                elif any(part in _tags(field_.annotation) for field_ in candidate.model_fields.values()):
                    following.append(candidate)
                elif part in _tags(candidate):
                    following.append(candidate)
            elif origin in (dict, list):
                following.append(get_args(candidate)[-1])
        current = [leaf for candidate in following for leaf in _unwrap(candidate)]
    models = [c for c in current if isinstance(c, type) and issubclass(c, BaseModel)]
    return sorted({field_.alias or key for model_ in models for key, field_ in model_.model_fields.items()})


def _unwrap(annotation: Any) -> list[Any]:
    """Strip Annotated and unions, keep dict[...] and list[...] whole."""
    from types import UnionType
    from typing import Annotated, Union, get_args, get_origin

    origin = get_origin(annotation)
    if origin is Annotated:
        return _unwrap(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [leaf for arg in get_args(annotation) for leaf in _unwrap(arg)]
    return [annotation]


def _tags(annotation: Any) -> set[str]:
    """Values of the discriminator (`kind` or `platform`) of a model, as pydantic puts them into an error's location."""
    from typing import get_args

    tags: set[str] = set()
    for leaf in _unwrap(annotation):
        if isinstance(leaf, type) and issubclass(leaf, BaseModel):
            for key in ("kind", "platform"):
                if key in leaf.model_fields:
                    tags.update(str(value) for value in get_args(leaf.model_fields[key].annotation))
    return tags


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return node


def _document_path(document: Any, loc: tuple[str | int, ...]) -> Path_:
    """pydantic's location without the union tags that are not in the document."""
    path: list[str | int] = []
    node = document
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(node, CommentedMap) and part in node:
            node = node[part]
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            node = node[part]
        elif not last:
            continue  # a union tag
        path.append(part)
    return tuple(path)


def _position(path: Path, document: Any, loc: Path_) -> Position:
    file = str(path)
    node, position = document, Position(file, 1)
    for part in loc:
        try:
            if isinstance(node, CommentedMap) and part in node:
                line, column = node.lc.value(part)
                block = _block_scalar_start(path, line, column)
                position = block or Position(file, line + 1, column + 1)
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                line, column = node.lc.item(part)
                position = Position(file, line + 1, column + 1)
            else:
                return position
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            return position
    return position


def _block_scalar_start(path: Path, line: int, column: int) -> Position | None:
    """The first text line of a `|` or `>` scalar whose indicator stands at the given 0-based place."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if line < len(lines) and lines[line][column : column + 1] in ("|", ">"):
        for following in range(line + 1, len(lines)):
            if lines[following].strip():
                indent = len(lines[following]) - len(lines[following].lstrip())
                return Position(str(path), following + 1, indent + 1)
    return None


def _check_references(program: Program) -> list[ProgramError]:
    """Names that one file uses and another defines; rules are checked by `personalization.rules`."""
    problems: list[ProgramError] = []

    def known(file: str, path: Path_, name: str, what: str, names: Any) -> None:
        if name not in names:
            problems.append(
                ProgramError(f"unknown {what} '{name}' ({did_you_mean(name, names)})", at=program.position(file, path))
            )

    try:
        ZoneInfo(program.settings.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(
            ProgramError(
                f"unknown time zone '{program.settings.timezone}' (an IANA name such as Europe/Berlin)",
                at=program.position("program", ("timezone",)),
            )
        )
    for name, campaign in program.campaigns.items():
        base: Path_ = ("campaigns", name)
        known("campaigns", (*base, "purpose"), campaign.purpose, "purpose", program.purposes)
        for key, names, what in (
            ("blocks", program.blocks, "block"),
            ("offers", program.offers, "offer"),
            ("destinations", program.destinations, "destination"),
        ):
            for index, value in enumerate(getattr(campaign, key)):
                known("campaigns", (*base, key, index), value, what, names)
        if campaign.experiment:
            known("campaigns", (*base, "experiment"), campaign.experiment, "experiment", program.experiments)
        if campaign.win_back and program.settings.sunset is None:
            problems.append(
                ProgramError(
                    f"campaign '{name}' is for people whom the sunset leaves alone, but program.yaml has no sunset",
                    at=program.position("campaigns", (*base, "win_back")),
                    hint="add `sunset: {inactive_days: 180}` to program.yaml, or take win_back out",
                )
            )
        if campaign.starts and campaign.ends and campaign.ends < campaign.starts:
            problems.append(
                ProgramError(
                    f"campaign '{name}' ends on {campaign.ends}, before it starts on {campaign.starts}",
                    at=program.position("campaigns", (*base, "ends")),
                )
            )
    problems += consent_problems(program)
    return problems or _check_mailers(program)


def _check_mailers(program: Program) -> list[ProgramError]:
    """Campaigns that two destinations would mail: everybody would get the same mail twice."""
    from personalization.program.mailing import mailers

    problems = []
    for name in program.campaigns:
        both = mailers(program, name)
        if len(both) > 1:
            problems.append(
                ProgramError(
                    f"campaign '{name}' would be mailed by {' and by '.join(both)}: everybody would get it twice",
                    at=program.position("campaigns", ("campaigns", name, "destinations")),
                    hint="write `mails: false` at the destinations that only hold a copy, or make a campaign for each",
                )
            )
    return problems
