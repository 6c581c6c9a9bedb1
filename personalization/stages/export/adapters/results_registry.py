"""Which reader reads the results of which destination."""

from __future__ import annotations

from personalization.errors import ExportError
from personalization.program import Program
from personalization.stages.export.adapters.activecampaign import ActiveCampaignAdapter
from personalization.stages.export.adapters.base import Clock
from personalization.stages.export.adapters.hubspot import HubspotAdapter
from personalization.stages.export.adapters.listmonk import ListmonkAdapter
from personalization.stages.export.adapters.mailchimp import MailchimpAdapter
from personalization.stages.export.adapters.registry import adapter_for
from personalization.stages.export.adapters.results import ResultsReader
from personalization.stages.export.adapters.salesforce import SalesforceAdapter
from personalization.workspace import Workspace

_PLATFORMS = (MailchimpAdapter, HubspotAdapter, ListmonkAdapter, ActiveCampaignAdapter, SalesforceAdapter)


def reader_for(program: Program, name: str, workspace: Workspace, clock: Clock | None = None) -> ResultsReader:
    """The reader of a destination's results. Raises `ProgramError` when a secret is not set."""
    adapter = adapter_for(program, name, workspace, clock)
    if isinstance(adapter, _PLATFORMS):
        return adapter.results()
    raise ExportError(f"nothing can be read back from '{name}'")
