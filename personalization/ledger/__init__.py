"""The system of record: what must never be lost. Keys, vault, consent, suppressions, registries, outbox and leases."""

from __future__ import annotations

from personalization.ledger.consent import ConsentState
from personalization.ledger.consent_chain import ChainState
from personalization.ledger.consent_event import ConsentEvent, notice_sha256
from personalization.ledger.consent_fold import customer_consent
from personalization.ledger.keys import KEYS_VARIABLE, Keyring
from personalization.ledger.ledger import Ledger
from personalization.ledger.model_registry import ModelRecord
from personalization.ledger.normalise import (
    NORMALISATION_VERSION,
    normalise_email,
    normalise_id,
    normalise_phone,
)
from personalization.ledger.run_book import Run
from personalization.ledger.vault import Erasure, Vault, VaultItem

__all__ = [
    "KEYS_VARIABLE",
    "NORMALISATION_VERSION",
    "ChainState",
    "ConsentEvent",
    "ConsentState",
    "Erasure",
    "Keyring",
    "Ledger",
    "ModelRecord",
    "Run",
    "Vault",
    "VaultItem",
    "customer_consent",
    "normalise_email",
    "normalise_id",
    "normalise_phone",
    "notice_sha256",
]
