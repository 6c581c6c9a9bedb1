"""The ledger's tables for webhooks: events as they came, how far each consumer is, and what could not be understood."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text
from sqlalchemy import UniqueConstraint as Unique

from personalization.ledger.export_schema import one_of_these
from personalization.ledger.schema import BigId, Instant, metadata

DEAD_STATES = ("dead", "replay", "settled")

inbox = Table(
    "inbox",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=False, comment="1, 2, 3, … without gaps"),
    Column("source", Text, nullable=False),
    Column("event_key", Text, nullable=False, comment="the sender's id of the event: what comes again counts once"),
    Column("event_at", Instant, comment="when it happened, in the sender's words; missing when it does not say"),
    Column("received_at", Instant, nullable=False),
    Column("digest", Text, nullable=False, comment="keyed: tells whether the same event came with other content"),
    Column("key_id", Text, nullable=False, comment="the vault key from which the body's key is derived"),
    Column("body", LargeBinary, comment="encrypted; missing once it was erased"),
    Column("recorded_at", Instant, nullable=False),
    Unique("source", "event_key"),
)

inbox_conflicts = Table(
    "inbox_conflicts",
    metadata,
    Column("seq", BigInteger, ForeignKey("inbox.seq"), primary_key=True, comment="the event that came first"),
    Column("digest", Text, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("body", LargeBinary, comment="of the later one, encrypted; missing once it was erased"),
    Column("recorded_at", Instant, nullable=False),
)

inbox_watermarks = Table(
    "inbox_watermarks",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False, comment="everything up to it is applied, or a dead letter"),
    Column("advanced_at", Instant, nullable=False),
)

inbox_dead_letters = Table(
    "inbox_dead_letters",
    metadata,
    Column("seq", BigInteger, ForeignKey("inbox.seq"), primary_key=True),
    Column(
        "state", Text, nullable=False, comment="dead; replay: to be tried again; settled: it was understood after all"
    ),
    Column("reason", Text, nullable=False, comment="without anything of the body's content"),
    Column("attempts", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint(one_of_these("state", DEAD_STATES), name="ck_inbox_dead_letters_state"),
    Index(None, "state"),
)
