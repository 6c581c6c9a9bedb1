"""Which model files were trained, from data before which day, how good they were, and the hash of their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Select, insert, select

from personalization.as_of import AsOf
from personalization.errors import LedgerError
from personalization.ledger.schema import models, now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger


@dataclass(frozen=True)
class ModelRecord:
    """One trained model.

    Attributes
    ----------
    trained_as_of : str
        `YYYY-MM-DD`: only events before this day were used.
    sha256 : str
        Of the artefact's bytes; compare it before loading the file.
    path : str
        Relative to the folder of models.
    """

    model: str
    version: str
    trained_as_of: str
    sha256: str
    path: str
    metrics: Mapping[str, Any]
    recorded_at: datetime


class Models:
    """The registry of trained models. See `Ledger.models`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def record(
        self,
        model: str,
        *,
        trained_as_of: AsOf,
        sha256: str,
        path: str,
        metrics: Mapping[str, Any],
        version: str | None = None,
    ) -> ModelRecord:
        """Enter a trained model as the current one of its day; when it is that already, nothing is written.

        `version` is by default the day and the first 8 characters of the hash.

        Raises
        ------
        LedgerError
            This version is entered already with other bytes.
        """
        version = version or f"{trained_as_of.key}-{sha256[:8]}"
        columns = models.c
        same_version = select(models).where(columns.model == model, columns.version == version).limit(1)
        with self._ledger.begin() as connection:
            known = connection.execute(same_version).one_or_none()
            if known is not None and known.sha256 != sha256:
                raise LedgerError(
                    f"model '{model}' version {version} is registered already with other bytes "
                    f"({known.sha256[:12]}…, now {sha256[:12]}…)",
                    hint="give the new artefact a new version",
                )
            current = connection.execute(_newest(model).where(columns.trained_as_of == trained_as_of.key)).one_or_none()
            if current is None or current.version != version:  # also when an earlier version is current again
                connection.execute(
                    insert(models).values(
                        model=model,
                        version=version,
                        trained_as_of=trained_as_of.key,
                        sha256=sha256,
                        path=path,
                        metrics=json.dumps(dict(metrics), sort_keys=True, allow_nan=False),
                        recorded_at=now(),
                    )
                )
                current = connection.execute(_newest(model).where(columns.trained_as_of == trained_as_of.key)).one()
        return _record(current)

    def latest(self, model: str, as_of: AsOf) -> ModelRecord | None:
        """The newest model that was trained on nothing later than `as_of`; None when there is none.

        Of several for one day the one entered last counts.
        """
        with self._ledger.read() as connection:
            row = connection.execute(_newest(model).where(models.c.trained_as_of <= as_of.key)).one_or_none()
        return None if row is None else _record(row)


def _newest(model: str) -> Select:
    newest_first = models.c.trained_as_of.desc(), models.c.id.desc()
    return select(models).where(models.c.model == model).order_by(*newest_first).limit(1)


def _record(row: Row) -> ModelRecord:
    return ModelRecord(
        row.model, row.version, row.trained_as_of, row.sha256, row.path, json.loads(row.metrics), row.recorded_at
    )
