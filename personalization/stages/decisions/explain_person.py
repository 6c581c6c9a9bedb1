"""What is known about one customer before any campaign is looked at: facts on record, score, segments, ledger."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.rules import Facts, Rule, explain
from personalization.rules.compile import CUSTOMER_DAY
from personalization.stages.decisions.activity import ACTS, horizon
from personalization.stages.decisions.candidates import MEMBERSHIP
from personalization.stages.decisions.explanation import Contribution, RawFacts, Score, SegmentPart
from personalization.stages.decisions.fatigue import SENDS, horizon_days, named_events
from personalization.stages.decisions.gate_inputs import GateInputs, Release
from personalization.stages.decisions.governed import GOVERNOR
from personalization.stages.decisions.permission import IDENTITY
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger

SCORING_PURPOSE = "personalization.ml_scoring"


def gate_inputs(
    session: Session, ledger: Ledger, program: Program, profile: dict[str, Any], token: str, as_of: AsOf
) -> GateInputs:
    """What the gates look at, read for one customer alone."""
    releases = _releases(session, ledger, program, token, as_of)
    return GateInputs(
        token=token,
        consents=_consents(session, ledger, program, token, as_of),
        suppression=_suppression(session, ledger, token),
        profile=profile,
        sends=_sends(session, token, as_of),
        released=_unreported(session, program, releases, token, as_of),
        spent={
            release.campaign
            for release in releases
            if release.ended and release.version == str(program.campaigns[release.campaign].version)
        },
        win_backs=[release for release in releases if program.campaigns[release.campaign].win_back],
        acts=_acts(session, program, token, as_of),
        choice=_choice(session, ledger, token, as_of),
        governor=_governor(session, as_of),
        draws=ledger.kept.draws_of(token),
    )


def one_row(session: Session, query: str, as_of: AsOf, token: str) -> dict[str, Any]:
    """The one row of a query as a mapping; empty when there is none."""
    rows: list[dict[str, Any]] = session.arrow(query, [as_of.day, token]).to_pylist()
    return rows[0] if rows else {}


def raw_facts(session: Session, program: Program, profile: dict[str, Any], token: str, as_of: AsOf) -> RawFacts:
    bought = one_row(
        session,
        """
        select count(*) as orders, coalesce(sum(amount), 0) as spend, max(order_day) as last_purchase
        from marts.orders
        where order_day < $1 and customer_token = $2
        """,
        as_of,
        token,
    )
    mailed = one_row(
        session,
        f"""
        select
            coalesce(sum(events) filter (event = 'sent'), 0)::bigint as mailings,
            max(event_day) filter (event = 'sent') as last_mailing,
            coalesce(sum(events) filter (event = 'converted'), 0)::bigint as conversions
        from {SENDS}
        where event_day < $1 and customer_token = $2
        """,  # noqa: S608
        as_of,
        token,
    )
    has_address = profile["email_token"] is not None
    return RawFacts(**bought, **mailed, currency=program.settings.currency, has_address=has_address)


def score_of(
    session: Session, program: Program, profile: dict[str, Any], inputs: GateInputs, token: str, as_of: AsOf
) -> Score:
    if profile["purchase_score"] is None:
        purpose = program.purposes.get(SCORING_PURPOSE)
        asked = purpose is not None and purpose.needs_grant
        state = inputs.consents.get(SCORING_PURPOSE, ("" if asked else "granted",))[0]
        reasons = {"granted": "no model has scored this customer", "withdrawn": f"withdrew from {SCORING_PURPOSE}"}
        return Score(None, None, None, [], reasons.get(state, f"never agreed to {SCORING_PURPOSE}"))
    version = None
    if session.has_table("scores.propensity"):
        query = "select model_version from scores.propensity where as_of = $1 and customer_token = $2"
        version = one_row(session, query, as_of, token).get("model_version")
    contributions: list[Contribution] = []
    if session.has_table("scores.explanations"):
        found = session.rows(
            """
            select feature, value, contribution
            from scores.explanations
            where as_of = ? and customer_token = ?
            order by rank
            """,
            [as_of.day, token],
        )
        contributions = [Contribution(*row) for row in found]
    return Score(profile["purchase_score"], profile["purchase_band"], version, contributions, None)


def segment_parts(
    session: Session, program: Program, rules: dict[str, Rule], facts: Facts, token: str, as_of: AsOf
) -> list[SegmentPart]:
    """The given segments with the recorded membership and the clauses' values."""
    recorded = dict(
        session.rows(
            f"select segment, status from {MEMBERSHIP} where as_of = ? and customer_token = ?",  # noqa: S608
            [as_of.day, token],
        )
    )
    return [
        SegmentPart(name, program.segments[name].title, recorded.get(name, "out"), explain(rule, facts))
        for name, rule in sorted(rules.items())
    ]


def _consents(
    session: Session, ledger: Ledger, program: Program, token: str, as_of: AsOf
) -> dict[str, tuple[str, datetime]]:
    from personalization.ledger import customer_consent

    query = f"select identifier_token, customer_token from {IDENTITY} where customer_token = ?"  # noqa: S608
    identity = session.arrow(query, [token])
    found: dict[str, tuple[str, datetime]] = {}
    for purpose in program.purposes:
        snapshot = ledger.consent.snapshot(purpose, effective_before=as_of.instant)
        for row in customer_consent(snapshot, identity).to_pylist():
            found[purpose] = (row["state"], row["effective_at"])
    return found


def _suppression(session: Session, ledger: Ledger, token: str) -> str | None:
    """The reason recorded first for any of the person's identifiers."""
    rows = session.rows(f"select identifier_token from {IDENTITY} where customer_token = ?", [token])  # noqa: S608
    identifiers = {token, *(row[0] for row in rows)}
    listed = ledger.suppressions.snapshot().to_pylist()
    return next((row["reason"] for row in listed if row["identifier_token"] in identifiers), None)


def _acts(session: Session, program: Program, token: str, as_of: AsOf) -> dict[str, date]:
    """The day of the last act of each kind, as far back as the decision looks."""
    return dict(
        session.rows(
            f"""
            select event, max(event_day) from {CUSTOMER_DAY}
            where customer_token = ? and event in ({", ".join(f"'{act}'" for act in ACTS)})
                and event_day < ? and event_day >= ?
            group by event
            """,  # noqa: S608  (names of ours)
            [token, as_of.day, as_of.shift(-horizon(program.settings.sunset)).day],
        )
    )


def _choice(session: Session, ledger: Ledger, token: str, as_of: AsOf) -> str | None:
    query = f"select identifier_token from {IDENTITY} where customer_token = ?"  # noqa: S608
    tokens = [token, *(row[0] for row in session.rows(query, [token]))]
    return ledger.preferences.person(tokens, effective_before=as_of.instant).frequency


def _governor(session: Session, as_of: AsOf) -> dict[str, dict[str, Any]]:
    if not session.has_table(GOVERNOR):
        return {}
    query = f"select * from {GOVERNOR} where as_of = ? and campaign is not null"  # noqa: S608
    return {row["campaign"]: row for row in session.arrow(query, [as_of.day]).to_pylist()}


def _sends(session: Session, token: str, as_of: AsOf) -> list[date]:
    """Business days of all sends before the day, one entry a send."""
    query = f"select event_day, events from {SENDS} where event = 'sent' and event_day < ? and customer_token = ?"  # noqa: S608
    return [day for day, events in session.rows(query, [as_of.day, token]) for _ in range(events)]


def _releases(session: Session, ledger: Ledger, program: Program, token: str, as_of: AsOf) -> list[Release]:
    """Releases of the person to campaigns of the program, before the day."""
    query = f"select identifier_token from {IDENTITY} where customer_token = ?"  # noqa: S608
    own = {token, *(row[0] for row in session.rows(query, [token]))}
    since = as_of.shift(-horizon_days(program)).day
    return [
        Release(date.fromisoformat(row["day"]), row["campaign"], row["version"], row["ended_day"] is not None)
        for row in ledger.sends.releases(as_of.day, since=since, campaigns=program.campaigns).to_pylist()
        if own & {row["customer_token"], row["address_token"]}
    ]


def _unreported(session: Session, program: Program, releases: list[Release], token: str, as_of: AsOf) -> list[Release]:
    from personalization.ledger.frequency import PastMailing, unreported

    since = as_of.shift(-horizon_days(program)).day
    reported = [
        PastMailing(row["event_day"], row["campaign"])
        for row in named_events(session, program, since=since, before=as_of.day).to_pylist()
        if row["customer_token"] == token
    ]
    left = unreported((PastMailing(release.day, release.campaign) for release in releases), reported)
    return [release for release in releases if PastMailing(release.day, release.campaign) in left]
