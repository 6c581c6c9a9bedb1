"""What a cut asks DuckDB, over tables that it names for as long as it asks: see `Cut.tables`."""

IDENTIFIERS = """
    people as (
        select customer_token from identity join tokens using (identifier_token)
        union
        select customer_token from covers join tokens using (identifier_token)
        union
        select identifier_token from tokens
    ),
    identifiers as (
        select identifier_token from identity join people using (customer_token)
        union
        select customer_token from people
    )
"""

# What is looked at of identities and grants is first narrowed to these contacts, who may be few of many.
DOUBTFUL = """
    with tokens as (
        from these select customer_token as token
        union
        from these select address_token
    ),
    agreed as (from granted semi join tokens using (token)),
    known as (from identity semi join tokens on token = identifier_token),
    out_people as (
        select coalesce(i.customer_token, o.token) as person
        from out o left join identity i on i.identifier_token = o.token
        union all
        from covers select customer_token
        union all
        from out
    )
    select distinct t.*
    from these t
    left join known c on c.identifier_token = t.customer_token
    left join known a on a.identifier_token = t.address_token
    where not coalesce(
        coalesce(c.customer_token, t.customer_token) = t.customer_token
        and a.customer_token = t.customer_token
        and (t.customer_token in (from agreed) or t.address_token in (from agreed))
        and t.customer_token not in (from out_people)
        and t.address_token not in (from out_people),
        false
    )
"""

STOPPED = """
    select i.customer_token as key, min(s.reason) as reason
    from identifiers i join suppressed s using (identifier_token)
    group by i.customer_token
"""

# whose consent matters still: a suppressed contact is stopped whatever its person agreed to
ASKED = """
    with others as (from identifiers where customer_token not in (select key from stopped))
    select identifier_token as token from others
    union
    select customer_token from others
"""

BLOCKED = """
    select
        w.key,
        case
            when s.reason is not null then 'suppressed: ' || s.reason
            when c.state = 'withdrawn' then 'withdrawn'
            else 'no_consent'
        end as reason,
        s.reason is not null or coalesce(c.state = 'withdrawn', false) as opted_out
    from wanted w
    left join stopped s using (key)
    left join states c on c.customer_token = w.key and c.purpose = w.purpose
    where s.reason is not null
        or c.state = 'withdrawn'
        or (c.state is null and w.purpose not in (select purpose from unasked))
"""
