"""The ledger's tables for releases to mailings, corrections of identities, and generations of the ledger."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, UniqueConstraint

from personalization.ledger.export_schema import one_of_these
from personalization.ledger.schema import BigId, Instant, metadata

sends = Table(
    "sends",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("version", Text, nullable=False, comment="of the campaign's content: each version is mailed once"),
    Column("customer_token", Text, nullable=False),
    Column("address_token", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("day", Text, nullable=False, comment="business day of the release, YYYY-MM-DD in the program's time zone"),
    Column("as_of", Text, nullable=False, comment="business day of the decision"),
    Column("state", Text, nullable=False, comment="reserved: nothing left yet; kept: it did, or nobody knows"),
    Column("outbox_id", BigInteger, nullable=False, comment="the outbox row that holds the slot"),
    Column("ended_day", Text, comment="business day on which the contact left the audience: it can't come back"),
    Column("reserved_at", Instant, nullable=False),
    UniqueConstraint("customer_token", "campaign", "version"),  # in this order they also serve to find a person's
    UniqueConstraint("address_token", "campaign", "version"),
    CheckConstraint(one_of_these("state", ("reserved", "kept")), name="ck_sends_state"),
    Index(None, "outbox_id"),
    Index(None, "day"),
)

identity_corrections = Table(
    "identity_corrections",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("first_token", Text, nullable=False),
    Column("second_token", Text, nullable=False),
    Column("actor", Text, nullable=False, comment="who decided it"),
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("undone_by", Text),
    Column("undone_reason", Text),
    Column("undone_at", Instant),
    CheckConstraint(one_of_these("kind", ("split", "link")), name="ck_identity_corrections_kind"),
)

generations = Table(
    "generations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("generation", Text, nullable=False, comment="random; the same in no other ledger"),
    Column("actor", Text, comment="who reconciled the ledger with its destinations; empty for the first one"),
    Column("reason", Text),
    Column("recorded_at", Instant, nullable=False),
)
