"""Codes of the line in plain words, for people who read the report or the terminal and not the tables."""

from __future__ import annotations

from collections.abc import Mapping

REASONS = {
    "send": "gets the mail",
    "audience_unknown": "unknown whether in the audience",
    "no_consent": "no consent",
    "suppressed": "opted out or bounced",
    "no_address": "no e-mail address",
    "holdout": "held out to measure",
    "incomplete_data": "too little known",
    "already_mailed": "had this campaign already",
    "sunset": "inactive for long, left alone",
    "win_back_cap": "had a win-back mail already",
    "fatigue_gap": "mailed too recently",
    "fatigue_cap": "mailed too often",
    "own_frequency": "wants mail less often",
    "governor": "left out while too many complain",
    "quiet_hours": "waits for the end of the quiet hours",
}
VERDICTS = {
    "difference": "the arms differ",
    "no_difference": "no difference shown",
    "aa_difference": "A/A check: differs by chance",
    "aa_no_difference": "A/A check: alike",
    "association": "the groups differ",
    "no_association": "no difference shown",
    "too_small": "too few for a test",
    "withheld_srm": "withheld: arms not as declared",
    "waiting": "waiting for outcomes",
    "descriptive": "not tested",
}
_LOST = "lost_to:"


def reason_in_words(reason: str, titles: Mapping[str, str] | None = None) -> str:
    """`lost_to:comeback` as `gets “Come back” instead`; a code without words of its own stays as it is.

    `titles` gives campaigns' titles by name.
    """
    if reason.startswith(_LOST):
        name = reason.removeprefix(_LOST)
        return f"gets “{(titles or {}).get(name, name)}” instead"
    return REASONS.get(reason, reason.replace("_", " "))


def listing(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 segment`, `2,000 segments`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
