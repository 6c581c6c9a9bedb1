"""Which destination mails a campaign, and which ones only hold a copy of its audience."""

from __future__ import annotations

from personalization.program.load import Program


def mailers(program: Program, campaign: str) -> list[str]:
    """The destinations that mail a campaign.

    Those that say `mails: true`; else its platforms, because files beside a platform are taken for a copy; else the
    first one named. More than one is a mistake of the program: everybody would get the mail twice.
    """
    named = [name for name in program.campaigns[campaign].destinations if program.destinations[name].mails is not False]
    said = [name for name in named if program.destinations[name].mails]
    platforms = [name for name in named if program.destinations[name].platform != "csv"]
    return said or platforms or named[:1]


def mails(program: Program, destination: str) -> dict[str, str]:
    """The campaigns that a destination mails, and the version of the content of each."""
    return {
        name: str(campaign.version)
        for name, campaign in program.campaigns.items()
        if destination in campaign.destinations and destination in mailers(program, name)
    }
