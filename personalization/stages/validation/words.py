"""The words for e-mail events that the dbt macro `email_event` understands; a test compares the two lists."""

from __future__ import annotations

EMAIL_EVENT_WORDS = frozenset(
    ["sent", "send", "delivered", "delivery", "mailed", "mailing", "processed", "opened", "open", "opens", "unique_open", "first_open", "clicked", "click", "clicks", "unique_click", "link_click", "converted", "conversion", "convert", "redeemed", "redemption", "purchase", "purchased", "bounced", "bounce", "hard_bounce", "soft_bounce", "hardbounce", "softbounce", "blocked", "dropped", "undelivered", "unsubscribed", "unsubscribe", "unsub", "opt_out", "optout", "list_unsubscribe", "complained", "complaint", "spam", "spam_report", "spamreport", "abuse", "abuse_report"]
)
