"""How people answer mails in a simulation: a model with a seed, so that the same simulation comes out the same.

It is a stand-in, not a prediction: it is there to move caps, sunset, consent and governor through their states. For a
mail to a person who got `n` mails in the 28 days before:

- opens it with 5 to 55 % (each person has a leaning of their own) times 0.93 to the power of `n`;
- clicks 15 % of what was opened, and responds to 20 % of the clicks;
- unsubscribes with 0.1 % and 0.05 % more for each of the `n`;
- complains with 0.02 %, or in a bad spell with `spell_complaints`.

Every answer comes on the day of the mail and is known from the next day on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from personalization.stages.decisions.assignment import draw

_RANGE = 2**64


@dataclass(frozen=True)
class ResponseModel:
    """The model's numbers. `spell` is the first day of the bad spell and the first after it, counted from 0."""

    seed: str = "1"
    open_least: float = 0.05
    open_more: float = 0.5
    weariness: float = 0.93
    clicks: float = 0.15
    responses: float = 0.2
    unsubscribes: float = 0.001
    unsubscribes_more: float = 0.0005
    complaints: float = 0.0002
    spell: tuple[int, int] | None = None
    spell_complaints: float = 0.02

    def answers(self, token: str, campaign: str, day: int, mails_before: int) -> Iterator[str]:
        """What comes back from one mail: opened, clicked, converted, unsubscribed, complained."""
        leaning = draw(f"{self.seed}:leaning", token) / _RANGE
        opening = (self.open_least + self.open_more * leaning) * self.weariness**mails_before
        if self._happens("open", token, campaign, day, opening):
            yield "opened"
            if self._happens("click", token, campaign, day, self.clicks):
                yield "clicked"
                if self._happens("respond", token, campaign, day, self.responses):
                    yield "converted"
        leaving = self.unsubscribes + self.unsubscribes_more * mails_before
        if self._happens("unsubscribe", token, campaign, day, leaving):
            yield "unsubscribed"
        if self._happens("complain", token, campaign, day, self.complaints_on(day)):
            yield "complained"

    def complaints_on(self, day: int) -> float:
        """The chance of a complaint about a mail of the day."""
        return self.spell_complaints if self.spell and self.spell[0] <= day < self.spell[1] else self.complaints

    def _happens(self, what: str, token: str, campaign: str, day: int, chance: float) -> bool:
        return draw(f"{self.seed}:{what}:{campaign}:{day}", token) < chance * _RANGE
