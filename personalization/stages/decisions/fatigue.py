"""How recently and how often each customer was mailed, across all campaigns: the numbers behind the fatigue gates.

A send counts on its business day. A customer may be mailed when the last send is *more than* `min_gap_days` ago, and
when the sends of the tier's last `days` days leave room for one more.
"""

from __future__ import annotations

from collections.abc import Iterable

from personalization.as_of import AsOf
from personalization.program.models import Fatigue, FrequencyCap
from personalization.stages.decisions.campaigns import tier_column

SENDS = "marts.email_events"


def sends_query(fatigue: Fatigue, as_of: AsOf, sends: str = SENDS) -> str:
    """One row per customer ever mailed before `as_of`.

    Columns: `customer_token`, `last_send` DATE, `days_since_send`, and for each window of the caps `sends_<days>d`, the
    sends in [as_of − days, as_of).
    """
    windows = "".join(
        f", coalesce(sum(events) filter (event_day >= day - {days}), 0)::bigint as {sends_column(days)}"
        for days in sorted({cap.days for cap in fatigue.caps})
    )
    return f"""
        select
            customer_token,
            max(event_day) as last_send,
            any_value(day) - max(event_day) as days_since_send
            {windows}
        from {sends}, (select date '{as_of.key}' as day)
        where event = 'sent' and event_day < day
        group by customer_token
    """  # noqa: S608  (names and numbers of ours)


def sends_column(days: int) -> str:
    return f"sends_{days}d"


def by_tier(caps: Iterable[FrequencyCap], result: dict[str, str], *, otherwise: str = "null") -> str:
    """A CASE over the tiers in the order written: the first whose rule holds gives its `result`, else `otherwise`."""
    cases = []
    for cap in caps:
        if cap.when is None:
            otherwise = result[cap.tier]
            break
        cases.append(f'when "{tier_column(cap.tier)}" then {result[cap.tier]}')
    return f"case {' '.join(cases)} else {otherwise} end" if cases else otherwise


def tier_name(fatigue: Fatigue) -> str:
    """Expression for the customer's engagement tier; NULL when none fits, and then no cap applies."""
    return by_tier(fatigue.caps, {cap.tier: f"'{cap.tier}'" for cap in fatigue.caps}, otherwise="null::varchar")


def gap_too_small(fatigue: Fatigue) -> str:
    """Condition over a left-joined `sends_query`: a customer never mailed has no gap to keep."""
    return f"coalesce(days_since_send <= {fatigue.min_gap_days}, false)"


def cap_reached(fatigue: Fatigue) -> str:
    """Condition over a left-joined `sends_query` and the column `tier`."""
    cases = " ".join(
        f"when '{cap.tier}' then coalesce({sends_column(cap.days)}, 0) >= {cap.sends}" for cap in fatigue.caps
    )
    return f"case tier {cases} else false end" if cases else "false"
