"""The user's page: its rules compile, and its tables list what the catalog has."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from personalization.program.models import ProgramFile
from personalization.rules import Catalog, parse_rule
from personalization.rules.catalog import EVENTS, FIELDS, own_event

PAGE = (Path(__file__).parents[2] / "docs" / "write-a-segment.md").read_text(encoding="utf-8")
EXAMPLES = [line for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_compile(example: str) -> None:
    parse_rule(example, Catalog())


def test_sequences_on_events_of_the_programs_own_compile() -> None:
    (declared,) = re.findall(r"```yaml\n(events:.*?)```", PAGE, re.DOTALL)
    settings = ProgramFile(name="x", start=date(2024, 1, 1), **yaml.safe_load(declared))
    catalog = Catalog(events={**EVENTS, **{name: own_event(name, each) for name, each in settings.events.items()}})
    sequences = re.findall(r"^    (did\(.*)$", PAGE, re.MULTILINE)
    assert len(sequences) == 2
    for each in sequences:
        parse_rule(each, catalog)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_listed(name: str) -> None:
    assert f"| `{name}` | {FIELDS[name].type} | {FIELDS[name].title} |" in PAGE


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_listed(name: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    for word in (*EVENTS[name].properties, *EVENTS[name].measures):
        assert f"`{word}`" in row
