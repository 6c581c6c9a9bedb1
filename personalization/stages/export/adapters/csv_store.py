"""Where the folders of a CSV destination lie: on this machine's disks, or in an object store.

Whoever takes folders in sees all of one or nothing: on a disk a folder appears under its name when everything in it is
written; in an object store its manifest is the last object, and a folder without one is none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from personalization.stages.export.adapters.base import Clock, DestinationError, Lost, Postponed

MANIFEST = "manifest.json"
_S3 = {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 1}}
_S3_TRIES = 3  # of s3fs itself: an object that a store does not answer about is given up after 75 seconds or so


class CsvStore(Protocol):
    """Folders of files below one place. Names of folders sort in the order of writing."""

    def make(self) -> str | None:
        """Make sure that there can be folders. Returns in words what was made."""

    def write(self, folder: str, files: Mapping[str, bytes], deadline: float) -> None:
        """Write a folder as a whole; its manifest is among the files.

        Raises
        ------
        Postponed
            It took longer than to the deadline, and is not there.
        DestinationError
            It can't be written, and is not there.
        Lost
            Nobody knows whether it is there.
        """

    def complete(self, folder: str) -> bool:
        """Whether a folder is there as a whole. What an interrupted `write` left of it is removed."""

    def folders(self) -> list[str]:
        """Complete folders, in their order."""

    def files(self, folder: str) -> list[str]:
        """Names of the files of a folder, ordered."""

    def read(self, folder: str, file: str) -> bytes: ...

    def replace(self, folder: str, file: str, content: bytes) -> None:
        """Put another content in place of a file's, as a whole."""


def is_object_store(folder: str) -> bool:
    return "://" in folder


class LocalStore:
    """A folder on this machine, readable by its owner only: the files hold addresses."""

    def __init__(self, name: str, root: Path) -> None:
        self._name, self._root = name, root

    def make(self) -> str | None:
        if self._root.is_dir():
            return None
        try:
            self._root.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise DestinationError(
                f"the folder {self._root} can't be made: {error.strerror}", hint="set `folder` in destinations.yaml"
            ) from None
        return f"folder {self._root}"

    def write(self, folder: str, files: Mapping[str, bytes], deadline: float) -> None:
        final, unfinished = self._root / folder, self._unfinished(folder)
        try:
            self.make()
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            for file, content in files.items():
                _write_through(unfinished / file, content)
            _sync_folder(unfinished)
            os.rename(unfinished, final)
            _sync_folder(self._root)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise DestinationError(
                f"the files for '{self._name}' can't be written to {self._root}: {error.strerror}",
                hint="is there space on the disk, and may this user write there? Then run again",
            ) from None

    def complete(self, folder: str) -> bool:
        shutil.rmtree(self._unfinished(folder), ignore_errors=True)
        return (self._root / folder / MANIFEST).exists()

    def folders(self) -> list[str]:
        return sorted(path.name for path in self._root.glob("run-*"))

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self._root / folder).iterdir() if not path.name.startswith("."))

    def read(self, folder: str, file: str) -> bytes:
        return (self._root / folder / file).read_bytes()

    def replace(self, folder: str, file: str, content: bytes) -> None:
        path = self._root / folder / file
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        _write_through(temporary, content)
        temporary.replace(path)

    def _unfinished(self, folder: str) -> Path:
        return self._root / f".{folder}.unfinished"


class ObjectStore:
    """A place in an object store, such as s3://bucket/prefix, with the credentials that its driver finds.

    An object is there as a whole or not at all, and what was written is seen by the next read
    (https://aws.amazon.com/s3/consistency/; the other large stores promise the same).

    Raises
    ------
    DestinationError
        The URL is not understood, or its driver is not installed.
    """

    def __init__(self, name: str, url: str, clock: Clock | None = None) -> None:
        import fsspec

        self._name, self._url = name, url.rstrip("/")
        self._clock = clock or Clock()
        # listings that are remembered would hide what another process has written
        settings: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if url.startswith(("s3://", "s3a://")):
            settings["config_kwargs"] = _S3
        try:
            self._files, self._root = fsspec.core.url_to_fs(self._url, **settings)
        except ImportError as error:
            raise DestinationError(
                f"{self._url} needs a package that is not installed: {error}",
                hint="for s3:// it is pip install 'personalization[s3]'",
            ) from None
        except ValueError as error:
            raise DestinationError(
                f"the folder '{self._url}' is not understood: {error}", hint="write it as s3://bucket/prefix"
            ) from None

        if settings.get("config_kwargs"):
            self._files.retries = _S3_TRIES

    def make(self) -> str | None:
        """Nothing is made: a prefix needs no making, and a bucket is its owner's to make."""
        with self._explained("looked at"):
            bucket = self._root.split("/", 1)[0]
            if not self._files.exists(bucket):
                raise DestinationError(
                    f"'{self._name}': there is no bucket {bucket}, or these credentials may not see it",
                    hint="make the bucket, or set `folder` in destinations.yaml",
                )
        return None

    def write(self, folder: str, files: Mapping[str, bytes], deadline: float) -> None:
        manifest = files[MANIFEST]
        with self._explained("written to"):
            for file, content in files.items():
                if file != MANIFEST:
                    self._files.pipe_file(self._path(folder, file), content)
            if self._clock.monotonic() >= deadline:
                self._files.rm([self._path(folder, file) for file in files if file != MANIFEST])
                raise Postponed(f"{self._url} took too long: who may be written to is looked at again", 0.0)
            self._files.pipe_file(self._path(folder, MANIFEST), manifest)

    def complete(self, folder: str) -> bool:
        with self._explained("looked at"):
            if self._files.exists(self._path(folder, MANIFEST)):
                return True
            if left := self._listed(folder):
                self._files.rm([self._path(folder, file) for file in left])
            return False

    def folders(self) -> list[str]:
        with self._explained("looked at"):
            found = self._files.glob(f"{self._root}/run-*/{MANIFEST}")
        return sorted(str(path).rsplit("/", 2)[-2] for path in found)

    def files(self, folder: str) -> list[str]:
        with self._explained("looked at"):
            return self._listed(folder)

    def read(self, folder: str, file: str) -> bytes:
        with self._explained("read from"):
            return bytes(self._files.cat_file(self._path(folder, file)))

    def replace(self, folder: str, file: str, content: bytes) -> None:
        with self._explained("written to"):
            self._files.pipe_file(self._path(folder, file), content)

    def _listed(self, folder: str) -> list[str]:
        try:
            found = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for path in found if (name := str(path).rsplit("/", 1)[-1]))

    def _path(self, folder: str, file: str) -> str:
        return f"{self._root}/{folder}/{file}"

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Errors of drivers: of a store that refuses, or of one that did not answer."""
        try:
            yield
        except (DestinationError, Postponed):
            raise
        except PermissionError as error:
            raise DestinationError(
                f"{self._url} can't be {what}: {_reason(error)}",
                hint="the store refuses these credentials: set them as its driver wants them (for S3 AWS_ACCESS_KEY_ID"
                " and AWS_SECRET_ACCESS_KEY), and give them the right to list, read, write and delete objects there",
            ) from None
        except FileNotFoundError as error:
            raise DestinationError(
                f"{self._url} can't be {what}: {_reason(error)}", hint="is the bucket there, and spelt like this?"
            ) from None
        except Exception as error:  # drivers have errors of their own; none of them says that nothing happened
            if type(error).__name__ == "NoCredentialsError":
                raise DestinationError(
                    f"there are no credentials for {self._url}",
                    hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role",
                ) from None
            raise Lost(f"{self._url} did not answer as expected: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _write_through(path: Path, content: bytes) -> None:
    """The file is on the disk when this returns, and only its owner can read it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
