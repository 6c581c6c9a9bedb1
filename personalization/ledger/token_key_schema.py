"""The ledger's tables of token keys: which one is in use, and what has to stay as it was under earlier ones."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from personalization.ledger.schema import Instant, metadata

token_key_changes = Table(
    "token_key_changes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key_id", Text, nullable=False, comment="the token key in use from here on"),
    Column("earlier_key", Text, comment="the one before it; missing for the first one of a ledger"),
    Column("consent_seq", BigInteger, nullable=False, comment="the end of the consent chain at the change"),
    Column("consent_head_before", Text, nullable=False),
    Column("consent_head", Text, nullable=False, comment="of the same events under the new tokens"),
    Column("log_seq", BigInteger, nullable=False, comment="the end of the privacy log at the change"),
    Column("log_head_before", Text, nullable=False),
    Column("log_head", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

former_heads = Table(
    "former_heads",
    metadata,
    Column("chain", Text, primary_key=True, comment="consent or privacy_log"),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="of the change that made it another"),
    Column("hash", Text, nullable=False, comment="what audits, or the mark beside the ledger, hold of that entry"),
)

kept_draws = Table(
    "kept_draws",
    metadata,
    Column("salt", Text, primary_key=True, comment="of the holdout, or of a version of an experiment"),
    Column("customer_token", Text, primary_key=True),
    Column("draw", Text, nullable=False, comment="a whole number below 2**64 in the group that was drawn before"),
)

kept_external_ids = Table(
    "kept_external_ids",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("customer_token", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False, comment="by what id the destination knows the customer, encrypted"),
)

kept_people = Table(
    "kept_people",
    metadata,
    Column("customer_token", Text, primary_key=True, comment="stands for a person with several identifiers"),
)
