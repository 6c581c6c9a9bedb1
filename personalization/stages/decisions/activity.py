"""When customers last did something: opened, clicked, responded or bought. The sunset and the governor look at it."""

from __future__ import annotations

from personalization.program import Program
from personalization.program.models import Sunset
from personalization.rules import Catalog, Rule, Value, parse_value
from personalization.stages.decisions.campaigns import SUNSET_COLUMN

ACTS = ("open", "click", "conversion", "purchase")
SEEN_DAYS = 365
"""How far back an act is looked for at least: one longer ago orders people no better than none."""
_PREFIX = "acted:"


def activity_values(program: Program, catalog: Catalog) -> dict[str, Value]:
    """Days since each kind of act, as values of one evaluation; none when nothing asks for them."""
    settings = program.settings
    if settings.governor is None and (settings.sunset is None or settings.sunset.when is not None):
        return {}
    within = horizon(settings.sunset)
    return {
        _PREFIX + act: parse_value(f"days_since('{act}', within => '{within} days')", catalog)
        for act in ACTS
        if act in catalog.events
    }


def horizon(sunset: Sunset | None) -> int:
    """Days back within which acts are looked for."""
    return max(SEEN_DAYS, sunset.inactive_days if sunset else 0)


def acted_days(values: dict[str, Value]) -> str:
    """Expression over the evaluated values: days since the last act of any kind, NULL without one."""
    columns = ", ".join(f'"{name}"' for name in values)
    return f"least({columns})::integer" if values else "null::integer"


def sunset_rule(rule: Rule | None) -> str:
    """Expression over the evaluated rules: whether the program's own sunset rule holds; NULL when it has none."""
    return f'"{SUNSET_COLUMN}"' if rule is not None else "null::boolean"


def is_asleep(sunset: Sunset | None, day: str) -> str:
    """Condition over a candidate with `sends_query`, consent (`state`, `state_day`): campaigns leave the person alone.

    Somebody who was first mailed less than `inactive_days` ago had no chance yet to react; to give consent is to act.
    """
    if sunset is None:
        return "false"
    if sunset.when is not None:
        return "coalesce(sunset_rule, false)"
    long_ago = f"date '{day}' - {sunset.inactive_days}"
    return f"""(
        coalesce(first_send <= {long_ago}, false)
        and coalesce(acted_days > {sunset.inactive_days}, true)
        and not coalesce(state = 'granted' and state_day >= {long_ago}, false)
    )"""
