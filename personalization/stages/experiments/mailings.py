"""What the mailings on record led to: the rate of conversions by kind of mailing, compared by a chi-squared test.

Every mailing is watched for equally long. The test takes one mailing a customer, the first, because mailings to the
same customer are not independent; the rates over all mailings are shown beside it, untested.
"""

from __future__ import annotations

from personalization.as_of import AsOf
from personalization.stages.experiments.analysis import Arm
from personalization.stages.experiments.readout import Comparison, ResultRow
from personalization.warehouse import Session

NAME = "mailings_on_record"


def compare_mailing_kinds(session: Session, as_of: AsOf, window_days: int) -> list[ResultRow]:
    """Conversions within `window_days` after the send, for mailings whose window has closed.

    A window closes with `as_of` or with the last recorded purchase, whichever is earlier; and mailings sent before the
    first recorded purchase are left out. What happened outside the record is not known, and would count as nothing.
    The kind with the most mailed customers is the one that the others are compared with.
    """
    first, every = _counts(session, as_of, window_days)
    if not first:
        return []
    metric = f"conversion_{window_days}d"
    reference = max(first, key=lambda arm: (arm.n, arm.name)).name
    first_mailing = Comparison(NAME, metric, reference, "observed", label=f"first mailing, against {reference}")
    all_mailings = Comparison(NAME, metric, reference, "observed", label="all mailings")
    note = "Counts mailings: a customer mailed several times counts several times, so there is no test."
    tested = (
        first_mailing.read_out(first) if len(first) > 1 else first_mailing.descriptive(first, "There is one kind only.")
    )
    return tested + all_mailings.descriptive(every, note)


def _counts(session: Session, as_of: AsOf, window_days: int) -> tuple[list[Arm], list[Arm]]:
    rows = session.rows(
        """
        with record as (
            select min(event_day) as begins, least($as_of, max(event_day) + 1) as ends
            from marts.customer_day
            where event = 'purchase' and event_day < $as_of
        ),
        mailings as (
            select s.customer_token, s.campaign_id, min(s.event_day) as sent_on
            from marts.email_events s, record
            where s.event = 'sent'
            group by s.customer_token, s.campaign_id
            having sent_on >= any_value(begins) and sent_on + $window <= any_value(ends)
        ),
        observed as (
            select
                m.customer_token,
                coalesce(h.kind, 'unnamed') as kind,
                row_number() over (partition by m.customer_token order by m.sent_on, m.campaign_id) as number,
                exists (
                    from marts.email_events c
                    where c.event = 'converted'
                        and c.customer_token = m.customer_token
                        and c.campaign_id = m.campaign_id
                        and c.event_day >= m.sent_on
                        and c.event_day < m.sent_on + $window
                ) as converted
            from mailings m
            left join marts.campaign_history h using (campaign_id)
        )
        select
            kind,
            count(*) filter (number = 1),
            count(*) filter (number = 1 and converted),
            count(*),
            count(*) filter (converted)
        from observed
        group by kind
        order by kind
        """,
        {"as_of": as_of.day, "window": window_days},
    )
    return [Arm(row[0], row[1], row[2]) for row in rows if row[1]], [Arm(row[0], row[3], row[4]) for row in rows]
