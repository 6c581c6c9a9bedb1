"""The data inventory: for everything held, what it is, what it is for, on which basis, how long, and who gets it.

One list for the audit, for the copy a person gets, and for docs/privacy.md. A test fails when a table or column of the
warehouse, or a table of the ledger, has no purpose here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Category:
    """A kind of data.

    Attributes
    ----------
    title : str
    purpose : str
        What it is for.
    basis : str
        Lawful basis, in the terms of GDPR 6.1.
    kept : str
        How long.
    recipients : str
        Who outside gets it.
    personal : bool
        Whether it is about people at all.
    """

    title: str
    purpose: str
    basis: str = "not personal data"
    kept: str = "as long as it is used"
    recipients: str = "nobody"
    personal: bool = False


_UNTIL_ERASED = "until erased, or until its retention period ends"

CATEGORIES: dict[str, Category] = {
    "identifiers": Category(
        "Names, addresses and numbers",
        "to send what was agreed to, and to recognise people",
        "consent, or contract",
        _UNTIL_ERASED,
        "the connected e-mail platforms get the e-mail address",
        personal=True,
    ),
    "pseudonyms": Category(
        "Tokens that stand for identifiers",
        "to join records of one person without knowing who it is",
        "legitimate interest in keeping identifiers out of the analysis",
        _UNTIL_ERASED,
        "each platform gets a token of its own",
        personal=True,
    ),
    "demographics": Category(
        "Age, household, region, language",
        "to choose content that fits",
        "consent to personalization",
        _UNTIL_ERASED,
        personal=True,
    ),
    "purchases": Category(
        "Orders and what was in them",
        "to choose content that fits",
        "contract; consent to personalization",
        _UNTIL_ERASED,
        personal=True,
    ),
    "engagement": Category(
        "Mailings received, and what came of them",
        "to limit how often people are mailed, and to measure effects",
        "legitimate interest",
        _UNTIL_ERASED,
        personal=True,
    ),
    "features": Category(
        "Figures computed from purchases and mailings",
        "to decide whom content fits",
        "consent to personalization",
        "rebuilt with every run",
        personal=True,
    ),
    "scores": Category(
        "Predictions, with what they rest on",
        "to choose offers by prediction",
        "consent (personalization.ml_scoring)",
        "rebuilt with every run",
        personal=True,
    ),
    "segments": Category(
        "Membership in segments",
        "to choose content that fits",
        "consent to personalization",
        _UNTIL_ERASED,
        personal=True,
    ),
    "decisions": Category(
        "Who gets which content, and why",
        "to send what was decided, and to explain it",
        "consent (email.marketing)",
        _UNTIL_ERASED,
        "the connected e-mail platforms get the mapped fields",
        personal=True,
    ),
    "exports": Category(
        "What was sent to platforms, and what they acknowledged",
        "to send each thing once, and to be able to account for it",
        "consent (email.marketing)",
        _UNTIL_ERASED,
        "the connected e-mail platforms",
        personal=True,
    ),
    "consent": Category(
        "What people agreed to and withdrew, and who must not be mailed",
        "to keep to it, and to prove it",
        "legal obligation (GDPR 7.1)",
        "for good, without anything but tokens",
        personal=True,
    ),
    "choices": Category(
        "Topics and frequency that people chose", "to keep to it", "consent", _UNTIL_ERASED, personal=True
    ),
    "messages": Category(
        "Webhook messages of platforms and shops, encrypted",
        "to keep opt-outs, purchases and results up to date",
        "as of what they say",
        "until erased, or until its retention period ends",
        personal=True,
    ),
    "requests": Category(
        "Privacy requests and what was done about them",
        "to answer them, and to prove it",
        "legal obligation (GDPR 12, CCPA section 7101)",
        "at least 24 months",
        personal=True,
    ),
    "experiments": Category(
        "Groups of experiments", "to measure what helps", "legitimate interest", "rebuilt with every run", personal=True
    ),
    "catalogue": Category("Products, campaigns, reference tables", "to describe what was bought and sent"),
    "totals": Category("Counts and model figures", "to report, without anything about single people"),
    "operations": Category("Runs, keys' fingerprints, versions", "to work safely"),
}


@dataclass(frozen=True)
class Area:
    """Tables by name pattern: what they are in plain words, and the category of their columns."""

    pattern: str
    title: str
    category: str


AREAS: tuple[Area, ...] = (
    Area("landed.customers", "Your customer record", "demographics"),
    Area("landed.order_lines", "Your purchases, line by line", "purchases"),
    Area("landed.email_events", "Mailings you received, and what you did with them", "engagement"),
    Area("landed.customer_events", "What you did on our site or in our app", "engagement"),
    Area("landed.consent_events", "Consent as it came from the sources", "consent"),
    Area("landed.identity*", "Which identifiers belong together", "pseudonyms"),
    Area("landed.*", "Catalogue", "catalogue"),
    Area("quarantine.customers", "Customer records that were set aside as wrong", "demographics"),
    Area("quarantine.order_lines", "Purchases that were set aside as wrong", "purchases"),
    Area("quarantine.email_events", "Mailings that were set aside as wrong", "engagement"),
    Area("quarantine.customer_events", "Visits and the like that were set aside as wrong", "engagement"),
    Area("quarantine.consent_events", "Consent that was set aside as wrong", "consent"),
    Area("quarantine.*", "Catalogue rows that were set aside as wrong", "catalogue"),
    Area("staging.stg_customers", "Your customer record, cleaned", "demographics"),
    Area("staging.stg_order_lines", "Your purchases, cleaned", "purchases"),
    Area("staging.stg_email_events", "Your mailings, cleaned", "engagement"),
    Area("staging.stg_customer_events", "What you did on our site or in our app, cleaned", "engagement"),
    Area("staging.stg_identities", "Which identifiers belong together", "pseudonyms"),
    Area("staging.*", "Catalogue, cleaned", "catalogue"),
    Area("intermediate.*", "Your customer records as one", "demographics"),
    Area("marts.customers", "You as a customer", "demographics"),
    Area("marts.customer_day", "What happened on each day", "purchases"),
    Area("marts.email_events", "Your mailings", "engagement"),
    Area("marts.customer_events", "What you did on our site or in our app", "engagement"),
    Area("marts.moments", "What you did and when", "purchases"),
    Area("marts.order*", "Your orders", "purchases"),
    Area("marts.*", "Catalogue", "catalogue"),
    Area("features.*", "Figures computed about you", "features"),
    Area("scores.propensity", "Predictions about you", "scores"),
    Area("scores.explanations", "What the predictions rest on", "scores"),
    Area("scores.*", "Quality of models", "totals"),
    Area("segments.membership", "Segments you are in", "segments"),
    Area("segments.history", "Segments you were in", "segments"),
    Area("segments.profile", "What segments look at", "features"),
    Area("segments.*", "Sizes of segments", "totals"),
    Area("decisions.decisions", "What was decided for you, and why", "decisions"),
    Area("decisions.tiers", "How often you may be mailed", "decisions"),
    Area("decisions.*", "Counts of decisions", "totals"),
    Area("experiments.assignments", "Experiment groups you were in", "experiments"),
    Area("experiments.*", "Results of experiments", "totals"),
    Area("export.*", "What is planned for platforms", "exports"),
    Area("monitoring.*", "Figures of runs", "totals"),
    Area("validation.*", "Counts of checked rows", "totals"),
    Area("seeds.*", "Countries, currencies", "catalogue"),
    Area("history/segments/*", "Segments you were in, day by day", "segments"),
    Area("history/identity_links/*", "Addresses and numbers you had", "pseudonyms"),
    Area("landing/customers__*", "Your customer record, as it came", "demographics"),
    Area("landing/order_lines__*", "Your purchases, as they came", "purchases"),
    Area("landing/email_events__*", "Your mailings, as they came", "engagement"),
    Area("landing/customer_events__*", "What you did on our site or in our app, as it came", "engagement"),
    Area("landing/consent_events__*", "Your consent, as it came", "consent"),
    Area("landing/*", "Catalogue, as it came", "catalogue"),
    Area("ledger.vault_*", "Your name, addresses and numbers", "identifiers"),
    Area("ledger.consent_*", "What you agreed to and withdrew", "consent"),
    Area("ledger.suppressions", "That you must not be mailed", "consent"),
    Area("ledger.preference_events", "Topics and frequency you chose", "choices"),
    Area("ledger.link_*", "Links in e-mails that were ended", "consent"),
    Area("ledger.outbox", "What was sent about you", "exports"),
    Area("ledger.acknowledged", "What platforms hold about you", "exports"),
    Area("ledger.sends", "Mailings that were released to you", "engagement"),
    Area("ledger.identity_corrections", "Corrections of who is who", "pseudonyms"),
    Area("ledger.inbox", "Messages from platforms and shops about you", "messages"),
    Area("ledger.inbox_conflicts", "Messages that came twice", "messages"),
    Area("ledger.privacy_*", "Your requests", "requests"),
    Area("ledger.kept_draws", "Experiment groups you were in", "experiments"),
    Area("ledger.kept_external_ids", "By what id platforms know you", "pseudonyms"),
    Area("ledger.kept_people", "Which identifier stands for you", "pseudonyms"),
    Area("ledger.*", "Operations", "operations"),
)

# Columns that are of another category than the rest of their table.
COLUMNS: dict[str, str] = {
    "customer_token": "pseudonyms",
    "customer_key": "pseudonyms",
    "email_token": "pseudonyms",
    "phone_token": "pseudonyms",
    "identifier_token": "pseudonyms",
    "subject_token": "pseudonyms",
    "address_token": "pseudonyms",
    "purchase_score": "scores",
    "purchase_band": "scores",
    "birth_date": "demographics",
    "age_band": "demographics",
    "income_band": "demographics",
    "household_size": "demographics",
    "marital_status": "demographics",
    "home_ownership": "demographics",
    "children": "demographics",
    "country": "demographics",
    "region": "demographics",
    "city": "demographics",
    "postcode": "demographics",
    "language": "demographics",
}


def area_of(table: str) -> Area | None:
    """The area of a table: `schema.table` of the warehouse, `ledger.table`, or the path of a file."""
    return next((area for area in AREAS if fnmatchcase(table, area.pattern)), None)


def category_of(table: str, column: str) -> str | None:
    """The category of a column; None when nobody has said what the table is for."""
    area = area_of(table)
    if area is None:
        return None
    if CATEGORIES[area.category].personal:
        return COLUMNS.get(column, area.category)
    return area.category


def without_purpose(columns: Iterable[tuple[str, str]]) -> list[str]:
    """Columns, given as (table, column), that have no stated purpose, as `table.column`."""
    return sorted(f"{table}.{column}" for table, column in columns if category_of(table, column) is None)
