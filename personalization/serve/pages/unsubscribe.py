"""One-click unsubscribe as mail programs do it (RFC 8058), and the page for people who click on the link.

Only a POST acts: whatever fetches links in e-mails, such as virus scanners, must not unsubscribe anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from personalization.serve.pages.incoming import BadRequest, Incoming
from personalization.serve.pages.record import ONE_CLICK, Decision

if TYPE_CHECKING:
    from personalization.serve.pages.routes import Site

FIELD, VALUE = "List-Unsubscribe", "One-Click"


def answer(site: Site, incoming: Incoming) -> Response:
    """Leave every e-mail purpose for marketing, whichever of them the mail was sent for."""
    visitor, language = site.visitor(incoming, "unsubscribe")
    if incoming.posts:
        if not _is_one_click(incoming):
            raise BadRequest(400)
        decision = Decision(dict.fromkeys(site.recorder.marketing, False), objects=True)
        site.recorder.record(visitor, decision, site.circumstances(incoming, ONE_CLICK, language))
        visitor = site.again(visitor)
    done = all(visitor.states[purpose].state == "withdrawn" for purpose in site.recorder.marketing)
    return site.page(
        language,
        "unsubscribe",
        done=done,
        address=visitor.address or language.word("someone"),
        preferences=f"{site.link_to('preferences', visitor.link)}?lang={language.tag}",
    )


def _is_one_click(incoming: Incoming) -> bool:
    """The field of RFC 8058, 3.1, in a form of either kind (`multipart/form-data` is not taken apart for one field)."""
    if incoming.form:
        return incoming.value(FIELD) == VALUE
    return FIELD.encode() in incoming.body and VALUE.encode() in incoming.body
