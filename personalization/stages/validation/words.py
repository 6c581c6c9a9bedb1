"""The words for e-mail events that the dbt macro `email_event` understands; a test compares the two lists."""

from __future__ import annotations

_SENT = {"sent", "send", "delivered", "delivery", "mailed", "mailing", "processed"}
_OPENED = {"opened", "open", "opens", "unique_open", "first_open"}
_MACHINE_OPENED = {"machine_opened", "machine_open", "proxy_open", "bot_open", "prefetched"}
_CLICKED = {"clicked", "click", "clicks", "unique_click", "link_click"}
_CONVERTED = {"converted", "conversion", "convert", "redeemed", "redemption", "purchase", "purchased"}
_BOUNCED = {"bounced", "bounce", "hard_bounce", "soft_bounce", "hardbounce", "softbounce"}
_NOT_DELIVERED = {"blocked", "dropped", "undelivered"}
_UNSUBSCRIBED = {"unsubscribed", "unsubscribe", "unsub", "opt_out", "optout", "list_unsubscribe"}
_COMPLAINED = {"complained", "complaint", "spam", "spam_report", "spamreport", "abuse", "abuse_report"}

EMAIL_EVENT_WORDS = frozenset(
    _SENT | _OPENED | _MACHINE_OPENED | _CLICKED | _CONVERTED | _BOUNCED | _NOT_DELIVERED | _UNSUBSCRIBED | _COMPLAINED
)
