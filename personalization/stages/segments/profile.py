"""`segments.profile`: what every rule reads about a customer, features and scores side by side, for each as_of day."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.rules import Catalog
from personalization.stages.segments.topics import (
    CHOSEN,
    NOTHING_CHOSEN,
    topic_columns,
    topics_query,
    topics_version,
)
from personalization.warehouse import Session
from personalization.warehouse.versions import content_version

PROFILE = "segments.profile"
FEATURES, SCORES = "features.customer_profile", "scores.propensity"


def write_profile(
    session: Session, catalog: Catalog, as_of: AsOf, topics: Iterable[str] = (), chosen: pa.Table = NOTHING_CHOSEN
) -> None:
    """Replace the profile of one day by the customer profile joined with the scores, unless it is that already.

    Customers without a score have NULL there, as have all while no model has scored the day; and NULL for each of the
    program's `topics` that they have not said anything about (`chosen` is `read_topics` of the day).

    Raises
    ------
    DataError
        When there are no features for the day, or columns are not as the rule catalog says.
    """
    topics = list(topics)
    made_from = f"{as_of.key} of {content_version(session, FEATURES)} and {content_version(session, SCORES)}"
    if topics:
        made_from += f" and {topics_version(topics, chosen)}"
    if not session.has_table(PROFILE) or session.note(PROFILE) != made_from:
        _require_features(session, as_of)
        _write(session, as_of, topics, chosen)
        session.set_note(PROFILE, made_from)
    catalog.verify(session, PROFILE)


def _write(session: Session, as_of: AsOf, topics: list[str], chosen: pa.Table) -> None:
    scores = SCORES if session.has_table(SCORES) else _NO_SCORES
    with session.registered(**{CHOSEN: chosen}):
        query = profile_query(FEATURES, scores, topics)
        session.replace_day(PROFILE, as_of, query, [as_of.day], order="customer_token")


def profile_query(features: str, scores: str, topics: Iterable[str]) -> str:
    """The profile of the day `?`, from given tables of features and scores and the registered `_chosen_topics`."""
    topics = list(topics)
    joined = f"left join {topics_query(topics)} as t on t.customer_token = p.customer_token" if topics else ""
    return f"""
        select p.*, s.purchase_score, s.purchase_band{topic_columns(topics)}
        from {features} as p
        left join {scores} as s using (as_of, customer_token)
        {joined}
        where p.as_of = ?
    """  # noqa: S608  (tables of ours)


_NO_SCORES = """(
    select
        null::date as as_of, null::varchar as customer_token,
        null::double as purchase_score, null::varchar as purchase_band
    limit 0
)"""


def _require_features(session: Session, as_of: AsOf) -> None:
    """An empty day would empty every segment: it is an error, not a result."""
    if not session.has_table(FEATURES):
        raise DataError(f"the table {FEATURES} does not exist", hint="run the features stage first")
    days = [str(day) for (day,) in session.rows(f"select distinct as_of from {FEATURES} order by as_of")]  # noqa: S608
    if as_of.key not in days:
        found = f"it holds {', '.join(days)}" if days else "it is empty"
        raise DataError(
            f"{FEATURES} has no customers for {as_of.key}: {found}",
            hint=f"run the features stage for {as_of.key}; segments are left as they were",
        )
