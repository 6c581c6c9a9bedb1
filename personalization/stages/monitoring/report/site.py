"""Writes the report of a day as one folder of HTML, all at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalization.as_of import AsOf
from personalization.stages.monitoring import series
from personalization.stages.monitoring.metrics import REPORT_PAGE, reading
from personalization.stages.monitoring.report.pages import Series, render_pages
from personalization.stages.monitoring.report.swap import replace_folder, write_synced
from personalization.stages.monitoring.summary import RunSummary

if TYPE_CHECKING:
    from personalization.runtime import Runtime


def write_report(runtime: Runtime, summary: RunSummary, as_of: AsOf, *, failed_checks: Sequence[str] = ()) -> Path:
    """Write `var/reports/<as_of>/` anew and return its first page. A crash leaves the earlier report as it was."""
    with reading(runtime) as session:
        data = Series(
            weekly=series.weekly_activity(session, as_of),
            scores=series.score_distribution(session, as_of),
            importance=series.feature_importance(session, as_of),
            calibration=series.calibration(session, as_of),
        )
    files = render_pages(summary, data, notes=runtime.program.settings.notes, failed_checks=failed_checks)
    return write_folder(runtime.workspace.reports / as_of.key, files) / REPORT_PAGE


def write_folder(target: Path, files: dict[str, str]) -> Path:
    """Put a folder of files in the place of `target`. Returns `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new, aside = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (new, aside):  # one writer a workspace: what is there is from a crash
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    for name, text in files.items():
        write_synced(new / name, text)
    replace_folder(new, target, aside)
    return target
