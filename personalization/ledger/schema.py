"""The ledger's tables, the same on SQLite and PostgreSQL. Migrations make them; a test holds the two together.

Moments are whole microseconds since 1970 UTC in a BIGINT: exact, ordered, the same in both databases and in Arrow.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

BigId = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER PRIMARY KEY is SQLite's own row number


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC. Raises `ValueError` for a moment without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"the moment {moment.isoformat()} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC datetime of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


def now() -> datetime:
    """Wall time, for `recorded_at` columns only: what the ledger computes never depends on it."""
    return datetime.now(UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime in Python, microseconds since 1970 UTC in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else from_micros(value)


key_fingerprints = Table(
    "key_fingerprints",
    metadata,
    Column("kind", Text, primary_key=True, comment="token, vault or suppression"),
    Column("key_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

vault_subjects = Table(
    "vault_subjects",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("key_id", Text, nullable=False, comment="the master key that wraps this subject's data key"),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

vault_items = Table(
    "vault_items",
    metadata,
    Column("subject", Text, ForeignKey("vault_subjects.subject", ondelete="CASCADE"), primary_key=True),
    Column("field", Text, primary_key=True),
    Column("source", Text, primary_key=True, comment="whose value it is: another source's value does not replace it"),
    Column("version", Integer, nullable=False),
    Column("value_token", Text, nullable=False, index=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

OPTED_OUT = "action in ('expire', 'object', 'withdraw')"
"""The few events that opt somebody out, in the words of their index: by other words it would not be used."""

consent_events = Table(
    "consent_events",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=False, comment="1, 2, 3, … without gaps"),
    Column("event_id", Text, nullable=False, unique=True),
    Column("subject_token", Text, nullable=False, index=True),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("lawful_basis", Text, nullable=False),
    Column("jurisdiction", Text),
    Column("source", Text, nullable=False),
    Column("method", Text),
    Column("notice_version", Text),
    Column("notice_sha256", Text),
    Column("locale", Text),
    Column("evidence", Text, comment="canonical JSON, without direct identifiers"),
    Column("actor", Text),
    Column("effective_at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(
        "ix_consent_events_out",
        "purpose",
        "seq",
        "subject_token",
        sqlite_where=text(OPTED_OUT),
        postgresql_where=text(OPTED_OUT),
    ),
)

consent_conflicts = Table(
    "consent_conflicts",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("content_sha256", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="the later event, as canonical JSON"),
    Column("recorded_at", Instant, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=False, comment="1, 2, 3, … without gaps"),
    Column("identifier_token", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("identifier_token", "reason"),
)

experiment_protocols = Table(
    "experiment_protocols",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("as_of", Text, comment="the business day for which it was first used"),
    Column("recorded_at", Instant, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("trained_as_of", Text, nullable=False, comment="business day, YYYY-MM-DD"),
    Column("sha256", Text, nullable=False, comment="of the artefact's bytes"),
    Column("path", Text, nullable=False, comment="relative to the folder of models"),
    Column("metrics", Text, nullable=False, comment="JSON"),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "model", "trained_as_of"),
    Index(None, "model", "version"),
)

run_book = Table(
    "run_book",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("as_of", Text, nullable=False, comment="business day, YYYY-MM-DD"),
    Column("program_sha256", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("status", Text, nullable=False, comment="running, succeeded, failed or dead"),
    Column("message", Text),
    Column("host", Text, nullable=False),
    Column("process", Text, nullable=False, comment="host, pid and start time: a reused pid is not taken for it"),
    Column("consent_seq", BigInteger, nullable=False, comment="the end of the consent chain when the run began"),
    Column("consent_head", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Index(None, "status"),
)
