"""The senders whose webhooks are understood, by the name that `sender:` in program/sources.yaml gives them."""

from __future__ import annotations

from personalization.webhooks.senders.activecampaign import ActiveCampaign
from personalization.webhooks.senders.base import Sender, Statement
from personalization.webhooks.senders.customerio import CustomerIo
from personalization.webhooks.senders.hubspot import HubSpot
from personalization.webhooks.senders.klaviyo import Klaviyo
from personalization.webhooks.senders.mailchimp import Mailchimp
from personalization.webhooks.senders.salesforce import Salesforce
from personalization.webhooks.senders.segment import Segment
from personalization.webhooks.senders.shopify import Shopify
from personalization.webhooks.senders.standard import StandardWebhooks
from personalization.webhooks.senders.stripe import Stripe

SENDERS: dict[str, Sender] = {
    sender.name: sender
    for sender in (
        StandardWebhooks(),
        Mailchimp(),
        HubSpot(),
        Salesforce(),
        ActiveCampaign(),
        Klaviyo(),
        CustomerIo(),
        Shopify(),
        Stripe(),
        Segment(),
    )
}

__all__ = ["SENDERS", "Sender", "Statement"]
