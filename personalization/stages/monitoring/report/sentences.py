"""The executive summary: what happened, in plain sentences. Numbers stand between asterisks and are set in bold."""

from __future__ import annotations

from collections.abc import Iterator

from personalization.stages.monitoring.report.values import share
from personalization.stages.monitoring.summary import (
    Missing,
    ModelQuality,
    RunSummary,
    best_baseline,
    chosen_model,
    known,
)
from personalization.stages.monitoring.words import counted, listing, reason_in_words


def executive_summary(summary: RunSummary) -> list[str]:
    """A handful of sentences; parts that are missing are left out, the attention box tells of them."""
    return [*_people(summary), *_model(summary), *_decisions(summary), *_export(summary)]


def model_summary(summary: RunSummary) -> list[str]:
    """What the model page says at its top."""
    if isinstance(summary.model, Missing):
        return [f"The model is {summary.model}."]
    sentences = list(_model(summary))
    chosen = chosen_model(summary.model)
    if chosen:
        name = chosen.model.replace("_", " ")
        sentences.insert(0, f"Scores of this day come from *{name}*, version {chosen.model_version}.")
    if not isinstance(summary.outcome, Missing):
        outcome = summary.outcome
        sentences.append(
            f"In the weeks after this day *{share(outcome.base_rate)}* of the scored customers bought; "
            f"the model expected *{share(outcome.mean_score)}*."
        )
    return sentences


def _people(summary: RunSummary) -> Iterator[str]:
    if isinstance(summary.customers, Missing):
        return
    customers = summary.customers
    if customers.scored is None:
        yield f"*{counted(customers.people, 'customer')}*, none scored yet."
    else:
        unscored = customers.people - customers.scored
        reason = f"; the other {unscored:,} have not agreed to scoring or have no record yet" if unscored else ""
        yield f"*{counted(customers.people, 'customer')}*, of whom *{customers.scored:,}* were scored{reason}."


def _model(summary: RunSummary) -> Iterator[str]:
    chosen = chosen_model(known(summary.model))
    if chosen is None:
        return
    rival = best_baseline(known(summary.model), chosen)
    against = f", where the naive “{rival.model.replace('_', ' ')}” reaches {_auc(rival)}" if rival else ""
    yield f"The model tells buyers from others with a ROC-AUC of *{_auc(chosen)}*{against}."


def _auc(row: ModelQuality) -> str:
    return "–" if row.roc_auc is None else f"{row.roc_auc:.2f}"


def _decisions(summary: RunSummary) -> Iterator[str]:
    if isinstance(summary.audience, Missing):
        return
    campaigns = {row.campaign for row in known(summary.decisions)}
    audience = summary.audience
    yield (
        f"Of *{audience.people:,}* people in the audiences of {counted(len(campaigns), 'campaign')}, "
        f"*{audience.sends:,}* get a mail."
    )
    withheld: dict[str, int] = {}
    for row in known(summary.decisions):
        if row.outcome == "withheld" and not row.reason.startswith("lost_to:"):
            withheld[row.reason] = withheld.get(row.reason, 0) + row.customers
    if withheld:
        reason = min(withheld, key=lambda code: (-withheld[code], code))
        yield f"The commonest reason to withhold one is “{reason_in_words(reason)}” (*{withheld[reason]:,}* decisions)."


def _export(summary: RunSummary) -> Iterator[str]:
    runs = known(summary.export)
    if not runs:
        return
    busy = [
        f"*{run.books.acked:,}* of {run.books.planned:,} at {run.destination}"
        + (f" ({run.books.suppressed:,} stopped by the last look at opt-outs)" if run.books.suppressed else "")
        for run in runs
        if run.books.planned
    ]
    idle = [f"{run.destination} ({run.books.present:,})" for run in runs if not run.books.planned]
    if busy:
        yield f"Acknowledged: {listing(busy)}."
    if idle:
        yield f"Nothing had to be sent to {listing(idle)}: every contact there is up to date."
    yield "All books close." if all(run.books.closes for run in runs) else "*Not all books close.*"
