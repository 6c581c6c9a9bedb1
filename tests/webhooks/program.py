"""A program with webhook sources, for tests: a folder, its keys, and a ledger."""

from __future__ import annotations

from pathlib import Path

from personalization.program import Program, load_program

FILES = {
    "program": "name: Test shop\ntimezone: America/New_York\nstart: 2026-01-01\n"
    "serve: {public_url: 'https://mail.example.com'}\n",
    "consent": (
        "purposes:\n"
        "  email.marketing: {title: News by e-mail, notices: [{version: '1', text: We may write to you.}]}\n"
        "  email.newsletter: {title: A letter a week, lawful_basis: legitimate_interest}\n"
        "  email.transactional: {title: Receipts, lawful_basis: contract}\n"
        "  sms.marketing: {title: News by SMS, channel: sms}\n"
    ),
}

SOURCES = """
sources:
  hooks:
    kind: webhook
    sender: standard
    secrets: ["${env:HOOKS_SECRET}", "${env:HOOKS_NEXT_SECRET}"]
    tables:
      consents:
        entity: consent_events
        when: {type: [consent.given, consent.withdrawn]}
        columns:
          event_id: data.id
          customer_id: data.customer
          email: data.email
          purpose: data.purpose
          action: data.action
          effective_at: timestamp
          notice_version: data.notice
        constants: {method: sign-up form}
      orders:
        entity: order_lines
        when: {type: order.placed}
        records: data.lines
        columns:
          order_id: data.id
          customer_id: data.customer
          ordered_at: timestamp
          product_id: .sku
          quantity: .quantity
          amount: .total
  mailchimp: {kind: webhook, sender: mailchimp, url_secret: "${env:URL_SECRET}", purposes: [email.marketing]}
  hubspot:
    kind: webhook
    sender: hubspot
    secrets: ["${env:SECRET}"]
  mapped_hubspot:
    kind: webhook
    sender: hubspot
    secrets: ["${env:SECRET}"]
    tables:
      opt_outs:
        entity: consent_events
        when: {propertyName: hs_email_optout, propertyValue: "true"}
        columns: {event_id: eventId, customer_id: objectId, effective_at: occurredAt}
        constants: {purpose: email.marketing, action: withdraw}
  salesforce: {kind: webhook, sender: salesforce, url_secret: "${env:URL_SECRET}", secrets: ["${env:SECRET}"]}
  activecampaign: {kind: webhook, sender: activecampaign, url_secret: "${env:URL_SECRET}"}
  klaviyo: {kind: webhook, sender: klaviyo, secrets: ["${env:SECRET}"]}
  customerio: {kind: webhook, sender: customerio, secrets: ["${env:SECRET}"]}
  shopify: {kind: webhook, sender: shopify, secrets: ["${env:SECRET}"]}
  stripe: {kind: webhook, sender: stripe, secrets: ["${env:SECRET}"]}
  segment: {kind: webhook, sender: segment, secrets: ["${env:SECRET}"]}
"""


def write_program(folder: Path, sources: str = SOURCES) -> Path:
    """Write `program/` into a folder and return the folder."""
    program = folder / "program"
    program.mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, "sources": sources}.items():
        (program / f"{name}.yaml").write_text(text)
    return folder


def program_with(folder: Path, sources: str = SOURCES) -> Program:
    return load_program(write_program(folder, sources) / "program")
