{#-
  What platforms call a mail's fate, in one word each: sent, opened, machine_opened (a mail program or a scanner fetched
  the picture, nobody need have read it), clicked, converted, bounced, unsubscribed, complained. A word that is none of
  them is 'unknown': it stays in marts.email_events and counts as nothing.
-#}
{% macro email_event(column) -%}
    {%- set words = {
        'sent': ['sent', 'send', 'delivered', 'delivery', 'mailed', 'mailing', 'processed'],
        'opened': ['opened', 'open', 'opens', 'unique_open', 'first_open'],
        'machine_opened': ['machine_opened', 'machine_open', 'proxy_open', 'bot_open', 'prefetched'],
        'clicked': ['clicked', 'click', 'clicks', 'unique_click', 'link_click'],
        'converted': ['converted', 'conversion', 'convert', 'redeemed', 'redemption', 'purchase', 'purchased'],
        'bounced': ['bounced', 'bounce', 'hard_bounce', 'soft_bounce', 'hardbounce', 'softbounce', 'blocked', 'dropped', 'undelivered'],
        'unsubscribed': ['unsubscribed', 'unsubscribe', 'unsub', 'opt_out', 'optout', 'list_unsubscribe'],
        'complained': ['complained', 'complaint', 'spam', 'spam_report', 'spamreport', 'abuse', 'abuse_report'],
    } -%}
    {%- set word = "regexp_replace(lower(trim(cast(" ~ column ~ " as varchar))), '[ -]+', '_', 'g')" -%}
    case
        {%- for event, synonyms in words.items() %}
        when {{ word }} in ('{{ synonyms | join("', '") }}') then '{{ event }}'
        {%- endfor %}
        else 'unknown'
    end
{%- endmacro %}

{#- The same events as nouns, the way rules name them: did('open', …). Machine opens are nobody's behaviour. -#}
{% macro behaviour(event) -%}
    case {{ event }}
        when 'sent' then 'mailing'
        when 'opened' then 'open'
        when 'clicked' then 'click'
        when 'converted' then 'conversion'
        when 'bounced' then 'bounce'
        when 'unsubscribed' then 'unsubscribe'
        when 'complained' then 'complaint'
    end
{%- endmacro %}
