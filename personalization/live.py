"""Keeps tables and platforms up to date while it runs: opt-outs first, then what webhooks and pages brought."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Any

from personalization.errors import PersonalizationError
from personalization.run_lock import AnotherRun, only_run
from personalization.runtime import Runtime
from personalization.stages.export.retract import Told, push_opt_outs
from personalization.touched import Refreshed, WarehouseDamaged, refresh_touched, something_new

INTERVAL = 0.5
"""Seconds between two looks at the ledger; each is a handful of indexed queries."""

PAUSE_AFTER_PROBLEM = 30.0

log = logging.getLogger(__name__)


def watch(
    runtime: Runtime,
    stop: Event,
    *,
    on_told: Callable[[list[Told]], None],
    on_refreshed: Callable[[Refreshed], None],
    on_problem: Callable[[str], None],
    on_damage: Callable[[], None],
    interval: float = INTERVAL,
) -> None:
    """Apply and push until `stop` is set. What fails is told once and tried again; a run of everything goes first."""
    _import_everything()
    resting = _Resting(on_problem)
    while not stop.is_set():
        if runtime.ledger.replaced:  # another token key is in use since
            runtime.ledger.close()
            runtime = runtime.anew()
        if resting.is_due("opt-outs"):
            with resting.problems("opt-outs"):
                told = [each for each in push_opt_outs(runtime) if each.state != "nothing new"]
                failed = "; ".join(f"{each.destination}: {each.problem}" for each in told if each.state == "failed")
                if any(each.state == "told" for each in told):
                    on_told(told)
                if failed:
                    raise PersonalizationError(failed)
        if resting.is_due("events"):
            with resting.problems("events"):
                if something_new(runtime):
                    try:
                        with only_run(runtime):
                            done = refresh_touched(runtime)
                    except WarehouseDamaged as damage:
                        on_problem(damage.message)
                        on_damage()
                        continue
                    on_refreshed(done)
                    if done.problems:
                        raise PersonalizationError("; ".join(done.problems.values()))
        stop.wait(interval)


class _Resting:
    """Work that failed rests for a while; its problem is told when it is another one than before."""

    def __init__(self, on_problem: Callable[[str], None]) -> None:
        self._tell = on_problem
        self._until: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def is_due(self, work: str) -> bool:
        from time import monotonic

        return monotonic() >= self._until.get(work, 0.0)

    def problems(self, work: str) -> Any:
        from contextlib import contextmanager
        from time import monotonic

        @contextmanager
        def guarded() -> Any:
            try:
                yield
                self._told.pop(work, None)
            except AnotherRun:
                self._until[work] = monotonic() + 2.0
            except PersonalizationError as error:
                text = str(error)
                self._until[work] = monotonic() + (5.0 if work == "opt-outs" else PAUSE_AFTER_PROBLEM)
                if self._told.get(work) != text:
                    self._told[work] = text
                    self._tell(text)

        return guarded()


def _import_everything() -> None:
    """What the first event would otherwise wait for."""
    import shap  # noqa: F401
    import sklearn  # noqa: F401

    import personalization.stages.decisions.touched
    import personalization.stages.export.exporter
    import personalization.stages.features.touched
    import personalization.stages.scoring.touched
    import personalization.stages.segments.touched
    import personalization.stages.validation.touched  # noqa: F401
