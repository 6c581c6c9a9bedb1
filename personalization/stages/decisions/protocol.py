"""An experiment's protocol in one fixed spelling, and its hash, fixed in the ledger before the first assignment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from personalization.as_of import AsOf
from personalization.program.models import Experiment
from personalization.stages.decisions.assignment import METHOD
from personalization.stages.decisions.campaigns import RunningCampaign

if TYPE_CHECKING:
    from personalization.ledger import Ledger


def protocol_text(experiment: Experiment) -> str:
    """Everything that decides who gets which arm and what counts as success, as canonical JSON.

    The arms are a list, because their order matters to the assignment. The title is left out: a spelling corrected in
    it is no other experiment.
    """
    parts = experiment.model_dump(mode="json", exclude={"title", "arms"})
    parts["arms"] = [[arm, share] for arm, share in experiment.arms.items()]
    parts["assignment"] = METHOD
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def protocol_hash(experiment: Experiment) -> str:
    """SHA-256 of `protocol_text`, as 64 hex digits."""
    return hashlib.sha256(protocol_text(experiment).encode()).hexdigest()


def fix_protocols(ledger: Ledger, campaigns: Iterable[RunningCampaign], as_of: AsOf) -> dict[str, str]:
    """Fix the protocol of every experiment that a running campaign uses; a second call changes nothing.

    Returns
    -------
    dict of str to str
        Hash per experiment.

    Raises
    ------
    LedgerError
        A protocol was changed since it was fixed, without a new `version`.
    """
    hashes: dict[str, str] = {}
    for running in campaigns:
        name, experiment = running.campaign.experiment, running.experiment
        if name is not None and experiment is not None and name not in hashes:
            hashes[name] = protocol_hash(experiment)
            ledger.protocols.fix(name, experiment.version, hashes[name], as_of)
    return hashes
