"""Who is in a segment: by our own evaluation of the values as they are sent, and by each platform's own segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from personalization.program import Program
from personalization.program import models as m
from personalization.rules import Rule, evaluation_query
from personalization.rules.native import Native, native_segment
from personalization.stages.export.adapters.base import Contact
from personalization.stages.export.desired import _canonical
from tests.native.platforms import COLUMNS, PLATFORMS
from tests.rules.strategies import AS_OF, Customer

_ENGINE = {"visits": "double", "score": "double", "city": "varchar", "joined": "date", "vip": "boolean"}
_SENT = {"visits": "double", "score": "double", "city": "varchar", "joined": "date", "vip": "boolean"}
FORMER, STRANGER = "former@example.com", "stranger@example.com"


def program_of(rules: Mapping[str, Rule]) -> Program:
    """A program with these segments and a destination of every platform."""
    return Program(
        Path("program"),
        m.ProgramFile(name="Test", timezone="UTC", start=AS_OF.day),
        sources={},
        purposes={},
        segments={name: m.Segment(title=name, rule="TRUE", unknown=rule.unknown) for name, rule in rules.items()},
        destinations={name: platform.destination for name, platform in PLATFORMS.items()},
    )


class World:
    """Customers in a warehouse and, as the exporter's shapes bring them there, at every platform."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, people: list[Customer]) -> None:
        self._db, self._people = connection, people
        self._addresses = {person.token: f"{person.token}@example.com" for person in people}
        values = self._as_sent()
        self.platforms: dict[str, Any] = {}
        for name, make in PLATFORMS.items():
            platform = make()
            names = {field.column: field.name for field in platform.destination.fields}

            def contact(
                number: int, operation: str, address: str, row: Mapping[str, Any], names: dict[str, str] = names
            ) -> Contact:
                sent = {names[column]: value for column, value in row.items()}
                return Contact(number, operation, address, f"id{number}", sent)

            for number, person in enumerate(people):
                row = {"campaign": "december", **values[person.token]}
                platform.write(contact(number, "add", self._addresses[person.token], row))
            # who left, whatever they had; and somebody who was never ours
            row = {"campaign": "december", **values[people[0].token]}
            platform.write(contact(900, "add", FORMER, row))
            platform.write(contact(900, "remove", FORMER, row))
            platform.stranger(STRANGER)
            self.platforms[name] = platform

    def ours(self, name: str, rules: Mapping[str, Rule]) -> set[str]:
        """Addresses of the members by our own evaluation."""
        query = evaluation_query({name: rules[name]}, AS_OF, segments=rules, profile="profile")
        found = self._db.execute(f'select customer_token from ({query}) where "{name}"').fetchall()
        return {self._addresses[token] for (token,) in found}

    def native(self, platform: str, native: Native) -> list[set[str]]:
        """Addresses of the members by the platform's, once for each way to read what it does not document."""
        at = self.platforms[platform]
        return [at.members(native, reading) for reading in at.readings]

    def _as_sent(self) -> dict[str, dict[str, str | None]]:
        """The canonical texts of all values, and a profile that holds what they say."""
        rows = [(person.token, *(person.fields[name] for name in _ENGINE)) for person in self._people]
        columns = ", ".join(f"{name} {kind}" for name, kind in _ENGINE.items())
        self._db.execute(f"create or replace table raw (customer_token varchar, {columns})")
        self._db.executemany("insert into raw values (?, ?, ?, ?, ?, ?)", rows)
        canonical = ", ".join(
            f"{_canonical(name, m.DestinationField(name=name, column=name, type=COLUMNS[name]))} as {name}"
            for name in _ENGINE
        )
        self._db.execute(f"create or replace table sent as select customer_token, {canonical} from raw")
        back = ", ".join(f"try_cast({name} as {kind}) as {name}" for name, kind in _SENT.items())
        day = AS_OF.key
        self._db.execute(
            f"create or replace table profile as select date '{day}' as as_of, customer_token, {back} from sent"
        )
        found = self._db.execute(f"select customer_token, {', '.join(_ENGINE)} from sent").fetchall()
        return {token: dict(zip(_ENGINE, values, strict=True)) for token, *values in found}


def differences(
    world: World, rules: Mapping[str, Rule], compared: Callable[[str], None] = lambda platform: None
) -> list[str]:
    """Every platform and segment whose members are not ours, in words. Segments it can't express are passed over."""
    program = program_of(rules)
    found = []
    for name in rules:
        ours = world.ours(name, rules)
        for platform in PLATFORMS:
            native = native_segment(program, platform, name, AS_OF, rules)
            if native.reasons:
                continue
            compared(platform)
            found += [
                f"{platform} {name} {native.content}: {members} instead of {ours}"
                for members in world.native(platform, native)
                if members != ours
            ]
    return found
