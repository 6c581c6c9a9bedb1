"""Links in e-mails and their revocation, topics and frequency choices of people."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "link_revocations",
        sa.Column("seq", BIG_ID, nullable=False),
        sa.Column("subject_token", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, comment="preferences, unsubscribe or confirm; missing: all links of the person"),
        sa.Column("scope", sa.Text, comment="the destination or campaign; missing: links of every one"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_link_revocations"),
    )
    op.create_index("ix_link_revocations_subject_token", "link_revocations", ["subject_token"])
    op.create_table(
        "link_renames",
        sa.Column("old_token", sa.Text, nullable=False, comment="in links that are out already"),
        sa.Column("new_token", sa.Text, nullable=False, comment="of the same identifier under a newer token key"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("old_token", name="pk_link_renames"),
    )
    op.create_table(
        "preference_events",
        sa.Column("seq", BIG_ID, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("subject_token", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, comment="topic or frequency"),
        sa.Column("name", sa.Text, nullable=False, comment="of the topic; empty for the frequency"),
        sa.Column(
            "value", sa.Text, nullable=False, comment="true or false for a topic; the name of the choice of frequency"
        ),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("locale", sa.Text),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_preference_events"),
        sa.UniqueConstraint("event_id", name="uq_preference_events_event_id"),
    )
    op.create_index("ix_preference_events_subject_token", "preference_events", ["subject_token"])
    for table in ("link_revocations", "link_renames", "preference_events"):
        _append_only(table)


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
