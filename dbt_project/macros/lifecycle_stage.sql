{#- Where somebody stands, by days since the last purchase; each stage ends where the next begins. -#}
{% macro lifecycle_stage(features) -%}
    case
        when {{ features }}.recency_days is null then 'prospect'
        when {{ features }}.recency_days <= 28 and {{ features }}.tenure_days <= 28 then 'new'
        when {{ features }}.recency_days <= 28 then 'active'
        when {{ features }}.recency_days <= 84 then 'at_risk'
        when {{ features }}.recency_days <= 365 then 'lapsed'
        else 'lost'
    end
{%- endmacro %}
