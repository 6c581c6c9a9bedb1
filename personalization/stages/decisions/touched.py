"""Decisions about touched customers only; the day's summary is counted again for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalization.as_of import AsOf
from personalization.program import Program
from personalization.stages.decisions.campaigns import running_campaigns
from personalization.stages.decisions.decide import decide, mark_decided, read_releases
from personalization.stages.decisions.permission import read_permissions
from personalization.stages.segments.touched import TOUCHED_PROFILE
from personalization.warehouse import Session
from personalization.warehouse.touched_models import TOUCHED, TOUCHED_TOKENS, touched_rows

if TYPE_CHECKING:
    from personalization.ledger import Ledger
    from personalization.ledger.news import Position


def decide_touched(session: Session, ledger: Ledger, program: Program, as_of: AsOf, seen: Position) -> None:
    """Replace the decisions about the people in `_touched`. Call it in a transaction.

    Parameters
    ----------
    seen : Position
        Where the ledger was when the touched people were collected.

    Raises
    ------
    DataError
        The decisions do not add up to the candidates.
    LedgerError
        Consent or suppressions can't be read.
    """
    campaigns = running_campaigns(program, as_of)
    purposes = (running.campaign.purpose for running in campaigns)
    permissions = read_permissions(ledger, session, purposes, as_of, among=TOUCHED)
    tokens = [token for (token,) in session.rows(f"select token from {TOUCHED_TOKENS}")]  # noqa: S608
    releases = read_releases(ledger, program, campaigns, as_of, tokens)
    tables = {
        "profile": TOUCHED_PROFILE,
        "customer_day": touched_rows("marts.customer_day"),
        "moments": touched_rows("marts.moments"),
    }
    decide(
        session,
        program,
        campaigns,
        permissions,
        as_of,
        releases,
        among=TOUCHED,
        sends=touched_rows("marts.email_events"),
        **tables,
    )
    mark_decided(session, program, seen)
