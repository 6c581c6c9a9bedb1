"""Every table of the ledger, and what becomes of a person's rows in it. A test fails when a new table is not named.

The warehouse, the landing zone and the history need no such list: there every column of every table is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What erasure does to the rows of a person in a table of the ledger."""

    NONE = "holds nothing of people"
    KEPT = "kept: proof that has to outlive erasure, tokens only"
    SHREDDED = "destroyed with the person's data key"
    REMOVED = "removed"
    BLANKED = "kept without anything that refers to the person, so that the books still close"
    BODIES = "encrypted bodies are destroyed; that an event came is kept"


@dataclass(frozen=True)
class Place:
    """A table of the ledger.

    Attributes
    ----------
    fate : Fate
    title : str
        What its rows are, in the words of the copy that a person gets.
    why : str
        Why rows are kept, when they are.
    """

    fate: Fate
    title: str
    why: str = ""


_PROOF = "shows that mailing was allowed then, and keeps an opt-out in force (GDPR 7.1, 17.3 b and e)"

LEDGER: dict[str, Place] = {
    "acknowledged": Place(Fate.REMOVED, "What platforms hold about you"),
    "alembic_version": Place(Fate.NONE, "Version of the schema"),
    "consent_conflicts": Place(Fate.KEPT, "Statements that came twice with different content", _PROOF),
    "consent_events": Place(Fate.KEPT, "What you agreed to and withdrew", _PROOF),
    "export_requests": Place(Fate.NONE, "Requests to platforms by day"),
    "export_audiences": Place(Fate.NONE, "Tags at platforms"),
    "export_circuits": Place(Fate.NONE, "Platforms that failed again and again"),
    "export_repairs": Place(Fate.NONE, "Repairs that somebody ordered"),
    "export_retries": Place(Fate.NONE, "Retries of what platforms refused"),
    "experiment_protocols": Place(Fate.NONE, "Experiments"),
    "export_runs": Place(Fate.NONE, "Exports"),
    "generations": Place(Fate.NONE, "Generations of the ledger"),
    "identity_corrections": Place(Fate.REMOVED, "Corrections of who is who"),
    "inbox": Place(Fate.BODIES, "Messages from platforms and shops about you"),
    "inbox_conflicts": Place(Fate.BODIES, "Messages that came twice with different content"),
    "inbox_dead_letters": Place(Fate.NONE, "Messages that could not be understood"),
    "inbox_watermarks": Place(Fate.NONE, "How far messages are worked off"),
    "former_heads": Place(Fate.NONE, "Ends of chains before the token key was replaced"),
    "kept_draws": Place(Fate.REMOVED, "Groups you were drawn into"),
    "kept_external_ids": Place(Fate.REMOVED, "By what id platforms know you"),
    "kept_people": Place(Fate.REMOVED, "Which identifier stands for you"),
    "key_fingerprints": Place(Fate.NONE, "Fingerprints of keys"),
    "leases": Place(Fate.NONE, "Who works on what"),
    "link_renames": Place(Fate.KEPT, "New names of identifiers in links", "lets links in old e-mails opt out"),
    "link_revocations": Place(Fate.KEPT, "Links that were ended", "keeps links in old e-mails from working again"),
    "models": Place(Fate.NONE, "Models"),
    "opt_out_pushes": Place(Fate.NONE, "How long opt-outs took to the platforms"),
    "outbox": Place(Fate.BLANKED, "What was sent about you to platforms"),
    "outbox_batches": Place(Fate.NONE, "What platforms call batches"),
    "preference_events": Place(Fate.REMOVED, "What you chose to read about, and how often"),
    "privacy_log": Place(
        Fate.KEPT, "What was done about your requests", "must be kept for at least 24 months (CCPA section 7101)"
    ),
    "privacy_requests": Place(
        Fate.KEPT, "Your requests about your data", "must be kept for at least 24 months (CCPA section 7101)"
    ),
    "progress": Place(Fate.NONE, "How far work is done"),
    "results_progress": Place(Fate.NONE, "How far results of platforms are read"),
    "run_book": Place(Fate.NONE, "Runs"),
    "sends": Place(Fate.REMOVED, "Mailings that were released to you"),
    "suppressions": Place(
        Fate.KEPT, "That you must not be mailed", "keeps you from being mailed again, whatever is imported later"
    ),
    "token_key_changes": Place(Fate.NONE, "Replacements of the token key"),
    "vault_items": Place(Fate.SHREDDED, "Your name, addresses and numbers, encrypted"),
    "vault_subjects": Place(Fate.SHREDDED, "The keys to your name, addresses and numbers"),
}
