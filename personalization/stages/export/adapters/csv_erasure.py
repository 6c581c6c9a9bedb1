"""Takes people out of CSV files that were written before, and puts the manifests right."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Collection
from pathlib import Path

MANIFEST = "manifest.json"


def erase(folders: Collection[Path], addresses: set[str], external_ids: set[str]) -> int:
    """Remove the rows of people by address or external id. Each file is replaced as a whole, the manifest last.

    Returns
    -------
    int
        How many different addresses were removed.
    """
    wanted = {address.casefold() for address in addresses}
    removed: set[str] = set()
    for folder in folders:
        changed = False
        for path in sorted(folder.glob("*.csv")):
            with path.open(encoding="utf-8", newline="") as lines:
                header, *rows = csv.reader(lines)
            kept = []
            for row in rows:
                named = dict(zip(header, row, strict=False))
                if named.get("email", "").casefold() in wanted or named.get("external_id") in external_ids:
                    removed.add(named.get("email", ""))
                else:
                    kept.append(row)
            if len(kept) < len(rows):
                _replace(path, _as_csv([header, *kept]))
                changed = True
        # also when a crash came between the files and their manifest
        if changed or not _agrees(folder):
            _replace(folder / MANIFEST, _manifest(folder))
    return len(removed)


def _agrees(folder: Path) -> bool:
    described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return all(entry["sha256"] == _sha256((folder / entry["name"]).read_bytes()) for entry in described)


def _manifest(folder: Path) -> bytes:
    """The manifest with what the files are now, and a word that people were erased from them."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        content = (folder / entry["name"]).read_bytes()
        rows = sum(1 for _ in csv.reader(io.StringIO(content.decode(), newline=""))) - 1
        entry.update(rows=rows, bytes=len(content), sha256=_sha256(content))
    manifest["erased"] = True
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _as_csv(rows: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
