{#-
  A product's trade number (GTIN-8, 12, 13 or 14: EAN, UPC) as 14 digits with leading zeros, or NULL.
  `gtin_problem` says why a number was refused: it tells a typing mistake from a number that was never a GTIN.
-#}
{% macro gtin_digits(column) -%}
    regexp_replace({{ clean_text(column) }}, '[ -]', '', 'g')
{%- endmacro %}

{#- True when the last digit is the GS1 check digit: digits weighted 3, 1, 3, … from the left of 14 add up to a ten. -#}
{% macro gtin_check_holds(digits14) -%}
    (
        {%- for position in range(1, 15) %}
        {{ 3 if position is odd else 1 }} * try_cast(substr({{ digits14 }}, {{ position }}, 1) as integer){{ ' +' if not loop.last }}
        {%- endfor %}
    ) % 10 = 0
{%- endmacro %}

{% macro gtin(digits) -%}
    case
        when regexp_matches({{ digits }}, '^([0-9]{8}|[0-9]{12,14})$')
            and {{ gtin_check_holds("lpad(" ~ digits ~ ", 14, '0')") }}
            then lpad({{ digits }}, 14, '0')
    end
{%- endmacro %}

{% macro gtin_problem(digits) -%}
    case
        when {{ digits }} is null then null
        when not regexp_matches({{ digits }}, '^[0-9]+$') then 'not a number'
        when not regexp_matches({{ digits }}, '^([0-9]{8}|[0-9]{12,14})$') then 'not 8, 12, 13 or 14 digits'
        when not {{ gtin_check_holds("lpad(" ~ digits ~ ", 14, '0')") }} then 'check digit is wrong'
    end
{%- endmacro %}
