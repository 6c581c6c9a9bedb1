"""Model files: written whole or not at all, entered in the ledger with their hash, refused when the hash differs.

<models>/purchase_propensity/<version>/model.joblib   what is loaded
                                       metadata.json  the same in words, for people
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalization.errors import DataError
from personalization.stages.scoring.training import TrainedModel

if TYPE_CHECKING:
    from personalization.as_of import AsOf
    from personalization.ledger import Ledger
    from personalization.ledger.model_registry import ModelRecord

MODEL = "purchase_propensity"
FILE = "model.joblib"


def save(models: Path, ledger: Ledger, model: TrainedModel, as_of: AsOf) -> ModelRecord:
    """Write a model's files and enter them in the ledger. Doing it again with the same model changes nothing.

    The version is a hash of the file, and so of data, parameters and library versions: no clock is in it. A crash
    between file and ledger leaves a file that no one refers to; training again writes the same bytes.
    """
    content = _content_of(model)
    sha256 = hashlib.sha256(content).hexdigest()
    version = sha256[:12]
    folder = models / MODEL / version
    if not _holds(folder / FILE, sha256):
        metadata = {"model": MODEL, "version": version, "sha256": sha256, **model.summary()}
        text = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
        _write_folder(folder, {FILE: content, "metadata.json": text.encode()})
    return ledger.models.record(
        MODEL,
        trained_as_of=as_of,
        sha256=sha256,
        path=str(Path(MODEL) / version / FILE),
        metrics=model.summary(),
        version=version,
    )


def load(models: Path, record: ModelRecord) -> TrainedModel:
    """Read a model that the ledger knows.

    The hash is compared first: the format can run code when it is read, so only bytes that we wrote are read.

    Raises
    ------
    DataError
        The file's bytes are not those that were recorded, or it is gone.
    """
    import joblib

    path = models / record.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"model file {path} can't be read: {error.strerror}",
            hint="restore it from a backup, or train again: materialise scores/propensity_model",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise DataError(
            f"model file {path} was changed or damaged: its SHA-256 is {found[:12]}…, the ledger recorded "
            f"{record.sha256[:12]}…; it was not loaded",
            hint="restore it from a backup, or remove its folder and train again: materialise scores/propensity_model",
        )
    return joblib.load(io.BytesIO(content))


def _content_of(model: TrainedModel) -> bytes:
    """A model as `joblib.dump` writes it, and the same bytes for the same contents.

    Pickle writes a text or a type of numpy's once for each object that it is. Whether equal ones are one object depends
    on what the process did before (imports, models it read), so here they always are.
    """
    import numpy as np
    from joblib.numpy_pickle import NumpyPickler

    class Pickler(NumpyPickler):
        def save(self, obj: Any) -> None:
            if type(obj) is str:
                obj = sys.intern(obj)
            elif isinstance(obj, np.dtype) and obj.kind in "biufcOSU" and obj.metadata is None:
                obj = np.dtype(obj.str)
            super().save(obj)

    buffer = io.BytesIO()
    Pickler(buffer).dump(model)
    return buffer.getvalue()


def _holds(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder with all its files appear at once; what a crash left under the temporary name is overwritten."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in files.items():
        with (temporary / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
