"""What a destination should hold, from the day's decisions: one row a contact, checked and in canonical form.

All in one query. What is hashed is exactly what is sent: text in NFC, numbers as decimals with up to four places,
dates as ISO, an explicit null; so the type or layout of a column can change without anything being sent again.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.errors import DataError, ProgramError, did_you_mean
from personalization.program import Program
from personalization.program.models import Destination, DestinationField
from personalization.stages.export.adapters.registry import limits_of, mapping_version
from personalization.warehouse import Session

DECISIONS, PROFILE = "decisions.decisions", "features.customer_profile"
DESIRED = "_desired"


def create_desired(
    session: Session,
    program: Program,
    name: str,
    destination: Destination,
    as_of: AsOf,
    links: pa.Table,
) -> None:
    """Make the temporary table `_desired` of all contacts that should be at a destination.

    Columns: `address_token`, `customer_token`, `campaign`, `purpose`, `priority`, `payload` (canonical JSON),
    `row_hash`, and `problem`: why the row can't be sent, or NULL. `links` is the `link_table` of the destination.
    An address may have several rows: `mark_doubles` says which of them is sent.

    Raises
    ------
    DataError
        There are no decisions in the warehouse.
    ProgramError
        A field reads a column that neither the decisions nor the profile have.
    """
    if not session.has_table(DECISIONS):
        raise DataError("there are no decisions in the warehouse", hint="run the decisions stage first")
    columns = _sources(session, program, name, destination.fields)
    campaigns = [
        (campaign, settings.purpose, settings.priority)
        for campaign, settings in program.campaigns.items()
        if name in settings.destinations
    ]
    campaign_table = pa.table(
        {
            "campaign": pa.array([row[0] for row in campaigns], pa.string()),
            "purpose": pa.array([row[1] for row in campaigns], pa.string()),
            "priority": pa.array([row[2] for row in campaigns], pa.int64()),
        }
    )
    fields = sorted(destination.fields, key=lambda field: field.name)
    text_bytes = limits_of(destination).text_bytes
    values = [f"$name_{number}, {_canonical(columns[field.name], field)}" for number, field in enumerate(fields)]
    problems = [_problem(columns[field.name], field, number, text_bytes) for number, field in enumerate(fields)]
    profile = any(column.startswith("p.") for column in columns.values())
    linked = any(field.link for field in fields)
    query = f"""
        create or replace temp table {DESIRED} as
        with rows as (
            select
                d.email_token as address_token,
                d.customer_token,
                d.campaign,
                c.purpose,
                c.priority,
                {f"json_object({', '.join(values)})" if values else "'{}'"}::varchar as payload,
                case
                    when d.email_token is null then 'no address'
                    else nullif(concat_ws('; ', {", ".join(problems) or "null"}), '')
                end as problem
            from {DECISIONS} d
            join _campaigns c using (campaign)
            {f"left join {PROFILE} p on p.customer_token = d.customer_token and p.as_of = d.as_of" if profile else ""}
            {"left join _links l on l.customer_token = d.customer_token" if linked else ""}
            where d.as_of = $day and d.outcome = 'send'
        )
        select
            * exclude (problem),
            sha256(concat_ws(chr(31), $version, customer_token, address_token, payload)) as row_hash,
            problem
        from rows
    """  # noqa: S608  (column names are checked against the tables, everything else is a parameter)
    names = {f"name_{number}": field.name for number, field in enumerate(fields)}
    with session.registered(_campaigns=campaign_table, _links=links):
        session.execute(query, {**names, "day": as_of.day, "version": mapping_version(destination)})


def mark_doubles(session: Session, known: pa.Table) -> None:
    """Of several rows of `_desired` with one address let one be sent; the others get it as their `problem`.

    The campaign of highest priority is sent; of several customers with one address and campaign the one who is among
    the contacts at the destination, `known`, already keeps it.
    """
    with session.registered(_known=known):
        session.execute(_DOUBLES)


_DOUBLES = f"""
    update {DESIRED} d
    set problem = 'the address has another row already'
    from (
        with doubles as (
            select address_token, customer_token, campaign, priority
            from {DESIRED}
            where hash(address_token) in (from {DESIRED} select hash(address_token) group by all having count(*) > 1)
                and address_token is not null
        ),
        holders as (select address_token, customer_token from _known semi join doubles using (address_token))
        select address_token, customer_token, campaign
        from doubles left join (select *, true as holds from holders) using (address_token, customer_token)
        qualify row_number() over (
            partition by address_token order by priority, campaign, holds nulls last, customer_token
        ) > 1
    ) l
    where d.address_token = l.address_token and d.customer_token = l.customer_token and d.campaign = l.campaign
"""  # noqa: S608  (names of ours)


def _sources(session: Session, program: Program, name: str, fields: Sequence[DestinationField]) -> dict[str, str]:
    """The SQL column that each field reads: of the links, of the decisions, else of the profile."""
    decided = _columns(session, DECISIONS)
    profile = _columns(session, PROFILE) if session.has_table(PROFILE) else set()
    found, problems = {}, []
    for number, field in enumerate(fields):
        if field.link:
            found[field.name] = f'l."{field.link}"'
            continue
        if field.column in decided or field.column in profile:
            alias = "d" if field.column in decided else "p"
            found[field.name] = f'{alias}."{field.column}"'
            continue
        problems.append(
            ProgramError(
                f"destinations.{name}: field {field.name} reads the column '{field.column}', which there is not "
                f"({did_you_mean(field.column, decided | profile)})",
                at=program.position("destinations", ("destinations", name, "fields", number, "column")),
            )
        )
    if problems:
        raise ProgramError(f"{len(problems)} problems in destination '{name}'", problems=problems)
    return found


def _columns(session: Session, table: str) -> set[str]:
    return {row[0] for row in session.rows(f"select column_name from (describe {table})")}  # noqa: S608


def _canonical(column: str, field: DestinationField) -> str:
    """SQL for the text that stands for a value; NULL when it is unknown or does not fit."""
    if field.type == "number":
        return f"rtrim(rtrim(try_cast({column} as decimal(38, 4))::varchar, '0'), '.')"
    if field.type == "date":
        return f"try_cast({column} as date)::varchar"
    return f"nfc_normalize({column}::varchar)"


def _problem(column: str, field: DestinationField, number: int, text_bytes: int | None) -> str:
    """SQL for what is wrong with a value, without showing it; NULL when it fits."""
    canonical = _canonical(column, field)
    if field.type in ("number", "date"):
        return (
            f"case when {column} is not null and {canonical} is null then $name_{number} || ': not a {field.type}' end"
        )
    cases = []
    if field.max_length is not None:
        longest = int(field.max_length)
        cases.append(
            f"when length({canonical}) > {longest} then "
            f"$name_{number} || ': ' || length({canonical}) || ' characters, at most {longest} fit'"
        )
    if text_bytes is not None:
        cases.append(
            f"when strlen({canonical}) > {text_bytes} then "
            f"$name_{number} || ': ' || strlen({canonical}) || ' bytes, at most {text_bytes} fit'"
        )
    return f"case {' '.join(cases)} end" if cases else "null"
