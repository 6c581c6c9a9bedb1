"""What was read of results so far, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from personalization.ledger.results import ResultsProgress
from personalization.program import Program
from personalization.stages.sync.results_tables import results_destinations, results_table
from personalization.webhooks.senders import SENDERS, Sender
from personalization.webhooks.sources import webhook_sources

if TYPE_CHECKING:
    from personalization.runtime import Runtime


@dataclass(frozen=True)
class ResultsStatus:
    """Results of one destination.

    Attributes
    ----------
    events : dict
        Landed events by kind.
    other_campaigns : list of str
        Names of the platform's campaigns that are neither name nor title of one of the program's.
    notes : list of str
        What may be counted twice.
    """

    destination: str
    progress: list[ResultsProgress]
    events: dict[str, int]
    other_campaigns: list[str]
    notes: list[str]


def results_status(runtime: Runtime) -> list[ResultsStatus]:
    """Of every destination whose results are read."""
    return [_status(runtime, name) for name in results_destinations(runtime.program)]


def _status(runtime: Runtime, name: str) -> ResultsStatus:
    landing = runtime.workspace.landing
    events = _query(
        results_table(name, "email_events").files(landing),
        "select event, count(distinct (campaign_id, customer_key, event, occurred_at, detail)) from {}"
        " where _rejected is null group by event order by event",
    )
    titles = _query(
        results_table(name, "campaign_history").files(landing),
        "select distinct title from {} where title is not null order by title",
    )
    campaigns = runtime.program.campaigns
    ours = {text.lower() for key, campaign in campaigns.items() for text in (key, campaign.title)}
    return ResultsStatus(
        name,
        runtime.ledger.results.all(name),
        dict(events),
        [title for (title,) in titles if title.lower() not in ours],
        _twice(runtime.program, name),
    )


def _query(files: list[Any], query: str) -> list[Any]:
    if not files:
        return []
    with duckdb.connect() as engine:
        source = "read_parquet($files, union_by_name = true)"
        return engine.execute(query.format(source), {"files": [str(path) for path in files]}).fetchall()


def _twice(program: Program, name: str) -> list[str]:
    """Webhooks of the same platform that report mailings as well."""
    platform = program.destinations[name].platform
    return [
        f"source {source} reports mailings of {platform} as well: what both report counts twice (docs/results.md)"
        for source, settings in webhook_sources(program).items()
        if settings.sender == platform and type(SENDERS[settings.sender]).email_events is not Sender.email_events
    ]
