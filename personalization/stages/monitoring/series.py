"""The data behind the plots that the summary does not hold: small Arrow tables, or `Missing`.

Sums are taken over decimals, because a sum of binary fractions depends on the order in which threads add them.
"""

from __future__ import annotations

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.stages.monitoring.summary import Missing
from personalization.warehouse import Session

WEEKS_SHOWN = 52
CALIBRATION_BINS = 10
SCORE_BIN_PERCENT = 5


def weekly_activity(session: Session, as_of: AsOf) -> pa.Table | Missing:
    """Active customers and orders by full weeks that end before `as_of`: week (its first day), customers, orders."""
    missing = Missing("marts.orders", "normalise")
    if not session.has_table("marts.orders"):
        return missing
    weeks = session.arrow(
        """
        with numbered as (
            select customer_token, order_day, (date_diff('day', order_day, $as_of) - 1) // 7 as weeks_ago
            from marts.orders
            where order_day < $as_of
        ), first as (
            select min(order_day) as day from numbered
        )
        select
            ($as_of::date - (7 * (weeks_ago + 1))::integer)::date as week,
            count(distinct customer_token) as customers,
            count(*) as orders
        from numbered
        where weeks_ago < $weeks
        group by all
        having week >= (select day from first)
        order by week
        """,
        {"as_of": as_of.day, "weeks": WEEKS_SHOWN},
    )
    return weeks if weeks.num_rows else missing


def score_distribution(session: Session, as_of: AsOf) -> pa.Table | Missing:
    """Scored customers in bins of five percent: low, high, customers."""
    missing = Missing("scores.propensity", "scoring")
    if not session.has_table("scores.propensity"):
        return missing
    bins = session.arrow(
        """
        with bins as (
            select unnest(range(0, 100, $step)) as low
        ), scored as (
            select least(floor(purchase_score * 100)::integer, 99) // $step * $step as low, count(*) as customers
            from scores.propensity
            where as_of = $as_of
            group by all
        )
        select low / 100.0 as low, (low + $step) / 100.0 as high, coalesce(customers, 0)::bigint as customers
        from bins left join scored using (low)
        order by low
        """,
        {"as_of": as_of.day, "step": SCORE_BIN_PERCENT},
    )
    return bins if sum(bins["customers"].to_pylist()) else missing


def feature_importance(session: Session, as_of: AsOf) -> pa.Table | Missing:
    """Mean absolute contribution of each feature to the scores of the day: feature, contribution."""
    missing = Missing("scores.importance", "scoring")
    if not session.has_table("scores.importance"):
        return missing
    features = session.arrow(
        """
        select feature, mean_abs_contribution::double as contribution
        from scores.importance
        where as_of = ? and mean_abs_contribution > 0
        order by contribution desc, feature
        """,
        [as_of.day],
    )
    return features if features.num_rows else missing


def calibration(session: Session, as_of: AsOf) -> pa.Table | Missing:
    """Predicted against observed in ten groups of equal size, by score: customers, buyers, predicted.

    Known only once the horizon after `as_of` lies within the landed data.
    """
    missing = Missing("features.customer_labels", "features")
    if not session.has_table("features.customer_labels"):
        return missing
    if not session.has_table("scores.propensity"):
        return Missing("scores.propensity", "scoring")
    groups = session.arrow(
        """
        with judged as (
            select
                purchased,
                purchase_score::decimal(18, 9) as score,
                ntile($bins) over (order by purchase_score, customer_token) as bin
            from scores.propensity
            inner join features.customer_labels using (as_of, customer_token)
            where as_of = $as_of
        )
        select
            count(*) as customers,
            count(*) filter (where purchased) as buyers,
            sum(score)::double / count(*) as predicted
        from judged
        group by bin
        order by bin
        """,
        {"as_of": as_of.day, "bins": CALIBRATION_BINS},
    )
    return groups if groups.num_rows else missing
