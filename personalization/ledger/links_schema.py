"""The ledger's tables for links in e-mails, and for what people choose to read about and how often. Append-only."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from personalization.ledger.schema import BigId, Instant, metadata

link_revocations = Table(
    "link_revocations",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("subject_token", Text, nullable=False, index=True),
    Column("kind", Text, comment="preferences, unsubscribe or confirm; missing: all links of the person"),
    Column("scope", Text, comment="the destination or campaign; missing: links of every one"),
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

# Empty: a change of the token key writes the ledger anew, and `Keyring.current_token` reads the tokens of old links.
link_renames = Table(
    "link_renames",
    metadata,
    Column("old_token", Text, primary_key=True, comment="in links that are out already"),
    Column("new_token", Text, nullable=False, comment="of the same identifier under a newer token key"),
    Column("recorded_at", Instant, nullable=False),
)

preference_events = Table(
    "preference_events",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("subject_token", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False, comment="topic or frequency"),
    Column("name", Text, nullable=False, comment="of the topic; empty for the frequency"),
    Column("value", Text, nullable=False, comment="true or false for a topic; the name of the choice of frequency"),
    Column("source", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("locale", Text),
    Column("effective_at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
