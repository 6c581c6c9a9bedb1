"""The campaigns that run on a day, each with everything its decisions need: rules, content, offers, experiment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.program.models import Block, Campaign, Experiment, Offer
from personalization.rules import ProgramRules, Rule, Value, needed, program_rules


@dataclass(frozen=True)
class RunningCampaign:
    """One campaign with what it refers to, by name and in the order written."""

    name: str
    campaign: Campaign
    rules: ProgramRules
    blocks: dict[str, Block]
    offers: dict[str, Offer]
    experiment: Experiment | None
    consent_required: bool  # else the purpose rests on another lawful basis, and only a withdrawal stops the mail

    @property
    def audience(self) -> Rule:
        return self.rules.audiences[self.name]

    @property
    def value(self) -> Value | None:
        return self.rules.values.get(self.name)

    @property
    def eligible(self) -> Rule | None:
        """Who takes part in the experiment; None: everyone."""
        return self.rules.eligible.get(self.campaign.experiment) if self.campaign.experiment else None

    @cached_property
    def parts(self) -> list[Rule | Value]:
        """Everything written for the campaign: audience, value, branches of its blocks, rules of its offers."""
        written: list[Rule | Value | None] = [self.audience, self.value]
        written += [self.rules.branches[name, branch.code] for name, b in self.blocks.items() for branch in b.branches]
        written += [self.rules.offers[offer] for offer in self.offers]
        return [part for part in written if part is not None]

    @cached_property
    def segment_rules(self) -> dict[str, Rule]:
        """The segments that `parts` refer to, and the segments that these refer to, and so on."""
        names = {name for part in self.parts for name in part.segments}
        return {name: self.rules.segments[name] for name in sorted(needed(names, self.rules.segments))}

    @cached_property
    def fields(self) -> list[str]:
        """Profile columns that the campaign's decisions look at, directly or through a segment."""
        return sorted({field for part in (*self.parts, *self.segment_rules.values()) for field in part.fields})

    def fields_needed(self, min_completeness: float) -> int:
        """How many of `fields` must be known; exact, so that 3 of 10 satisfies a share of 0.3."""
        return math.ceil(Decimal(str(min_completeness)) * len(self.fields))


def running_campaigns(program: Program, as_of: AsOf) -> list[RunningCampaign]:
    """Campaigns with `starts` ≤ day ≤ `ends` (both days included, unset = open), in the order of their names.

    Raises `ProgramError` when a rule of the program is wrong.
    """
    rules = program_rules(program)
    return [
        RunningCampaign(
            name=name,
            campaign=campaign,
            rules=rules,
            blocks={block: program.blocks[block] for block in campaign.blocks},
            offers={offer: program.offers[offer] for offer in campaign.offers},
            experiment=program.experiments[campaign.experiment] if campaign.experiment else None,
            consent_required=program.purposes[campaign.purpose].lawful_basis == "consent",
        )
        for name, campaign in sorted(program.campaigns.items())
        if runs_on(campaign, as_of)
    ]


def runs_on(campaign: Campaign, as_of: AsOf) -> bool:
    started = campaign.starts is None or campaign.starts <= as_of.day
    return started and (campaign.ends is None or as_of.day <= campaign.ends)


def named_rules(
    campaigns: Iterable[RunningCampaign], caps: dict[str, Rule | None], sunset: Rule | None = None
) -> dict[str, Rule]:
    """Every rule that the campaigns, the fatigue tiers and the sunset need, each once, for one evaluation of all."""
    found: dict[str, Rule] = {tier_column(tier): rule for tier, rule in caps.items() if rule is not None}
    if sunset is not None:
        found[SUNSET_COLUMN] = sunset
    for running in campaigns:
        found.update(_rules_of(running))
    return found


def _rules_of(running: RunningCampaign) -> Iterator[tuple[str, Rule]]:
    yield audience_column(running.name), running.audience
    for name, block in running.blocks.items():
        for branch in block.branches:
            yield branch_column(name, branch.code), running.rules.branches[name, branch.code]
    for name in running.offers:
        rule = running.rules.offers[name]
        if rule is not None:
            yield offer_column(name), rule
    if running.campaign.experiment and running.eligible is not None:
        yield eligible_column(running.campaign.experiment), running.eligible


# Names of the columns that one evaluation gives. The parts are names checked by the program's models.

SUNSET_COLUMN = "sunset:"


def audience_column(campaign: str) -> str:
    return f"audience:{campaign}"


def block_column(block: str) -> str:
    return f"block:{block}"


def branch_column(block: str, code: str) -> str:
    return f"branch:{block}:{code}"


def offer_column(offer: str) -> str:
    return f"offer:{offer}"


def tier_column(tier: str) -> str:
    return f"tier:{tier}"


def eligible_column(experiment: str) -> str:
    return f"eligible:{experiment}"


def value_column(campaign: str) -> str:
    return f"value:{campaign}"
