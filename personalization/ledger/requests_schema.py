"""The ledger's tables for privacy: requests of people, and a hash-chained log of all that was done about them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Table, Text

from personalization.ledger.export_schema import one_of_these
from personalization.ledger.schema import BigId, Instant, metadata

KINDS = ("access", "erasure", "opt_out_sale")

privacy_requests = Table(
    "privacy_requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject_token", Text, nullable=False, comment="any identifier token of the person who asks"),
    Column("manner", Text, nullable=False, comment="how it was received: preference page, e-mail, telephone, …"),
    Column("received_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False, comment="as the law has it; an extension is an entry of the log"),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint(one_of_these("kind", KINDS), name="ck_privacy_requests_kind"),
    Index(None, "subject_token"),
)

privacy_log = Table(
    "privacy_log",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=False, comment="1, 2, 3, … without gaps"),
    Column("kind", Text, nullable=False, comment="request, status, step, tombstone, receipt, audit or rotation"),
    Column("request_id", Text, comment="missing for what belongs to no request, such as an audit"),
    Column("at", Instant, nullable=False, comment="when it happened"),
    Column("content", Text, nullable=False, comment="canonical JSON, without direct identifiers"),
    Column("recorded_at", Instant, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "request_id"),
    Index(None, "kind"),
)
