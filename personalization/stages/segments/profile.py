"""`segments.profile`: what every rule reads about a customer, features and scores side by side, for each as_of day."""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.rules import Catalog
from personalization.warehouse import Session
from personalization.warehouse.versions import content_version

PROFILE = "segments.profile"
FEATURES, SCORES = "features.customer_profile", "scores.propensity"


def write_profile(session: Session, catalog: Catalog, as_of: AsOf) -> None:
    """Replace the profile of one day by the customer profile joined with the scores, unless it is that already.

    Customers without a score have NULL there, as have all while no model has scored the day.

    Raises
    ------
    DataError
        When there are no features for the day, or columns are not as the rule catalog says.
    """
    made_from = f"{as_of.key} of {content_version(session, FEATURES)} and {content_version(session, SCORES)}"
    if not session.has_table(PROFILE) or session.note(PROFILE) != made_from:
        _require_features(session, as_of)
        _write(session, as_of)
        session.set_note(PROFILE, made_from)
    catalog.verify(session, PROFILE)


def _write(session: Session, as_of: AsOf) -> None:
    scores = SCORES if session.has_table(SCORES) else _NO_SCORES
    session.replace_day(
        PROFILE,
        as_of,
        f"""
        select p.*, s.purchase_score, s.purchase_band
        from {FEATURES} as p
        left join {scores} as s using (as_of, customer_token)
        where p.as_of = ?
        """,  # noqa: S608  (tables of ours)
        [as_of.day],
        order="customer_token",
    )


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
