"""From webhook to e-mail in seconds: applies new events and makes again only what follows for the people they concern.

Above the stages, like jobs.py: each stage offers a function for "these customers only". All of it is one transaction
of the warehouse, and ends as a run of everything on the same data would end; exports follow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from personalization.as_of import AsOf
from personalization.crash_points import crash_point
from personalization.errors import DataError, ExportError, WarehouseError
from personalization.ledger.news import Position, identifiers_since, position
from personalization.stages.sync.inbox import AppliedEvents, apply_inbox
from personalization.stages.sync.landing import CONSUMER
from personalization.stages.sync.webhook_tables import replayed_events
from personalization.stages.validation.applied import DECIDED, Applied, read_applied
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.runtime import Runtime

WAREHOUSE = "warehouse"
"""Up to which event the warehouse was brought, as the ledger knows it: to notice when it lost something."""

_SUPPRESSIONS, _CONSENTS = "warehouse:suppressions", "warehouse:consents"

log = logging.getLogger(__name__)


class WarehouseDamaged(WarehouseError):
    """The file was set aside; a run of everything makes it again."""


@dataclass
class Refreshed:
    """What `refresh_touched` did.

    Attributes
    ----------
    as_of : str
        The day that was brought up to date; empty when nothing had to be.
    events : AppliedEvents
        What came into the landing zone.
    rows : dict
        Rows by entity that the tables took over.
    customers : int
        People whose rows were made again.
    exports : dict
        By destination: what was sent, in words.
    problems : dict
        By destination: why its export failed. It is tried again the next time.
    loss : str or None
        What the warehouse had lost since it was brought up to date last.
    seconds : dict
        How long each part took.
    """

    events: AppliedEvents
    as_of: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    quarantined: int = 0
    customers: int = 0
    loss: str | None = None
    exports: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of,
            "events": self.events.events,
            "landed": self.events.rows,
            "dead": self.events.dead,
            "replayed": self.events.replayed,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "customers": self.customers,
            "loss": self.loss,
            "exports": self.exports,
            "problems": self.problems,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    @contextmanager
    def timed(self, name: str, on_progress: Callable[[str], None] | None = None) -> Iterator[None]:
        """Note how long a part takes."""
        if on_progress:
            on_progress(name)
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - started


def refresh_touched(runtime: Runtime, *, on_progress: Callable[[str], None] | None = None) -> Refreshed:
    """Apply what is new in the inbox, and bring tables and destinations up to date for the people it concerns.

    People are touched by a webhook event, and by consent or suppressions that the ledger learnt of since the last
    decisions. Killed at any moment and run again, it ends as without the kill.

    Raises
    ------
    DataError
        No day has been decided with this program yet: a run of everything has to come first.
    ExportError
        Another process does the same.
    WarehouseError, LedgerError, KeyFileError
        A store can't be read or written. Nothing of it is lost.
    """
    program, ledger = runtime.program, runtime.ledger
    started = perf_counter()
    damaged = runtime.warehouse.set_aside_if_damaged()
    if damaged:
        raise WarehouseDamaged(
            f"the warehouse was damaged and is in {damaged} now",
            hint="run `personalization run`: it makes everything again from the landing zone and the ledger",
        )
    events = apply_inbox(program, runtime.workspace, runtime.keys, ledger)
    done = Refreshed(events)
    done.seconds["inbox"] = perf_counter() - started
    watermark = ledger.inbox.watermark(CONSUMER)
    with runtime.warehouse.connect() as session:
        as_of, since = _state(runtime, session)
        now = Applied(watermark, tuple(replayed_events(program, runtime.workspace.landing)))
        done.loss = _loss(runtime, session, since)
        with ledger.read() as connection:
            seen = position(connection)
            news = identifiers_since(connection, Position(since.suppressions, since.consents))
        if news or (since.inbox, since.replayed) != (now.inbox, now.replayed):
            with session.transaction():
                _bring_up_to_date(runtime, session, as_of, done, since, now, seen, news, on_progress)
            crash_point("touched.after_commit")
            done.as_of = as_of.key
    for mark, reached in ((WAREHOUSE, watermark), (_SUPPRESSIONS, seen.suppressions), (_CONSENTS, seen.consents)):
        ledger.pushes.advance(mark, reached)
    _export(runtime, as_of, watermark, done, on_progress)
    done.seconds["total"] = perf_counter() - started
    return done


def something_new(runtime: Runtime) -> bool:
    """Whether `refresh_touched` would have anything to do; a handful of quick queries of the ledger."""
    inbox, pushes = runtime.ledger.inbox, runtime.ledger.pushes
    last = inbox.last_seq()
    if last > min(inbox.watermark(CONSUMER), pushes.progress(WAREHOUSE)) or inbox.dead_letters.all("replay"):
        return True
    if any(pushes.progress(f"export:{name}") < last for name in runtime.program.destinations if last):
        return True
    with runtime.ledger.read() as connection:
        now = position(connection)
    return now != Position(pushes.progress(_SUPPRESSIONS), pushes.progress(_CONSENTS))


def current_day(session: Session, timezone: str) -> AsOf:
    """The day that features, segments and decisions in the warehouse are for.

    Raises
    ------
    DataError
        There is none, or a run for another day is under way or was interrupted.
    """
    hint = "run `personalization run` first: it decides about everybody once; after it, events follow by themselves"
    if not session.has_table("features.customer_profile") or not session.has_table("decisions.decisions"):
        raise DataError("no day has been decided yet in this warehouse", hint=hint)
    days = session.rows("select distinct as_of from features.customer_profile")
    if len(days) != 1:
        raise DataError("features.customer_profile holds no single day", hint=hint)
    day = days[0][0]
    if not session.value("select count(*) from decisions.decisions where as_of = $1", [day]) and session.value(
        "select count(*) from decisions.decisions"
    ):
        raise DataError(
            f"the features are of {day}, but nothing is decided for that day: a run is under way or was interrupted",
            hint="wait for it to end, or run `personalization run` again",
        )
    return AsOf(day, timezone)


def _state(runtime: Runtime, session: Session) -> tuple[AsOf, Applied]:
    """The day in the warehouse, and what its decisions know of."""
    as_of = current_day(session, runtime.program.settings.timezone)
    decided = read_applied(session, DECIDED)
    if decided is None or decided.program != runtime.program.hash:
        raise DataError(
            f"the program changed since {as_of.key} was decided",
            hint="run `personalization run` first: with another program other people may be chosen everywhere",
        )
    return as_of, decided


def _bring_up_to_date(
    runtime: Runtime,
    session: Session,
    as_of: AsOf,
    done: Refreshed,
    since: Applied,
    now: Applied,
    seen: Position,
    news: set[str],
    on_progress: Callable[[str], None] | None,
) -> None:
    from personalization.stages.decisions.touched import decide_touched
    from personalization.stages.features.touched import models_of, rebuild_touched
    from personalization.stages.normalise.touched import collect_touched, follow_touched
    from personalization.stages.scoring.inputs import population
    from personalization.stages.scoring.touched import score_touched
    from personalization.stages.segments.topics import read_topics
    from personalization.stages.segments.touched import evaluate_touched
    from personalization.stages.sync.identity import publish_identity, update_identity
    from personalization.stages.sync.identity_links import record_links
    from personalization.stages.validation.touched import land_touched

    program, workspace = runtime.program, runtime.workspace
    with done.timed("compile", on_progress):
        models = models_of(program, workspace, as_of)
    with done.timed("validation", on_progress):
        rows = land_touched(session, program, workspace.landing, since, now)
        done.rows, done.quarantined = rows.rows, rows.quarantined
    with done.timed("identity", on_progress):
        collect_touched(session, news)
        if rows.entities & {"customers", "consent_events"}:
            record_links(program, workspace, inbox=now.inbox, after=since.inbox)
            update_identity(
                session,
                workspace.history,
                runtime.ledger.identity_corrections.holding(),
                kept=runtime.ledger.kept.people(),
            )
            publish_identity(session, workspace.history)
        done.customers = follow_touched(session)
    with done.timed("features", on_progress):
        rebuild_touched(session, models, rows, program.settings.scoring.horizon_days)
    with done.timed("scores", on_progress):
        score_touched(runtime, session, as_of)
    with done.timed("segments", on_progress):
        only_theirs = evaluate_touched(
            session,
            program,
            as_of,
            workspace.history,
            may_be_scored=lambda among: population(runtime, session, as_of, among=among),
            chosen_topics=lambda among: read_topics(session, runtime.ledger, as_of, among),
        )
    with done.timed("decisions", on_progress):
        if only_theirs:
            decide_touched(session, runtime.ledger, program, as_of, seen)
        else:
            from personalization.stages.decisions.decide import decide_day

            decide_day(session, runtime.ledger, program, as_of)
    crash_point("touched.before_commit")


def _export(
    runtime: Runtime, as_of: AsOf, watermark: int, done: Refreshed, on_progress: Callable[[str], None] | None
) -> None:
    """Bring the destinations up to date: after a change, and where that failed the last time."""
    from personalization.stages.export.exporter import export_destination

    for name in runtime.program.destinations:
        consumer = f"export:{name}"
        if not done.as_of and runtime.ledger.pushes.progress(consumer) >= watermark:
            continue
        with done.timed(consumer, on_progress):
            try:
                exported = export_destination(runtime, name, as_of)
            except ExportError as error:
                done.problems[name] = str(error)
                log.warning("%s: %s", name, error)
                continue
        done.exports[name] = exported.books.equation
        runtime.ledger.pushes.advance(consumer, watermark)


def _loss(runtime: Runtime, session: Session, since: Applied) -> str | None:
    """What the warehouse lost of what it had committed, such as by a torn file that DuckDB opens without a word.

    Events that it no longer knows of are applied again. Raises `DataError` when other rows are gone.
    """
    counted = session.rows("select entity, valid from validation.books")
    for entity, valid in counted:
        found = session.value(f"select count(*) from landed.{entity}")  # noqa: S608  (names of ours)
        if found != valid:
            raise DataError(
                f"the warehouse lost rows: landed.{entity} has {found:,}, and {valid:,} were counted",
                hint="run `personalization run`: it makes everything again from the landing zone and the ledger",
            )
    reached = runtime.ledger.pushes.progress(WAREHOUSE)
    if since.inbox >= reached:
        return None
    loss = (
        f"it had been brought up to event {reached} and knew only of {since.inbox}: it lost its end, and what is "
        "missing was applied again"
    )
    log.error("the warehouse lost what it had committed: %s", loss)
    return loss
