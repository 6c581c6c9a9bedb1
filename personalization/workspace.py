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


@dataclass(frozen=True)
class Workspace:
    """Paths of one installation. Nothing is created by asking for a path."""

    root: Path
    state: Path

    @classmethod
    def at(cls, root: str | Path, state: str | Path | None = None) -> Workspace:
        """A workspace at `root`; state goes to `root/var` unless given."""
        root = Path(root).resolve()
        return cls(root, Path(state).resolve() if state else root / "var")

    @classmethod
    def from_environment(cls) -> Workspace:
        """The workspace named by PERSONALIZATION_HOME and PERSONALIZATION_STATE, else the current folder."""
        return cls.at(os.environ.get(ROOT_VARIABLE) or Path.cwd(), os.environ.get(STATE_VARIABLE) or None)

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
        """SQLAlchemy URL of the ledger; SQLite in the state folder unless PERSONALIZATION_LEDGER_URL says otherwise."""
        return os.environ.get("PERSONALIZATION_LEDGER_URL") or f"sqlite:///{self.state / 'ledger.sqlite'}"

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
