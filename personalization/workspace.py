"""Where a company's program and state live on disk. One folder holds both, so that two programs never mix.

<root>/program/*.yaml      what people write, kept in git
<root>/var/                state, never in git: keys, landing, warehouse, ledger, exports, reports
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT_VARIABLE = "PERSONALIZATION_HOME"
STATE_VARIABLE = "PERSONALIZATION_STATE"
LEDGER_VARIABLE = "PERSONALIZATION_LEDGER_URL"
TOMBSTONES_VARIABLE = "PERSONALIZATION_TOMBSTONES_FILE"


@dataclass(frozen=True)
class Workspace:
    """Paths of one installation. Nothing is created by asking for a path.

    `ledger` is the SQLAlchemy URL of a ledger outside the state folder, such as a PostgreSQL database.
    """

    root: Path
    state: Path
    ledger: str | None = None

    @classmethod
    def at(cls, root: str | Path, state: str | Path | None = None, ledger: str | None = None) -> Workspace:
        """A workspace at `root`; state goes to `root/var` and the ledger into it unless given."""
        root = Path(root).resolve()
        return cls(root, Path(state).resolve() if state else root / "var", ledger or None)

    @classmethod
    def from_environment(cls) -> Workspace:
        """The workspace named by PERSONALIZATION_HOME, _STATE and _LEDGER_URL, else the current folder."""
        environment = os.environ.get
        return cls.at(
            environment(ROOT_VARIABLE) or Path.cwd(), environment(STATE_VARIABLE), environment(LEDGER_VARIABLE)
        )

    @property
    def program(self) -> Path:
        return self.root / "program"

    @property
    def keys(self) -> Path:
        return self.state / "keys.json"

    @property
    def landing(self) -> Path:
        return self.state / "landing"

    @property
    def dlt(self) -> Path:
        """dlt's working folder: a half-done load is finished from here, so it must survive a crash."""
        return self.state / "dlt"

    @property
    def warehouse(self) -> Path:
        return self.state / "warehouse.duckdb"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger; SQLite in the state folder unless another one is given."""
        return self.ledger or f"sqlite:///{self.state / 'ledger.sqlite'}"

    @property
    def tombstones(self) -> Path:
        """Who was erased: what a ledger restored from a backup has to forget again."""
        return Path(os.environ.get(TOMBSTONES_VARIABLE) or self.state / "tombstones.jsonl")

    @property
    def privacy(self) -> Path:
        """Copies of what is held about people who asked, receipts of erasures, audits."""
        return self.state / "privacy"

    @property
    def ledger_mark(self) -> Path:
        """How far the ledger was at its last export: an older copy of it is recognised by this."""
        return self.state / "ledger_mark.json"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def history(self) -> Path:
        """Daily segment memberships as Parquet: the record from which entered and exited are derived."""
        return self.state / "history"

    @property
    def exports(self) -> Path:
        return self.state / "exports"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def dbt_target(self) -> Path:
        return self.state / "dbt"

    @property
    def dagster_home(self) -> Path:
        return self.state / "dagster"
