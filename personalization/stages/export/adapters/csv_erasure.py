"""Takes people out of CSV files that were written before, and puts the manifests right."""

from __future__ import annotations

import csv
import hashlib
import io
import json

from personalization.stages.export.adapters.csv_store import MANIFEST, CsvStore


def erase(store: CsvStore, addresses: set[str], external_ids: set[str]) -> int:
    """Remove the rows of people by address or external id. Each file is replaced as a whole, the manifest last.

    Returns
    -------
    int
        How many different addresses were removed.
    """
    wanted = {address.casefold() for address in addresses}
    removed: set[str] = set()
    for folder in store.folders():
        changed = False
        for file in store.files(folder):
            if not file.endswith(".csv"):
                continue
            header, *rows = csv.reader(io.StringIO(store.read(folder, file).decode(), newline=""))
            kept = []
            for row in rows:
                named = dict(zip(header, row, strict=False))
                if named.get("email", "").casefold() in wanted or named.get("external_id") in external_ids:
                    removed.add(named.get("email", ""))
                else:
                    kept.append(row)
            if len(kept) < len(rows):
                store.replace(folder, file, _as_csv([header, *kept]))
                changed = True
        # also when a crash came between the files and their manifest
        if changed or not _agrees(store, folder):
            store.replace(folder, MANIFEST, _manifest(store, folder))
    return len(removed)


def _agrees(store: CsvStore, folder: str) -> bool:
    described = json.loads(store.read(folder, MANIFEST))["files"]
    return all(entry["sha256"] == _sha256(store.read(folder, entry["name"])) for entry in described)


def _manifest(store: CsvStore, folder: str) -> bytes:
    """The manifest with what the files are now, and a word that people were erased from them."""
    manifest = json.loads(store.read(folder, MANIFEST))
    for entry in manifest["files"]:
        content = store.read(folder, entry["name"])
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
