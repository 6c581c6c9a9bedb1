"""The ledger's tables of how far things are, and of how long each opt-out took to every platform."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text

from personalization.ledger.schema import BigId, Instant, metadata

progress = Table(
    "progress",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("changed_at", Instant, nullable=False),
)

opt_out_pushes = Table(
    "opt_out_pushes",
    metadata,
    Column(
        "outbox_id",
        BigId,
        ForeignKey("outbox.id"),
        primary_key=True,
        autoincrement=False,
        comment="the retraction that was acknowledged",
    ),
    Column("destination", Text, nullable=False),
    Column("opted_out_at", Instant, nullable=False, comment="when the ledger had the opt-out on its disk"),
    Column("pushed_at", Instant, nullable=False, comment="when the destination acknowledged it"),
    Index(None, "destination", "pushed_at"),
)
