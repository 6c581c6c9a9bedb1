"""Vault, consent, suppressions, experiment protocols, models, run book."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("key_fingerprints", "consent_events", "consent_conflicts", "suppressions")
BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _vault()
    _consent()
    _registries()
    for table in APPEND_ONLY:
        _append_only(table)


def _vault() -> None:
    op.create_table(
        "key_fingerprints",
        sa.Column("kind", sa.Text, nullable=False, comment="token, vault or suppression"),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key_id", name="pk_key_fingerprints"),
    )
    op.create_table(
        "vault_subjects",
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False, comment="the master key that wraps this subject's data key"),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_vault_subjects"),
    )
    op.create_table(
        "vault_items",
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column(
            "source",
            sa.Text,
            nullable=False,
            comment="whose value it is: another source's value does not replace it",
        ),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("value_token", sa.Text, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", "field", "source", name="pk_vault_items"),
        sa.ForeignKeyConstraint(
            ["subject"], ["vault_subjects.subject"], name="fk_vault_items_subject", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_vault_items_value_token", "vault_items", ["value_token"])


def _consent() -> None:
    op.create_table(
        "consent_events",
        sa.Column("seq", BIG_ID, autoincrement=False, nullable=False, comment="1, 2, 3, … without gaps"),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("subject_token", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("lawful_basis", sa.Text, nullable=False),
        sa.Column("jurisdiction", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("method", sa.Text),
        sa.Column("notice_version", sa.Text),
        sa.Column("notice_sha256", sa.Text),
        sa.Column("locale", sa.Text),
        sa.Column("evidence", sa.Text, comment="canonical JSON, without direct identifiers"),
        sa.Column("actor", sa.Text),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_consent_events"),
        sa.UniqueConstraint("event_id", name="uq_consent_events_event_id"),
    )
    op.create_index("ix_consent_events_subject_token", "consent_events", ["subject_token"])
    op.create_table(
        "consent_conflicts",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False, comment="the later event, as canonical JSON"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "content_sha256", name="pk_consent_conflicts"),
    )
    op.create_table(
        "suppressions",
        sa.Column("seq", BIG_ID, autoincrement=False, nullable=False, comment="1, 2, 3, … without gaps"),
        sa.Column("identifier_token", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_suppressions"),
        sa.UniqueConstraint("identifier_token", "reason", name="uq_suppressions_identifier_token_reason"),
    )


def _registries() -> None:
    op.create_table(
        "experiment_protocols",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("as_of", sa.Text, comment="the business day for which it was first used"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_experiment_protocols"),
    )
    op.create_table(
        "models",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("trained_as_of", sa.Text, nullable=False, comment="business day, YYYY-MM-DD"),
        sa.Column("sha256", sa.Text, nullable=False, comment="of the artefact's bytes"),
        sa.Column("path", sa.Text, nullable=False, comment="relative to the folder of models"),
        sa.Column("metrics", sa.Text, nullable=False, comment="JSON"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
    )
    op.create_index("ix_models_model_trained_as_of", "models", ["model", "trained_as_of"])
    op.create_index("ix_models_model_version", "models", ["model", "version"])
    op.create_table(
        "run_book",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("as_of", sa.Text, nullable=False, comment="business day, YYYY-MM-DD"),
        sa.Column("program_sha256", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, comment="running, succeeded, failed or dead"),
        sa.Column("message", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column(
            "process", sa.Text, nullable=False, comment="host, pid and start time: a reused pid is not taken for it"
        ),
        sa.Column(
            "consent_seq", sa.BigInteger, nullable=False, comment="the end of the consent chain when the run began"
        ),
        sa.Column("consent_head", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_book"),
    )
    op.create_index("ix_run_book_status", "run_book", ["status"])


def _append_only(table: str) -> None:
    """Rows of `table` can be added, never changed or removed: not even by our own mistake."""
    message = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete"):
            op.execute(
                f"create trigger {table}_no_{change} before {change} on {table} "
                f"begin select raise(abort, '{message}'); end"
            )
        return
    op.execute(
        f"create function {table}_refuse() returns trigger language plpgsql as "
        f"$$ begin raise exception '{message}'; end $$"
    )
    op.execute(
        f"create trigger {table}_no_change before update or delete on {table} "
        f"for each row execute function {table}_refuse()"
    )
    op.execute(
        f"create trigger {table}_no_truncate before truncate on {table} "
        f"for each statement execute function {table}_refuse()"
    )
