"""The schemas that editors use agree with the models that read the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from personalization.program.json_schema import schema_of, write_schemas
from personalization.program.load import FILES
from personalization.program.scaffold import scaffold

REPOSITORY = Path(__file__).parents[2]


def plain(path: Path) -> object:
    """A YAML file as JSON sees it: dates are texts."""
    return json.loads(json.dumps(YAML(typ="safe").load(path.read_text(encoding="utf-8")), default=str))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new program, as `personalization init` makes it."""
    return scaffold(tmp_path_factory.mktemp("own") / "shop").folder / "program"


@pytest.mark.parametrize("name", FILES)
def test_every_program_we_ship_is_valid(made: Path, name: str) -> None:
    schema = json.loads((made / ".schema" / f"{name}.json").read_text())
    assert schema == schema_of(name)
    validator = Draft202012Validator(schema)
    files = [path for path in (REPOSITORY / "program" / f"{name}.yaml", made / f"{name}.yaml") if path.exists()]
    assert files
    for file in files:
        assert [error.message for error in validator.iter_errors(plain(file))] == []


def test_a_misspelt_setting_is_an_error_in_the_editor_too() -> None:
    document = {"segments": {"a": {"title": "A", "rule": "x > 1", "unknwon": "hold"}}}
    (error,) = Draft202012Validator(schema_of("segments")).iter_errors(document)
    assert "unknwon" in error.message


def test_written_files_are_schemas(tmp_path: Path) -> None:
    written = write_schemas(tmp_path / ".schema")
    assert [path.stem for path in written] == list(FILES)
    for path in written:
        Draft202012Validator.check_schema(json.loads(path.read_text()))
