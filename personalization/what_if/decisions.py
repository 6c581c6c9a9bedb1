"""What would be decided for a day under a changed program, beside what is decided now. Nothing is exported."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.program import Program
from personalization.runtime import Runtime
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.decide import DECISIONS, check_names, decide, read_releases, require_inputs
from personalization.stages.decisions.permission import read_permissions
from personalization.stages.scoring.inputs import population
from personalization.stages.segments.evaluate import evaluate_segments
from personalization.stages.segments.topics import read_topics
from personalization.warehouse import Session, Warehouse


@dataclass(frozen=True)
class OutcomeChange:
    """Customers of a campaign with one outcome and reason, under the program as it is and as it would be."""

    campaign: str
    outcome: str
    reason: str
    now: int
    then: int


@dataclass(frozen=True)
class Simulation:
    """What a changed program would decide.

    Attributes
    ----------
    outcomes : list of OutcomeChange
        All of both, also those that stay.
    gained, lost : int
        Customers who would get a mail they do not get now, and the other way round.
    moved : int
        Customers who would get another campaign, offer, variant or block.
    """

    as_of: str
    outcomes: list[OutcomeChange]
    sends_now: int
    sends_then: int
    gained: int
    lost: int
    moved: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def simulate(runtime: Runtime, changed: Program, as_of: AsOf) -> Simulation:
    """Decide the day twice in a throw-away copy of the warehouse: as the program is, and changed.

    Features and scores are those of the last run. Segments whose rule differs, and those that refer to them, are
    evaluated again, in the copy.

    Raises
    ------
    DataError
        The stages before decisions have not run for the day.
    ProgramError
        A rule of the changed program is wrong.
    """
    if not runtime.workspace.warehouse.exists():
        raise DataError("there is no warehouse yet", hint="run `personalization run` first")
    runtime.workspace.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="simulate-", dir=runtime.workspace.state) as folder:
        copy = Path(shutil.copy2(runtime.workspace.warehouse, Path(folder) / "warehouse.duckdb"))
        with Warehouse(copy).connect() as session:
            now = _decided(session, runtime, runtime.program, as_of, "_now")
            if changed.segments != runtime.program.segments:
                _evaluate_segments(session, runtime, changed, as_of, Path(folder) / "history")
            then = _decided(session, runtime, changed, as_of, "_then")
            gained, lost, moved = session.rows(_COMPARISON)[0]
    keys = [*now, *(key for key in then if key not in now)]
    return Simulation(
        as_of=as_of.key,
        outcomes=[OutcomeChange(*key, now.get(key, 0), then.get(key, 0)) for key in sorted(keys)],
        sends_now=sum(count for (_, outcome, _), count in now.items() if outcome == "send"),
        sends_then=sum(count for (_, outcome, _), count in then.items() if outcome == "send"),
        gained=gained,
        lost=lost,
        moved=moved,
    )


def _evaluate_segments(session: Session, runtime: Runtime, changed: Program, as_of: AsOf, history: Path) -> None:
    """Bring the copy's memberships up to the changed rules. Day files are links: a new one replaces only its link."""
    if runtime.workspace.history.exists():
        shutil.copytree(runtime.workspace.history, history, copy_function=os.link)
    evaluate_segments(
        session,
        changed,
        as_of,
        history,
        may_be_scored=lambda: population(runtime, session, as_of),
        chosen_topics=lambda: read_topics(session, runtime.ledger, as_of),
    )


def _decided(
    session: Session, runtime: Runtime, program: Program, as_of: AsOf, table: str
) -> dict[tuple[str, str, str], int]:
    check_names(program)
    require_inputs(session, as_of)
    campaigns = running_campaigns(program, as_of)
    purposes = (running.campaign.purpose for running in campaigns)
    permissions = read_permissions(runtime.ledger, session, purposes, as_of)
    releases = read_releases(runtime.ledger, program, campaigns, as_of)
    decided = decide(session, program, campaigns, permissions, as_of, releases)
    blocks = "".join(f", '{block}=' || coalesce(\"{block}\", '')" for block in program.blocks)
    session.execute(f"""
        create or replace temp table {table} as
        select customer_token, concat_ws('|', campaign, coalesce(offer, ''), coalesce(variant, ''){blocks}) as content
        from {DECISIONS} where as_of = date '{as_of.key}' and outcome = 'send'
    """)  # noqa: S608  (names are checked by the program's models)
    return {(campaign, outcome, reason): count for campaign, outcome, reason, count in decided.summary}


_COMPARISON = """
    select
        count(*) filter (n.customer_token is null),
        count(*) filter (t.customer_token is null),
        count(*) filter (n.content <> t.content)
    from _now n full join _then t on n.customer_token = t.customer_token
"""
