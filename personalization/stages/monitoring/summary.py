"""What happened in a run, as typed figures. A figure that can't be known yet is `Missing`, never zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from personalization.ledger.export_books import Books

_T = TypeVar("_T")


@dataclass(frozen=True)
class Missing:
    """Stands where figures would be: which table has nothing for the day, and the stage that fills it."""

    table: str
    stage: str

    def __str__(self) -> str:
        return f"not known yet: {self.table} has nothing for this day (the stage '{self.stage}' fills it)"


@dataclass(frozen=True)
class ReasonCount:
    """`outcome`: `quarantined`, or `value_dropped` when the row stayed and only lost a value."""

    outcome: str
    reason: str
    rows: int


@dataclass(frozen=True)
class EntityRows:
    """Rows of one entity. `landed = valid + quarantined + superseded`; superseded rows have a newer version."""

    entity: str
    landed: int
    valid: int
    quarantined: int
    superseded: int
    reasons: list[ReasonCount]

    @property
    def commonest_quarantine(self) -> str | None:
        return next((reason.reason for reason in self.reasons if reason.outcome == "quarantined"), None)

    @property
    def adds_up(self) -> bool:
        return self.landed == self.valid + self.quarantined + self.superseded

    @property
    def quarantined_share(self) -> float:
        return self.quarantined / self.landed if self.landed else 0.0


@dataclass(frozen=True)
class FieldCompleteness:
    """How many valid rows know a field."""

    entity: str
    field: str
    rows: int
    known: int

    @property
    def share(self) -> float:
        return self.known / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Customers:
    """People after unification: `records` source records became `people`; `scored` is None before the scoring stage."""

    people: int
    records: int
    with_address: int
    scored: int | None


@dataclass(frozen=True)
class ModelQuality:
    """One model on one time window. `baseline` marks the naive ones that a model must beat.

    `split`: `selection` for the window by which it was chosen, `outcome` for what happened after `as_of`.
    `auc_gain`: ROC-AUC above that of recency alone, with its 95 % interval.
    """

    model: str
    split: str
    cutoff: date
    n: int
    base_rate: float
    roc_auc: float | None
    brier: float
    log_loss: float | None
    chosen: bool
    baseline: bool
    model_version: str | None
    auc_gain: float | None
    auc_gain_low: float | None
    auc_gain_high: float | None


@dataclass(frozen=True)
class Outcome:
    """What the scored customers did in the weeks after `as_of`, once those weeks are in the data."""

    n: int
    buyers: int
    mean_score: float
    brier: float

    @property
    def base_rate(self) -> float:
        return self.buyers / self.n


@dataclass(frozen=True)
class SegmentRow:
    segment: str
    title: str
    size: int
    held: int
    candidates: int
    share: float
    completeness: float
    state: str
    entered: int
    exited: int


@dataclass(frozen=True)
class DecisionCount:
    campaign: str
    title: str
    outcome: str
    reason: str
    customers: int


@dataclass(frozen=True)
class Audience:
    """People, not decisions: in the audience of any running campaign as far as can be decided, and mailed."""

    people: int
    sends: int


@dataclass(frozen=True)
class ExportRun:
    """The newest export run of the day to one destination, and why rows of it were not acknowledged."""

    books: Books
    reasons: list[EndReason]

    @property
    def destination(self) -> str:
        return self.books.destination


@dataclass(frozen=True)
class EndReason:
    state: str
    reason: str
    rows: int


@dataclass(frozen=True)
class MailingKind:
    """Customers by the kind of their first mailing: how many converted in it, with a 95 % interval of the rate."""

    kind: str
    mailed: int
    converted: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class ExperimentArm:
    """One arm of one comparison: rate, and difference from the control with its interval and the test's verdict."""

    experiment: str
    comparison: str
    metric: str
    arm: str
    n: int
    conversions: int | None
    rate: float | None
    diff: float | None
    diff_low: float | None
    diff_high: float | None
    p_value: float | None
    srm_p: float | None
    verdict: str
    note: str


@dataclass(frozen=True)
class SegmentFinding:
    """What wants tidying up at a segment, and a suggestion."""

    segment: str
    title: str
    kind: str
    found: str
    suggestion: str


@dataclass(frozen=True)
class GovernorState:
    """What the governor does to a campaign, or to all (`campaign` is None), and the rates of the days before."""

    campaign: str | None
    title: str
    state: str
    kept_share: float
    since: date | None
    sends: int
    complaints: int
    complaint_rate: float
    unsubscribes: int
    unsubscribe_rate: float


@dataclass(frozen=True)
class RunSummary:
    """Everything the short table and the report say about one day."""

    as_of: date
    program: str
    program_hash: str
    report: str
    data: list[EntityRows] | Missing
    completeness: list[FieldCompleteness] | Missing
    customers: Customers | Missing
    model: list[ModelQuality] | Missing
    outcome: Outcome | Missing
    segments: list[SegmentRow] | Missing
    decisions: list[DecisionCount] | Missing
    audience: Audience | Missing
    export: list[ExportRun] | Missing
    experiments: list[ExperimentArm] | Missing
    mailings: list[MailingKind] | Missing
    hygiene: list[SegmentFinding] = field(default_factory=list)
    governor: list[GovernorState] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. A missing part is `{"missing": table, "stage": stage}`."""
        plain = {part.name: _plain(getattr(self, part.name)) for part in dataclasses.fields(self)}
        if not isinstance(self.export, Missing):
            plain["export"] = [
                {**run.books.to_dict(), "reasons": [_plain(reason) for reason in run.reasons]} for run in self.export
            ]
        return plain

    def metrics(self) -> dict[str, float]:
        """The figures that the warehouse alone determines, by dotted name; missing parts have no entry.

        Export books are left out: they belong to the ledger, and differ between a first run and one that had
        nothing left to do, while the warehouse must come out the same from both.
        """
        return dict(self._metrics())

    def _metrics(self) -> Iterator[tuple[str, float]]:
        for entity in known(self.data):
            for name in ("landed", "valid", "quarantined", "superseded"):
                yield f"rows.{entity.entity}.{name}", getattr(entity, name)
        if not isinstance(self.customers, Missing):
            for name in ("people", "records", "with_address", "scored"):
                if getattr(self.customers, name) is not None:
                    yield f"customers.{name}", getattr(self.customers, name)
        for quality in known(self.model):
            if quality.chosen:
                yield f"model.{quality.split}.roc_auc", quality.roc_auc or 0.0
                yield f"model.{quality.split}.brier", quality.brier
        if not isinstance(self.outcome, Missing):
            yield "outcome.buyers", self.outcome.buyers
            yield "outcome.brier", self.outcome.brier
        for segment in known(self.segments):
            for name in ("size", "held", "entered", "exited"):
                yield f"segments.{segment.segment}.{name}", getattr(segment, name)
        for arm in known(self.experiments):
            if arm.diff is not None:
                yield f"experiments.{arm.experiment}.{arm.comparison}.{arm.arm}.diff", arm.diff
        for state in self.governor:
            yield f"governor.{state.campaign or 'all'}.kept_share", state.kept_share
        for decision in known(self.decisions):
            yield f"decisions.{decision.campaign}.{decision.outcome}.{decision.reason}", decision.customers


def known(part: list[_T] | Missing) -> list[_T]:
    """The rows of a part; none when it is missing."""
    return [] if isinstance(part, Missing) else part


def chosen_model(rows: list[ModelQuality]) -> ModelQuality | None:
    """The model in use on the latest window it was judged on."""
    return max((row for row in rows if row.chosen), key=lambda row: (row.cutoff, row.split), default=None)


def best_baseline(rows: list[ModelQuality], chosen: ModelQuality) -> ModelQuality | None:
    """The naive baseline that came closest on the same window."""
    rivals = [row for row in rows if row.baseline and (row.split, row.cutoff) == (chosen.split, chosen.cutoff)]
    return min(rivals, key=lambda row: (row.brier, row.model), default=None)


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.table, "stage": value.stage}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
