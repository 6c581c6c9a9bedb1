"""JSON Schema of the program files, made from the models that read them, so that both always say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from personalization.program.load import FILES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `program/<name>.yaml`."""
    return {"$schema": DIALECT, **FILES[name].model_json_schema(by_alias=True), "title": f"{name}.yaml"}


def write_schemas(folder: Path) -> list[Path]:
    """Write `<name>.json` for every program file. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in FILES:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written
