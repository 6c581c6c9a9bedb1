"""The whole path to a decision about one customer, as data. `explain` gathers it, `explain_text` puts it in words."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from personalization.rules import Trace

NOT_A_CANDIDATE = "not_a_candidate"


@dataclass(frozen=True)
class RawFacts:
    """What is on record about the customer before the day."""

    orders: int
    spend: Decimal
    currency: str
    last_purchase: date | None
    mailings: int
    last_mailing: date | None
    conversions: int
    has_address: bool


@dataclass(frozen=True)
class Contribution:
    """How much one feature moved the score, in log odds; positive: towards a purchase."""

    feature: str
    value: float | None
    contribution: float


@dataclass(frozen=True)
class Score:
    """`purchase_score` is None for customers without a score, and `why_none` says why."""

    purchase_score: float | None
    band: str | None
    model_version: str | None
    contributions: list[Contribution]
    why_none: str | None


@dataclass(frozen=True)
class SegmentPart:
    """Whether the customer is in a segment. `status` is the recorded one: in, held, or out."""

    segment: str
    title: str
    status: str
    trace: Trace


@dataclass(frozen=True)
class GateVerdict:
    """One gate with its numbers in words. `passed` is None for a gate that earlier ones left nothing to do."""

    gate: str
    passed: bool | None
    words: str


@dataclass(frozen=True)
class Choice:
    """A block or an offer: the code, the branch that gave it, and the branches tried before it."""

    name: str
    code: str | None
    words: str
    tried: list[Trace]


@dataclass(frozen=True)
class CampaignPath:
    """How one campaign's decision about the customer came about.

    Attributes
    ----------
    outcome : str
        send, withheld, or not_a_candidate.
    differs : list of str
        What no longer agrees with the recorded decision, because program or ledger changed since.
    """

    campaign: str
    title: str
    outcome: str
    reason: str | None
    reasons: list[str]
    audience: Trace
    gates: list[GateVerdict]
    variant: str | None
    variant_words: str
    content_source: str | None
    blocks: list[Choice]
    offer: Choice | None
    differs: list[str]


@dataclass(frozen=True)
class Explanation:
    """Everything about one customer on one day."""

    as_of: date
    customer_token: str
    facts: RawFacts
    features: dict[str, Any]
    score: Score
    segments: list[SegmentPart]
    campaigns: list[CampaignPath]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: rules as nested clauses, days and moments as ISO text, money as text."""
        return dict(_plain(self))

    def to_text(self) -> str:
        """The whole path in words, for a terminal."""
        from personalization.stages.decisions.explain_text import text_of

        return text_of(self)


def _plain(value: Any) -> Any:
    if isinstance(value, Trace):
        return {
            "clause": value.text,
            "outcome": {True: "true", False: "false", None: "undecided"}[value.outcome],
            "found": value.value,
            "parts": [_plain(child) for child in value.children],
        }
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
