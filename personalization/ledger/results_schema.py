"""The ledger's table of how far the results of each destination have been read."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text

from personalization.ledger.schema import Instant, metadata

results_progress = Table(
    "results_progress",
    metadata,
    Column("destination", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="what is read in one go at that platform, e.g. campaigns"),
    Column("cursor", Text, nullable=False, comment="JSON: where the next read begins; holds nothing of people"),
    Column("batches", BigInteger, nullable=False, comment="files that landed"),
    Column("rows", BigInteger, nullable=False, comment="rows that landed, each once"),
    Column("rejected", BigInteger, nullable=False, comment="of them, those that can't be used"),
    Column("opt_outs", BigInteger, nullable=False, comment="opt-outs, hard bounces and complaints that were new"),
    Column("completed_at", Instant, comment="when it was last read to its end"),
    Column("problem", Text, comment="why the last read ended early; without addresses and secrets"),
    Column("changed_at", Instant, nullable=False),
    PrimaryKeyConstraint("destination", "kind"),
)
