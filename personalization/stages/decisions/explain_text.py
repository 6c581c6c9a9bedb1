"""An explanation in words, for a terminal: one section a step, in the order in which the decision was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from personalization.stages.decisions.explanation import (
    NOT_A_CANDIDATE,
    CampaignPath,
    Choice,
    Explanation,
    RawFacts,
    Score,
    SegmentPart,
)
from personalization.stages.decisions.gates import SEND

_MARKS = {True: "passed ", False: "STOPPED", None: "       "}
_SOURCES = {
    "purchases": "purchases of the last 84 days",
    "demographics": "demographics, since there is no purchase of the last 84 days to choose by",
    "best_sellers": "best sellers, since neither purchases of the last 84 days nor demographics are known",
}
_STATUS = {"in": "in", "held": "held: the rule can't be decided", "out": "not in"}


def text_of(explanation: Explanation) -> str:
    """The explanation as lines of plain text."""
    return "\n".join(_lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"Customer {explanation.customer_token} as of {explanation.as_of}"
    yield ""
    yield "On record"
    yield from _facts(explanation.facts)
    yield ""
    yield "Score"
    yield from _score(explanation.score)
    if explanation.features:
        yield ""
        yield "Fields that the decisions look at"
        width = max(map(len, explanation.features))
        yield from (f"  {name:<{width}}  {_shown(value)}" for name, value in explanation.features.items())
    if explanation.segments:
        yield ""
        yield "Segments that the rules refer to"
        for part in explanation.segments:
            yield from _segment(part)
    for path in explanation.campaigns:
        yield ""
        yield from _campaign(path)
    if not explanation.campaigns:
        yield ""
        yield "No campaign runs on this day."


def _facts(facts: RawFacts) -> Iterator[str]:
    if facts.orders:
        yield (
            f"  bought {_times(facts.orders)}, {facts.spend:,.2f} {facts.currency} in all, "
            f"last on {facts.last_purchase}"
        )
    else:
        yield "  never bought"
    mailed = f"mailed {_times(facts.mailings)}, last on {facts.last_mailing}" if facts.mailings else "never mailed"
    yield f"  {mailed}; " + (f"responded {_times(facts.conversions)}" if facts.conversions else "never responded")
    yield f"  e-mail address: {'known' if facts.has_address else 'none that is valid'}"


def _score(score: Score) -> Iterator[str]:
    if score.purchase_score is None:
        yield f"  none: {score.why_none}"
        return
    model = f", model {score.model_version}" if score.model_version else ""
    yield f"  purchase_score {score.purchase_score:.3f}, band {score.band}{model}"
    for part in score.contributions:
        direction = "towards" if part.contribution > 0 else "away from"
        yield f"    {part.contribution:+.2f} {direction} a purchase: {part.feature} = {_shown(part.value)}"


def _segment(part: SegmentPart) -> Iterator[str]:
    yield f"  {part.segment} ({part.title}): {_STATUS[part.status]}"
    yield from (f"    {line}" for line in str(part.trace).splitlines())


def _campaign(path: CampaignPath) -> Iterator[str]:
    yield f"Campaign {path.campaign} ({path.title}): {_verdict(path)}"
    yield "  Audience"
    yield from (f"    {line}" for line in str(path.audience).splitlines())
    if path.gates:
        yield "  Gates"
        width = max(len(gate.gate) for gate in path.gates)
        yield from (f"    {_MARKS[gate.passed]}  {gate.gate:<{width}}  {gate.words}" for gate in path.gates)
    if path.outcome == SEND:
        yield f"  Variant: {path.variant_words}"
        yield f"  Content, chosen by {_SOURCES.get(str(path.content_source), path.content_source)}"
        for choice in path.blocks:
            yield from _choice(choice)
        if path.offer is not None:
            yield from _choice(path.offer)
    elif path.content_source is not None:
        yield f"  Content would be chosen by {_SOURCES.get(path.content_source, path.content_source)}"
    if path.differs:
        yield "  Program, data or ledger changed since this was decided"
        yield from (f"    {line}" for line in path.differs)


def _verdict(path: CampaignPath) -> str:
    if path.outcome == NOT_A_CANDIDATE:
        return "NOT A CANDIDATE, the audience rule does not hold"
    if path.outcome == SEND:
        return "SEND"
    further = [code for code in path.reasons if code != path.reason]
    return f"WITHHELD, {path.reason}" + (f" (also: {', '.join(further)})" if further else "")


def _choice(choice: Choice) -> Iterator[str]:
    yield f"    {choice.name} = {choice.code or 'none'}: {choice.words}"
    for trace in choice.tried:
        yield from (f"      {line}" for line in str(trace).splitlines())


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
