"""A day with small tables of every stage: forty customers, two campaigns, two destinations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from personalization.as_of import AsOf
from personalization.ledger import Ledger
from personalization.ledger.export_schema import acknowledged, export_runs, outbox
from personalization.runtime import Runtime
from personalization.warehouse import Session
from personalization.workspace import Workspace

DAY = AsOf.parse("2017-12-03", "America/New_York")
CUSTOMERS, SCORED, SENDS, REJECTED = 40, 36, 24, 3
_THEN = datetime(2017, 12, 3, 12, tzinfo=UTC)

PROGRAM = {
    "program": """
name: Corner <shop> & sons
timezone: America/New_York
start: 2017-06-04
notes: ["Addresses in these data are made up & marked *so*."]
""",
    "sources": "sources: {}",
    "consent": "purposes: {email.marketing: {title: Mail}}",
    "segments": """
segments:
  loyal: {title: Comes every week, rule: orders_84d > 10}
  young: {title: Young families, rule: "age_band = '19-24'", unknown: hold, min_completeness: 0.5}
""",
    "campaigns": """
campaigns:
  comeback: {title: Come back, purpose: email.marketing, audience: recency_days > 28}
  thanks: {title: Thank you, purpose: email.marketing, audience: orders_84d > 1}
""",
    "destinations": """
destinations:
  mailchimp: {platform: mailchimp, api_key: "${env:KEY}", list_id: a, fields: [{name: CAMPAIGN, column: campaign}]}
  file: {platform: csv, fields: [{name: CAMPAIGN, column: campaign}]}
""",
}


def make_workspace(root: Path) -> Runtime:
    """A workspace with a program and an empty ledger, where no stage has run."""
    folder = root / "program"
    folder.mkdir(parents=True)
    for name, text in PROGRAM.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    (root / "var").mkdir()
    return Runtime(Workspace.at(root))


def make_full_day(root: Path) -> Runtime:
    """The same workspace after every stage has run."""
    runtime = make_workspace(root)
    with runtime.warehouse.connect() as session:
        fill_warehouse(session)
    with runtime.ledger as ledger:
        export_to(ledger, "mailchimp", rejected=REJECTED)
        export_to(ledger, "file")
    return runtime


def fill_warehouse(session: Session) -> None:
    for statement in _TABLES:
        session.execute(statement)


def export_to(ledger: Ledger, destination: str, *, rejected: int = 0, planned: int = SENDS, lost: int = 0) -> None:
    """Enter a finished run: `lost` rows are in no state that ends, so that the books stay open."""
    with ledger.begin() as connection:
        run = connection.execute(
            insert(export_runs)
            .values(
                destination=destination,
                as_of=DAY.key,
                state="closed",
                plan_hash="ab" * 32,
                mapping_version="1",
                desired=planned,
                unchanged=0,
                planned=planned,
                adds=planned,
                changes=0,
                removes=0,
                retractions=0,
                epoch=1,
                started_at=_THEN,
            )
            .returning(export_runs.c.run)
        ).scalar_one()
        for number in range(planned):
            state = "rejected" if number < rejected else "in_flight" if number < rejected + lost else "acked"
            contact = {
                "destination": destination,
                "customer_token": f"t1_k_c{number}",
                "address_token": f"t1_k_e{number}",
                "campaign": "thanks",
                "purpose": "email.marketing",
                "payload": "{}",
                "row_hash": "x",
                "run": run,
                "state": state,
            }
            reason = "looks fake" if state == "rejected" else None
            connection.execute(
                insert(outbox).values(**contact, operation="add", reason=reason, attempt=1, epoch=1, changed_at=_THEN)
            )
            if state == "acked":
                connection.execute(
                    insert(acknowledged)
                    .prefix_with("or ignore")
                    .values(**contact | {"state": "present"}, acked_at=_THEN)
                )


_TABLES = [
    *(
        f"create schema {name}"
        for name in ("validation", "marts", "features", "scores", "segments", "decisions", "experiments")
    ),
    """create table validation.books as from (values
        ('customers', 41::bigint, 40::bigint, 1::bigint, 0::bigint), ('order_lines', 5200, 5000, 150, 50)
        ) t(entity, landed, valid, quarantined, superseded)""",
    """create table validation.reasons as from (values
        ('order_lines', 'quarantined', 'ordered_at: not a date', 120::bigint),
        ('order_lines', 'quarantined', 'amount: missing', 30), ('customers', 'quarantined', 'customer_key: missing', 1),
        ('customers', 'value_dropped', 'country: no such code', 4)
        ) t(entity, outcome, reason, rows)""",
    """create table validation.completeness as from (values
        ('landed.customers', 'age_band', 40::bigint, 13::bigint, 0.325), ('landed.customers', 'email_token', 40, 40, 1),
        ('landed.customers', 'phone_token', 40, 0, 0)
        ) t(table_name, column_name, rows, known, share)""",
    f"""create table marts.customers as
        select 't1_k_c' || i as customer_token, 't1_k_e' || i as email_token, 1::bigint as records
        from range({CUSTOMERS}) r(i)""",
    """create table marts.orders as
        select 't1_k_c' || (i % 40) as customer_token, date '2017-09-01' + (i % 100)::integer as order_day
        from range(1000) r(i)""",
    f"""create table scores.propensity as
        select date '2017-12-03' as as_of, 't1_k_c' || i as customer_token, (i + 1) / 40.0::double as purchase_score
        from range({SCORED}) r(i)""",
    f"""create table features.customer_labels as
        select date '2017-12-03' as as_of, 't1_k_c' || i as customer_token, i % 4 <> 0 as purchased
        from range({CUSTOMERS}) r(i)""",
    """create table scores.importance as from (values
        (date '2017-12-03', 'recency_days', 0.75::double), (date '2017-12-03', 'orders_84d', 0.25::double)
        ) t(as_of, feature, mean_abs_contribution)""",
    """create table scores.model_quality as
        select date '2017-12-03' as as_of, '2017-12-03-abcd' as model_version, *, null::double as auc_gain,
            null::double as auc_gain_low, null::double as auc_gain_high
        from (values
            ('logistic_regression', 'selection', date '2017-11-05', 36, 0.8125::double, 0.125::double, 0.4::double,
                0.75::double, true),
            ('recency', 'selection', date '2017-11-05', 36, 0.75, 0.15, 0.5, 0.75, false),
            ('base_rate', 'selection', date '2017-11-05', 36, 0.5, 0.19, 0.6, 0.75, false)
        ) t(model, split, cutoff, n, roc_auc, brier, log_loss, base_rate, chosen)""",
    """create table segments.summary as from (values
        (date '2017-12-03', 'young', 'Young families', 7, 13, 40, 0.175, 0.3, 'incomplete', 2, 5, 'a'),
        (date '2017-12-03', 'loyal', 'Comes every week', 21, 0, 40, 0.525, 1.0, 'ok', 4, 1, 'a')
        ) t(
            as_of, segment, title, size, held, candidates, share, completeness, state, entered, exited, rule_version
        )""",
    """create table segments.membership as
        select date '2017-12-03' as as_of, 'loyal' as segment, 't1_k_c' || i as customer_token, 'in' as status
        from range(21) r(i)
        union all
        select date '2017-12-03', 'young', 't1_k_c' || i, if(i < 7, 'in', 'held') from range(20) r(i)""",
    f"""create table decisions.decisions as
        select date '2017-12-03' as as_of, campaign, 't1_k_c' || i as customer_token, reason,
            if(reason = 'send', 'send', 'withheld') as outcome
        from (
            select 'comeback' as campaign, i, if(i < 6, 'no_consent', 'send') as reason from range(10) r(i)
            union all
            select 'thanks', i, case when i < {SENDS} - 4 then 'send' when i < 30 then 'lost_to:comeback'
                else 'fatigue_gap' end
            from range(38) r(i)
        )""",
    """create table decisions.summary as
        select as_of, campaign, outcome, reason, count(*) as customers from decisions.decisions group by all""",
    """create table experiments.results as from (values
        (date '2017-12-03', 'hero v1', 'against weekly', 'purchase_28d', 'personal', 20, null::bigint, null::double,
            null::double, null::double, null::double, null::double, 0.5::double, 'waiting', 'Known from January on.'),
        (date '2017-12-03', 'mailings_on_record', 'first mailing, against A', 'conversion_28d', 'A', 100, 10, 0.1, null,
            null, null, 0.03, null, 'association', 'Not randomised.'),
        (date '2017-12-03', 'mailings_on_record', 'first mailing, against A', 'conversion_28d', 'B', 50, 15, 0.3, 0.2,
            0.0625, 0.3375, 0.03, null, 'association', 'Not randomised.')
        ) t(as_of, experiment, comparison, metric, arm, n, conversions, rate, diff, diff_low, diff_high, p_value, srm_p,
            verdict, note)""",
]
