"""Results back: what became of mailings, read from the platforms into landing and ledger. See docs/results.md.

A batch of events becomes files, which are named by its number; then, in one transaction, its opt-outs and the cursor
behind it are written. Killed in between, the batch is read again, and its files replace themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from personalization.crash_points import crash_point
from personalization.errors import ExportError, PersonalizationError, did_you_mean
from personalization.ledger.leases import LeaseHeld
from personalization.program.models import PlatformDestination, ResultsSettings
from personalization.stages.export.adapters.base import Clock, Lost, Postponed
from personalization.stages.export.adapters.registry import destination_of
from personalization.stages.export.adapters.results import Campaign, Event, Page, ResultsReader, Window
from personalization.stages.export.adapters.results_registry import reader_for
from personalization.stages.export.results_landing import ResultsLanding
from personalization.stages.export.results_opt_outs import OptOutReader
from personalization.stages.export.retract import push_opt_outs
from personalization.stages.sync.results_tables import results_destinations

if TYPE_CHECKING:
    from personalization.ledger.leases import Lease
    from personalization.runtime import Runtime

BATCH = 20_000
"""Events written together: what is read again when the process is killed."""

log = logging.getLogger(__name__)


@dataclass
class Pulled:
    """What a pull from one destination brought.

    Attributes
    ----------
    events, rejected : int
        New rows that landed; those of them that can't be used, which go to quarantine with the reason.
    opt_outs : int
        New opt-outs, hard bounces and complaints.
    problems : dict
        By kind why it could not be read to its end. What was read before is kept; the next pull goes on there.
    """

    destination: str
    events: int = 0
    rejected: int = 0
    opt_outs: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def pull_results(
    runtime: Runtime, names: Sequence[str] | None = None, *, clock: Clock | None = None, batch_size: int = BATCH
) -> list[Pulled]:
    """Read what is new of the results of destinations, all at once; the other platforms are told of opt-outs.

    A destination that fails keeps none of the others waiting: see `Pulled.problems`.

    Parameters
    ----------
    names : sequence of str, optional
        Default: every destination with `results` in destinations.yaml.

    Raises
    ------
    ExportError
        There is no destination of a name, or it gives no results.
    LedgerError, KeyFileError
        The ledger can't be read or written.
    """
    names = results_destinations(runtime.program) if names is None else list(names)
    for name in names:
        _settings(runtime, name)
    _ = runtime.keys, runtime.ledger  # once, before threads ask for them
    if not names:
        return []
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        found = list(pool.map(lambda name: _pull(runtime, name, clock or Clock(), batch_size), names))
    if any(pulled.opt_outs for pulled in found):
        push_opt_outs(runtime, clock=clock)
    return found


def _settings(runtime: Runtime, name: str) -> ResultsSettings:
    destination = destination_of(runtime.program, name)
    if isinstance(destination, PlatformDestination) and destination.results is not None:
        return destination.results
    if not isinstance(destination, PlatformDestination):
        raise ExportError(f"'{name}' holds files only: nothing comes back from there")
    known = results_destinations(runtime.program)
    raise ExportError(
        f"the results of '{name}' are not read ({did_you_mean(name, known) if known else 'no destination has any'})",
        hint=f"write `results: {{}}` at destinations.{name} in destinations.yaml",
    )


def _pull(runtime: Runtime, name: str, clock: Clock, batch_size: int) -> Pulled:
    pulled = Pulled(name)
    try:
        with runtime.ledger.leases.held(f"results:{name}") as lease:
            _Pull(runtime, name, clock, lease, pulled, batch_size).run()
    except LeaseHeld as held:
        pulled.problems["all"] = held.message
    return pulled


class _Pull:
    """One pull from one destination, by the holder of its lease."""

    def __init__(
        self, runtime: Runtime, name: str, clock: Clock, lease: Lease, pulled: Pulled, batch_size: int
    ) -> None:
        self._runtime, self._name, self._clock, self._lease, self._pulled = runtime, name, clock, lease, pulled
        self._batch_size, self._ledger = batch_size, runtime.ledger
        settings, now = _settings(runtime, name), clock.now()
        self._window = Window(now, now - timedelta(days=settings.days), timedelta(hours=settings.overlap_hours))
        platform = destination_of(runtime.program, name).platform
        self._landing = ResultsLanding(runtime.workspace.landing, name, platform, runtime.keys)

    def run(self) -> None:
        try:
            reader = reader_for(self._runtime.program, self._name, self._runtime.workspace, self._clock)
        except PersonalizationError as error:
            self._pulled.problems["all"] = str(error)
            return
        opt_outs = OptOutReader(self._runtime.program, self._ledger, self._runtime.keys, self._name, reader.title)
        for kind in reader.kinds:
            problem = None
            try:
                self._read(kind, reader, opt_outs)
            except (Postponed, Lost) as failure:
                problem = failure.reason
            except ExportError as error:
                problem = str(error)
            if problem:
                log.warning("results of %s, %s: %s", self._name, kind, problem)
                self._pulled.problems[kind] = problem
            self._ledger.results.note_end(self._name, kind, problem)
        self._landing.merge()

    def _read(self, kind: str, reader: ResultsReader, opt_outs: OptOutReader) -> None:
        cursor = self._ledger.results.progress(self._name, kind).cursor
        for batch in _batches(reader.read(kind, cursor, self._window), self._batch_size):
            self._keep(kind, batch, opt_outs)

    def _keep(self, kind: str, batch: _Batch, opt_outs: OptOutReader) -> None:
        events = opt_outs.without_erased(batch.events)
        said = opt_outs.read(events, self._window.now)
        number = self._ledger.results.progress(self._name, kind).batches + 1
        landed = self._landing.write(kind, number, events, batch.campaigns, self._window.now)
        crash_point("results.after_files")
        with self._ledger.begin() as connection:
            self._lease.hold(connection)
            new = opt_outs.write(said, connection)
            self._ledger.results.advance(
                connection,
                self._name,
                kind,
                batch.cursor,
                batches=bool(landed.files),
                rows=landed.rows,
                rejected=landed.rejected,
                opt_outs=new,
            )
        crash_point("results.after_cursor")
        self._pulled.events += landed.rows
        self._pulled.rejected += landed.rejected
        self._pulled.opt_outs += new


@dataclass
class _Batch:
    cursor: Mapping[str, Any]
    events: list[Event] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)


def _batches(pages: Iterable[Page], size: int) -> Iterator[_Batch]:
    """Pages put together. What was read before a reader fails is handed on before its error is raised."""
    batch: _Batch | None = None
    failure: Exception | None = None
    source = iter(pages)
    while True:
        try:
            page = next(source)
        except StopIteration:
            break
        except (Postponed, Lost, ExportError) as error:
            failure = error
            break
        batch = batch or _Batch(page.cursor)
        batch.cursor = page.cursor
        batch.events += page.events
        batch.campaigns += page.campaigns
        if len(batch.events) >= size:
            yield batch
            batch = None
    if batch is not None:
        yield batch
    if failure is not None:
        raise failure
