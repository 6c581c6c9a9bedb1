"""The second step of a double opt-in: a GET shows what it is about, only a POST confirms, and it counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from personalization.ledger.consent_event import DOUBLE_OPT_IN_ID, ConsentEvent
from personalization.ledger.links import ExpiredLink, UnknownLink
from personalization.serve.pages.incoming import Incoming
from personalization.serve.pages.record import CONFIRM_PAGE
from personalization.serve.pages.visitor import Visitor, confirm_until

if TYPE_CHECKING:
    from personalization.serve.pages.routes import Site


def answer(site: Site, incoming: Incoming) -> Response:
    """Confirm the grant that the link names."""
    visitor, language = site.visitor(incoming, "confirm")
    grant = _grant(visitor)
    if grant is None or grant.purpose not in site.program.purposes:
        raise UnknownLink
    done = visitor.states[grant.purpose].granted and grant.purpose not in visitor.waiting
    if not done:
        if visitor.waiting.get(grant.purpose) != grant or site.clock() > confirm_until(grant):
            raise ExpiredLink  # confirmed and withdrawn since, or overtaken by a newer request, or too late
        if incoming.posts:
            site.recorder.confirm(grant, site.circumstances(incoming, CONFIRM_PAGE, language))
            done = True
    purpose = site.program.purposes[grant.purpose]
    notice = purpose.notices[-1].text if purpose.notices else None
    return site.page(
        language,
        "confirm",
        done=done,
        title=language.text(purpose.title),
        notice=language.text(notice),
        address=visitor.address or language.word("someone"),
        preferences=f"{site.link_to('preferences', visitor.link, scope='')}?lang={language.tag}",
    )


def _grant(visitor: Visitor) -> ConsentEvent | None:
    for each in visitor.history:
        if each.event.waits and (each.event.evidence or {})[DOUBLE_OPT_IN_ID] == visitor.link.scope:
            return each.event
    return None
