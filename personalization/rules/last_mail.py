"""`opened_previous_email(…)`: when the last mail was sent, then only what happened from that instant on."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from personalization.rules import tree as t
from personalization.rules.single_events import MINUTE_US, US, SingleEvents

MAIL = ("mailing", "open")
_SENT, _CAMPAIGN = "sent_us", "campaign_id"


def last_mail_query(columns: Mapping[t.OpenedPrevious, str], source: SingleEvents) -> exp.Select:
    """One row per customer who was mailed: 1 when the last mail was opened in time, else NULL.

    Of several mails sent at the last instant one opened is enough, so what happened since is looked at by campaign.
    """
    token = source.token
    sent = exp.select(exp.column(token), exp.alias_(exp.Max(this=exp.column(US)), _SENT))
    sent = sent.from_(source.read(("mailing",)).subquery("mailings")).group_by(token)
    since = exp.select(exp.Star()).from_(source.read(MAIL).subquery("mail")).join(sent.subquery("last"), using=token)
    since = since.where(exp.GTE(this=exp.column(US), expression=exp.column(_SENT)))
    campaigns = exp.select(exp.column(token), exp.alias_(_any(_is("mailing")), "was_sent"))
    for node, name in columns.items():
        campaigns = campaigns.select(exp.alias_(_any(_opened(node)), name))
    campaigns = campaigns.from_(since.subquery("since")).group_by(token, _CAMPAIGN)
    was_sent = exp.Not(this=exp.Is(this=exp.column("was_sent"), expression=exp.Null()))
    outcomes = [
        exp.alias_(exp.Max(this=exp.Case().when(was_sent.copy(), exp.column(name))), name) for name in columns.values()
    ]
    return exp.select(exp.column(token), *outcomes).from_(campaigns.subquery("campaigns")).group_by(token)


def _opened(node: t.OpenedPrevious) -> exp.Expr:
    if node.minutes is None:
        return _is("open")
    end = exp.Add(this=exp.column(_SENT), expression=exp.Literal.number(node.minutes * MINUTE_US))
    return exp.and_(_is("open"), exp.LT(this=exp.column(US), expression=end))


def _is(event: str) -> exp.Expr:
    return exp.column("event").eq(exp.Literal.string(event))


def _any(condition: exp.Expr) -> exp.Expr:
    """1 when it is true of one of the rows, else NULL."""
    return exp.Max(this=exp.Case().when(condition, exp.Literal.number(1)))
